//! What an error of TLS means: who is to change what.

use std::{error::Error, fmt, io};

use rustls::{AlertDescription, CertificateError, pki_types::ServerName};

/// What is known of a connection when it fails.
pub(super) struct Peer {
    /// The name that the server's certificate must be for.
    pub(super) name: ServerName<'static>,
    /// Whether the client has a certificate of its own.
    pub(super) has_identity: bool,
    /// Whether the client has ended the handshake.
    pub(super) is_open: bool,
    /// Whether anything has been received: of the handshake, or if that has ended, after it.
    pub(super) has_answered: bool,
}

/// An error with a text for the user, and the error that it is made of.
#[derive(Debug)]
struct Explained {
    text: String,
    source: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// The same error, with a text that says what is the matter.
pub(super) fn explain(error: io::Error, peer: &Peer) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let what = match inner {
        Some(inner) => of_rustls(inner, peer),
        None => of_socket(&error, peer),
    };
    let Some(what) = what else { return error };
    let step = if peer.is_open { "TLS" } else { "TLS handshake" };
    let text = format!("{step}: {what}");
    io::Error::new(error.kind(), Explained { text, source: error })
}

fn of_rustls(error: &rustls::Error, peer: &Peer) -> Option<String> {
    Some(match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error, peer),
        rustls::Error::AlertReceived(alert) => of_alert(*alert, peer),
        rustls::Error::InvalidMessage(_) if !peer.is_open => {
            "the answer is not TLS; is this a ZooKeeper port without TLS?".into()
        }
        error => error.to_string(),
    })
}

fn of_certificate(error: &CertificateError, peer: &Peer) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, Revoked, UnknownIssuer,
    };

    match error {
        UnknownIssuer => "the server's certificate is not from a trusted authority".into(),
        NotValidForName => {
            format!("the server's certificate is not for {}", quoted(&peer.name))
        }
        NotValidForNameContext { presented, .. } => {
            let presented = names(presented);
            format!(
                "the server's certificate is not for {}, as it should be, but for {presented}",
                quoted(&peer.name)
            )
        }
        Expired | ExpiredContext { .. } => {
            format!("the server's certificate has expired{}", since(error))
        }
        NotValidYet | NotValidYetContext { .. } => {
            format!("the server's certificate is not valid yet{}", since(error))
        }
        Revoked => "the server's certificate is revoked".into(),
        error => format!("the server's certificate: {error}"),
    }
}

/// The names of a certificate, which may have thousands.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;

    let shown = presented.get(..SHOWN).unwrap_or(presented).join(", ");
    match presented.len() {
        0 => "no name".into(),
        1..=SHOWN => shown,
        all => format!("{shown} and {} others", all.saturating_sub(SHOWN)),
    }
}

/// By how much the time is wrong.
fn since(error: &CertificateError) -> String {
    let (earlier, later, which) = match error {
        CertificateError::ExpiredContext { time, not_after } => (not_after, time, "ago"),
        CertificateError::NotValidYetContext { time, not_before } => (time, not_before, "to go"),
        _ => return String::new(),
    };
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        0..3_600 => format!(" ({seconds} s {which})"),
        3_600..172_800 => format!(" ({} h {which})", seconds / 3_600),
        _ => format!(" ({} days {which})", seconds / 86_400),
    }
}

fn quoted(name: &ServerName<'_>) -> String {
    format!("`{}`", name.to_str())
}

fn of_alert(alert: AlertDescription, peer: &Peer) -> String {
    use AlertDescription as Alert;

    let name = alert.as_str().unwrap_or("unknown");
    match alert {
        Alert::CertificateRequired
        | Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::CertificateUnknown
            if !peer.has_identity =>
        {
            format!("the server wants a client certificate, and there is none (alert {name})")
        }
        Alert::HandshakeFailure if !peer.has_identity => format!(
            "the server refused the handshake; it may want a client certificate, or have no protocol version or \
             cipher in common with the client (alert {name})"
        ),
        Alert::CertificateRevoked => refused("it is revoked", name),
        Alert::CertificateExpired => refused("it has expired", name),
        Alert::UnknownCA => refused("it is not from an authority that the server trusts", name),
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied => refused("its logs say why", name),
        Alert::ProtocolVersion => {
            format!("the server takes neither TLS 1.2 nor TLS 1.3 (alert {name})")
        }
        Alert::UnrecognisedName => {
            format!("the server has no certificate for {} (alert {name})", quoted(&peer.name))
        }
        _ => format!("the server sent the alert {name}"),
    }
}

fn refused(why: &str, alert: &str) -> String {
    format!("the server refused the client's certificate: {why} (alert {alert})")
}

/// An error that is not from rustls: the connection broke.
fn of_socket(error: &io::Error, peer: &Peer) -> Option<String> {
    use io::ErrorKind as Kind;

    let closed = matches!(
        error.kind(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
    );
    if !closed {
        return None;
    }
    Some(match peer {
        Peer { is_open: false, has_answered: false, .. } => {
            "the server closed the connection without an answer; is this a ZooKeeper port without TLS?".into()
        }
        Peer { has_answered: false, has_identity: false, .. } | Peer { is_open: false, has_identity: false, .. } => {
            "the server closed the connection; it may want a client certificate, and there is none".into()
        }
        Peer { has_answered: false, .. } | Peer { is_open: false, .. } => {
            "the server closed the connection; it may have refused the client's certificate".into()
        }
        _ => "the server closed the connection without notice".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_many_names_are_shown() {
        let some = |count: usize| vec!["a".to_owned(); count];
        assert_eq!(names(&some(0)), "no name");
        assert_eq!(names(&some(2)), "a, a");
        assert_eq!(names(&some(5)), "a, a, a, a, a");
        assert_eq!(names(&some(3_000)), "a, a, a, a, a and 2995 others");
    }
}
