//! SASL: the tokens of DIGEST-MD5, and a session that logs in.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use zk_proto::{
    Chroot, ErrorCode, HostPort, OpCode, Request, Time,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{
        ConnectResponse, GetDataRequest, ReplyHeader, RequestHeader, SaslRequest, SaslResponse, xid,
    },
    sasl::{
        Mechanism, SaslError, Step,
        digest_md5::{Client, Server, ServerStep},
    },
    session::{Config, Credential, Output, SaslStepId, Session},
};

use crate::memory::within;

const USER: &str = "zoë";
const PASSWORD: &str = "secret";

/// The most memory that a token may take, for each of its bytes and altogether.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY: usize = 16 << 10;

/// Changes to a token of an exchange: it is replaced, or some of it is.
#[derive(Debug, Arbitrary)]
enum Change {
    None,
    Replace(Vec<u8>),
    Splice { at: u16, remove: u16, insert: Vec<u8> },
}

impl Change {
    fn apply(&self, token: &[u8]) -> Vec<u8> {
        match self {
            Self::None => token.to_vec(),
            Self::Replace(other) => other.clone(),
            Self::Splice { at, remove, insert } => {
                let at = usize::from(*at) % (token.len() + 1);
                let end = at.saturating_add(usize::from(*remove)).min(token.len());
                [&token[..at], insert, &token[end..]].concat()
            }
        }
    }
}

fn password_of(user: &str) -> Option<Secret<String>> {
    (user == USER).then(|| Secret::new(PASSWORD.into()))
}

/// Runs an exchange of DIGEST-MD5 with tokens that are changed on their way. The input is the changes of the three
/// tokens and the password that the client has.
///
/// # Panics
/// If a side accepts what it must not, or uses too much memory.
pub fn sasl_tokens(input: &[u8]) {
    let budget = MEMORY + MEMORY_PER_BYTE * input.len();
    let mut input = Unstructured::new(input);
    let Ok((knows, challenge, response, proof)) =
        input.arbitrary::<(bool, Change, Change, Change)>()
    else {
        return;
    };
    let password = if knows { PASSWORD } else { "guess" };
    let mut client = Client::new(USER, Secret::new(password.into()), 1).expect("valid credentials");
    let mut server = Server::new(2);
    client.step(b"").expect("the first token");
    let Ok(ServerStep::Challenge(genuine)) = server.step(b"", password_of) else {
        panic!("no challenge");
    };
    let received = challenge.apply(&genuine);
    let step = within(budget, || client.step(&received));
    let (sent, is_over) = match step {
        Ok(Step::Respond(token)) => (token.expose().to_vec(), false),
        Ok(step) => panic!("{step:?} before the server has proved anything"),
        Err(error) => {
            assert!(!error.is_transient(), "{error}");
            (Vec::new(), true)
        }
    };
    let received = response.apply(&sent);
    let (genuine, accepted) = match within(budget, || server.step(&received, password_of)) {
        Ok(ServerStep::Accepted { user, token }) => {
            assert_eq!(user, USER);
            assert!(knows, "accepted without the password");
            (token, true)
        }
        Ok(step) => panic!("{step:?} twice"),
        Err(_) => (Vec::new(), false),
    };
    assert!(server.step(&received, password_of).is_err(), "the exchange is over");
    let received = proof.apply(&genuine);
    match within(budget, || client.step(&received)) {
        Ok(Step::Done) => {
            assert!(!is_over && knows && accepted, "the server has proved nothing");
        }
        Ok(step) => panic!("{step:?} after the end"),
        Err(_) => {}
    }
    assert!(client.step(&received).is_err(), "the exchange is over");
}

/// What happens to a session.
#[derive(Debug, Arbitrary)]
enum Event {
    /// The mechanism answers the step that was asked for last, or an earlier one.
    Answer {
        answer: Answer,
        old: bool,
    },
    /// The server sends the answer to a token.
    Reply {
        token: Option<Vec<u8>>,
        err: i8,
        xid_off: i8,
    },
    /// The server sends a frame.
    Frame(Vec<u8>),
    /// The session's bytes are taken.
    Transmit,
    Wait {
        millis: u16,
    },
    Cut,
    Submit,
    AddCredential,
    Turn {
        on: bool,
    },
}

#[derive(Debug, Arbitrary)]
enum Answer {
    Respond(Vec<u8>),
    Done,
    Fail { transient: bool },
}

/// Runs a session that logs in, with any mechanism and any server. The input is a list of events.
///
/// # Panics
/// If anything but tokens is sent before the mechanism has accepted the server, or the session counts as connected.
pub fn sasl_session(input: &[u8]) {
    const MAX_EVENTS: usize = 200;

    let mut input = Unstructured::new(input);
    let mut world = World::new();
    world.poll();
    for _ in 0..MAX_EVENTS {
        if input.is_empty() {
            break;
        }
        let Ok(event) = input.arbitrary::<Event>() else { break };
        world.perform(event);
        world.poll();
    }
    world.transmit();
}

struct World {
    session: Session<()>,
    now: Time,
    connection: Option<Connection>,
    /// The steps that were asked for, the newest last.
    steps: Vec<SaslStepId>,
}

/// The present connection.
struct Connection {
    incoming: FrameReader,
    outgoing: FrameReader,
    greeted: bool,
    /// Whether it has to log in.
    must_log_in: bool,
    /// Whether the step that was asked for last is unanswered.
    is_asked: bool,
    /// Whether the mechanism has accepted the server.
    is_accepted: bool,
    /// The xid of the last token.
    xid: i32,
}

impl World {
    fn new() -> Self {
        let mut config = Config::new(vec![HostPort::new("a", 1), HostPort::new("b", 2)]);
        config.sasl = true;
        config.auth.push(Credential::digest("ann", "secret"));
        let now = Time::from_origin(Duration::from_secs(1));
        let mut session = Session::new(config, 1);
        session.start(now);
        Self { session, now, connection: None, steps: Vec::new() }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Answer { answer, old } => self.answer(answer, old),
            Event::Reply { token, err, xid_off } => {
                let Some(connection) = &self.connection else { return };
                let xid = connection.xid.wrapping_add(i32::from(xid_off % 2));
                let err = match err {
                    0.. => ErrorCode::Ok,
                    _ => ErrorCode::from(i32::from(err)),
                };
                let token = Secret::new(token.map(Bytes::from));
                self.send(|out| {
                    ReplyHeader { xid, zxid: 0, err }.encode(out);
                    SaslResponse { token }.encode(out);
                });
            }
            Event::Frame(frame) => self.send(|out| out.extend_from_slice(&frame)),
            Event::Transmit => self.transmit(),
            Event::Wait { millis } => {
                let end = self.now.after(Duration::from_millis(millis.into()));
                while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
                    self.now = self.now.max(due);
                    self.session.handle_timeout(self.now);
                    self.poll();
                }
                self.now = end;
            }
            Event::Cut => {
                if self.connection.take().is_some() {
                    self.session.handle_disconnected(self.now, "cut");
                }
            }
            Event::Submit => {
                let request =
                    Request::GetData(GetDataRequest { path: "/secret", watch: true.into() });
                let _ = self.session.submit(self.now, &Chroot::ROOT, &request, ());
            }
            Event::AddCredential => {
                let _ = self.session.add_auth(Credential::digest("joe", "secret"), ());
            }
            Event::Turn { on } => self.session.set_sasl(on),
        }
    }

    fn answer(&mut self, answer: Answer, old: bool) {
        let Some((newest, older)) = self.steps.split_last() else { return };
        let step = if old { older.last() } else { Some(newest) };
        let Some(step) = step.copied() else { return };
        if let Some(connection) = self.connection.as_mut().filter(|it| !old && it.is_asked) {
            connection.is_asked = false;
            connection.is_accepted |= matches!(answer, Answer::Done);
        }
        let answer = match answer {
            Answer::Respond(token) => Ok(Step::Respond(Secret::new(token.into()))),
            Answer::Done => Ok(Step::Done),
            Answer::Fail { transient: true } => Err(SaslError::Unavailable(String::new())),
            Answer::Fail { transient: false } => Err(SaslError::WrongProof),
        };
        self.session.handle_sasl(self.now, step, answer);
    }

    fn send(&mut self, body: impl FnOnce(&mut BytesMut)) {
        let Some(connection) = &mut self.connection else { return };
        let mut bytes = BytesMut::new();
        write_frame(&mut bytes, body);
        connection.incoming.extend(&bytes);
        self.session.handle_data(self.now, &mut connection.incoming);
    }

    /// Takes what the session sends, and checks whether it may be sent yet.
    fn transmit(&mut self) {
        let mut bytes = BytesMut::new();
        let sent = self.session.poll_transmit(self.now, &mut bytes);
        let Some(connection) = &mut self.connection else {
            assert!(!sent, "sent to nobody");
            return;
        };
        connection.outgoing.extend(&bytes);
        while let Ok(Some(Frame::Whole(frame))) = connection.outgoing.next_frame() {
            if !std::mem::replace(&mut connection.greeted, true) {
                continue;
            }
            let mut input = Reader::new(&frame);
            let header = RequestHeader::decode(&mut input).expect("a header");
            if header.op == OpCode::Sasl {
                assert!(connection.must_log_in && !connection.is_accepted);
                assert!(header.xid > 0);
                SaslRequest::decode(&mut input).expect("a token");
                connection.xid = header.xid;
            } else {
                let op = header.op;
                assert!(
                    !connection.must_log_in || connection.is_accepted,
                    "{op} is sent too early"
                );
                assert!(
                    header.xid > 0
                        || matches!(header.xid, xid::AUTH | xid::PING | xid::SET_WATCHES)
                );
            }
        }
    }

    fn poll(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { .. } => self.connect(),
                Output::Disconnect => self.connection = None,
                Output::Sasl { step, token, .. } => {
                    assert!(!self.steps.contains(&step), "the same step twice");
                    self.steps.push(step);
                    let connection = self.connection.as_mut().expect("a step without a connection");
                    assert!(!connection.is_accepted && !connection.is_asked);
                    assert_eq!(token.is_none(), !connection.must_log_in, "not the first step");
                    connection.must_log_in = true;
                    connection.is_asked = true;
                }
                Output::State(state) if state.is_connected() => {
                    let connection = self.connection.as_ref().expect("connected to nobody");
                    assert!(!connection.must_log_in || connection.is_accepted, "{state} too early");
                }
                _ => {}
            }
        }
    }

    /// The connection is open at once, and the server grants a session.
    fn connect(&mut self) {
        self.connection = Some(Connection {
            incoming: FrameReader::new(self.session.config().max_reply),
            outgoing: FrameReader::new(usize::MAX),
            greeted: false,
            must_log_in: false,
            is_asked: false,
            is_accepted: false,
            xid: 0,
        });
        self.session.handle_connected(self.now);
        self.transmit();
        let response = ConnectResponse {
            protocol_version: 0,
            timeout: 10_000,
            session_id: 7,
            password: Secret::new(Some(Bytes::from_static(&[1; 16]))),
            read_only: Some(false.into()),
        };
        self.send(|out| response.encode(out));
    }
}
