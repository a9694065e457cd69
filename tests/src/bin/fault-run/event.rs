//! The events that a worker prints, one per line.

use std::{fmt, str::FromStr, time::Duration};

/// An event of a client. Times are those of the clock that all processes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The client has a new session.
    Session { client: usize, id: i64, password: Vec<u8> },
    /// The client's session has expired.
    Lost { client: usize },
    /// The client has acquired the lock.
    Acquired { client: usize, token: i64 },
    /// The client was sure of the lock at this time.
    Held { token: i64, session: i64, at: Duration },
    /// The client wrote under the lock, in the transaction `zxid`.
    Wrote { token: i64, zxid: i64 },
    /// A write under the lock was refused, because the lock's node was gone.
    Refused { token: i64 },
    /// The outcome of a write under the lock is unknown.
    Unknown { token: i64 },
    /// Something failed that must not fail under any fault.
    Wrong { client: usize, what: String },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session { client, id, password } => {
                write!(f, "session {client} {id} ")?;
                password.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Lost { client } => write!(f, "lost {client}"),
            Self::Acquired { client, token } => write!(f, "acquired {client} {token}"),
            Self::Held { token, session, at } => {
                write!(f, "held {token} {session} {}", at.as_nanos())
            }
            Self::Wrote { token, zxid } => write!(f, "wrote {token} {zxid}"),
            Self::Refused { token } => write!(f, "refused {token}"),
            Self::Unknown { token } => write!(f, "unknown {token}"),
            Self::Wrong { client, what } => write!(f, "wrong {client} {what}"),
        }
    }
}

/// A line that is not an event.
#[derive(Debug)]
pub(crate) struct InvalidEvent;

impl FromStr for Event {
    type Err = InvalidEvent;

    fn from_str(line: &str) -> Result<Self, InvalidEvent> {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        let number = |at: usize| -> Result<i64, InvalidEvent> {
            words.get(at).and_then(|word| word.parse().ok()).ok_or(InvalidEvent)
        };
        let client = || usize::try_from(number(1)?).map_err(|_| InvalidEvent);
        Ok(match words[0] {
            "session" => Self::Session {
                client: client()?,
                id: number(2)?,
                password: from_hex(words.get(3).ok_or(InvalidEvent)?)?,
            },
            "lost" => Self::Lost { client: client()? },
            "acquired" => Self::Acquired { client: client()?, token: number(2)? },
            "held" => Self::Held {
                token: number(1)?,
                session: number(2)?,
                at: Duration::from_nanos(number(3)?.unsigned_abs()),
            },
            "wrote" => Self::Wrote { token: number(1)?, zxid: number(2)? },
            "refused" => Self::Refused { token: number(1)? },
            "unknown" => Self::Unknown { token: number(1)? },
            "wrong" => Self::Wrong { client: client()?, what: words[2..].join(" ") },
            _ => return Err(InvalidEvent),
        })
    }
}

fn from_hex(digits: &str) -> Result<Vec<u8>, InvalidEvent> {
    (0..digits.len())
        .step_by(2)
        .map(|at| digits.get(at..at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()))
        .collect::<Option<_>>()
        .ok_or(InvalidEvent)
}
