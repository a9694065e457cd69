//! The order of contenders, by the sequence numbers of their nodes. All recipes compare them here.
//!
//! A parent's sequence numbers grow by one, up to 2147483647. The counter stops there, and every later child gets that
//! number. Children that are created at the same time, or in one transaction, may get -2147483648, -2147483647 and so on.
//! So numbers can be equal, and late ones can be lower than all others. A contender that trusted them could get a lock
//! that is held already. Only numbers from 0 to 2147483646 show the order of creation, so a contender with another number
//! gives up.

use zk_proto::path;

use crate::{Error, ErrorCode, Ustring};

/// Returns the number of the node at `path` that the server created from the name `id`.
///
/// # Errors
/// [`SequenceExhausted`](crate::ErrorKind::SequenceExhausted) if the number does not show the order of creation.
pub(super) fn number_of(id: &str, path: &str) -> Result<i32, Error> {
    match path::sequence_after(path::name(id), path::name(path)) {
        Some(number) if (0..i32::MAX).contains(&number) => Ok(number),
        Some(_) => Err(exhausted(path)),
        None => Err(Error::invalid_reply(None, format!("the server created {path} for {id}"))),
    }
}

/// Returns the error of a creation of `id` that failed. If the node exists, the numbers are used up: the id is
/// unique, so an earlier try, in a session that is gone, got the same number.
pub(super) fn creation_error(id: &str, error: Error) -> Error {
    match error.code() {
        Some(ErrorCode::NodeExists) => exhausted(id),
        _ => error,
    }
}

fn exhausted(path: &str) -> Error {
    Error::sequence_exhausted(path::parent(path).unwrap_or("/"))
}

/// Returns the nodes in whose names one of `patterns` is right before the number, with the number, in no order.
pub(super) fn contenders<'c, 'p>(
    children: &'c [Ustring],
    patterns: impl Iterator<Item = &'p str> + Clone,
) -> impl Iterator<Item = (i32, &'c str)> {
    children.iter().filter_map(move |name| {
        let number = patterns.clone().find_map(|pattern| number(name, pattern))?;
        Some((number, name.as_str()))
    })
}

/// Returns the last of `contenders` before `own`; if there is none, the contender with the number `own` is the
/// first. Negative numbers count as earlier, because their owners may believe to be first.
pub(super) fn predecessor<'c>(
    own: i32,
    contenders: impl Iterator<Item = (i32, &'c str)>,
) -> Option<&'c str> {
    let before = contenders.filter(|(number, _)| *number < own);
    before.max_by_key(|(number, _)| *number).map(|(_, name)| name)
}

/// Returns the number of a node if `pattern` is right before it in the name.
fn number(name: &str, pattern: &str) -> Option<i32> {
    let at = name.rfind(pattern)?;
    path::sequence_after(name.get(..at + pattern.len())?, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_tell_who_was_first_are_contended_with() {
        let own =
            |number: &str| number_of("/lock/id__lock__", &format!("/lock/id__lock__{number}"));
        assert_eq!(own("0000000000").unwrap(), 0);
        assert_eq!(own("2147483646").unwrap(), i32::MAX - 1);
        for number in ["2147483647", "-2147483648", "-2147483647", "-000000001"] {
            let error = own(number).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::SequenceExhausted, "{number}");
            assert!(error.to_string().contains("of /lock are used up"), "{error}");
        }
        assert_eq!(own("1").unwrap_err().kind(), crate::ErrorKind::InvalidReply);
    }

    #[test]
    fn a_node_that_nobody_else_can_have_made_was_given_its_number_twice() {
        let error = |code| Error::new(crate::ErrorKind::Server(code), "refused");
        let taken = creation_error("/lock/id__lock__", error(ErrorCode::NodeExists));
        assert_eq!(taken.kind(), crate::ErrorKind::SequenceExhausted);
        assert!(taken.to_string().contains("of /lock are used up"), "{taken}");
        let other = creation_error("/lock/id__lock__", error(ErrorCode::NoAuth));
        assert_eq!(other.code(), Some(ErrorCode::NoAuth));
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_not_as_text() {
        let names = [
            "f__lock__0000000002",
            "a__lock__0000000010",
            "b__lock__0000000003",
            "c__rlock__0000000009",
            "_c_x-lock-0000000008",
            "d__lock__-2147483648",
            "locks",
        ]
        .map(Ustring::from);
        let before = |own, patterns: &[&'static str]| {
            predecessor(own, contenders(&names, patterns.iter().copied()))
        };
        assert_eq!(before(10, &["__lock__"]), Some("b__lock__0000000003"));
        assert_eq!(before(10, &["__lock__", "__rlock__"]), Some("c__rlock__0000000009"));
        assert_eq!(before(9, &["__lock__", "-lock-"]), Some("_c_x-lock-0000000008"));
        assert_eq!(before(2, &["__lock__"]), Some("d__lock__-2147483648"));
        assert_eq!(before(2, &["__rlock__"]), None);
    }
}
