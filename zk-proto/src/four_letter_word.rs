//! Four-letter words: the answers by which a server refuses one.
//!
//! A four-letter word is four letters on a connection of its own. The answer is a text that ends with the
//! connection (`org.apache.zookeeper.server.command`).

/// Why a server refuses a four-letter word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The word is not in the server's whitelist (`4lw.commands.whitelist`; by default, only `srvr` is).
    NotWhitelisted,
    /// The server runs, but does not serve: it has no quorum, or it is just starting.
    NotServing,
}

/// Returns why the server refuses the word, if `answer` is a refusal (`NopCommand`, `AbstractFourLetterCommand`,
/// `IsroCommand`).
///
/// ```
/// use zk_proto::four_letter_word::{Refusal, refusal};
///
/// let answer = b"mntr is not executed because it is not in the whitelist.";
/// assert_eq!(refusal(answer), Some(Refusal::NotWhitelisted));
/// assert_eq!(refusal(b"imok"), None);
/// ```
#[must_use]
pub fn refusal(answer: &[u8]) -> Option<Refusal> {
    const NOT_WHITELISTED: &[u8] = b" is not executed because it is not in the whitelist.";
    const NOT_SERVING: &[u8] = b"This ZooKeeper instance is not currently serving requests";

    let answer = answer.trim_ascii();
    // The word comes first.
    if answer.get(4..) == Some(NOT_WHITELISTED) {
        Some(Refusal::NotWhitelisted)
    } else if answer == NOT_SERVING || answer == b"null" {
        Some(Refusal::NotServing)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_are_refusals() {
        let not_serving = b"This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(refusal(not_serving), Some(Refusal::NotServing));
        assert_eq!(refusal(b"null"), Some(Refusal::NotServing));
        for other in [&b""[..], b"rw", b"ro", b"Mode: standalone", b"\xff\xff\xff\xff", b"nul"] {
            assert_eq!(refusal(other), None);
        }
    }
}
