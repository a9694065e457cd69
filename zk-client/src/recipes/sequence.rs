//! Who comes before whom, by the numbers that the servers give to sequential nodes: the one place where
//! recipes compare them.
//!
//! The numbers of a parent's children grow one by one, to 2147483647. There the counter stays, and gives that
//! number to every later child; and to some of those that are asked for at the same time, or in one
//! transaction, it gives -2147483648, -2147483647 and so on. So there are numbers that are equal, and late ones
//! that are lower than all others: whoever goes by them holds what somebody holds already. Only numbers from 0
//! to 2147483646 tell who was there before, and nobody contends with another one.

use zk_proto::path;

use crate::{Error, ErrorCode, Ustring};

/// The number of the node that the server has made of `id` at `path`.
///
/// # Errors
/// When it does not tell who was there before: the numbers of this parent are used up.
pub(super) fn own(id: &str, path: &str) -> Result<i32, Error> {
    match path::sequence_after(path::name(id), path::name(path)) {
        Some(number) if (0..i32::MAX).contains(&number) => Ok(number),
        Some(_) => Err(exhausted(path)),
        None => Err(Error::invalid_reply(None, format!("the server created {path} for {id}"))),
    }
}

/// The error of a creation of `id` that has failed. That the node exists means that the numbers are used up:
/// nobody else has this id, so an earlier try, whose session is gone, was given the same number.
pub(super) fn refused(id: &str, error: Error) -> Error {
    match error.code() {
        Some(ErrorCode::NodeExists) => exhausted(id),
        _ => error,
    }
}

fn exhausted(path: &str) -> Error {
    Error::sequence_exhausted(path::parent(path).unwrap_or("/"))
}

/// The nodes that contend: those in whose names one of `patterns` is right before the number; with that, in
/// no order.
pub(super) fn contenders<'c, 'p>(
    children: &'c [Ustring],
    patterns: impl Iterator<Item = &'p str> + Clone,
) -> impl Iterator<Item = (i32, &'c str)> {
    children.iter().filter_map(move |name| {
        let number = patterns.clone().find_map(|pattern| number(name, pattern))?;
        Some((number, name.as_str()))
    })
}

/// The last of `contenders` before `own`. Those whose numbers have wrapped count as earlier: they may believe
/// to be first.
pub(super) fn predecessor<'c>(
    own: i32,
    contenders: impl Iterator<Item = (i32, &'c str)>,
) -> Option<&'c str> {
    let before = contenders.filter(|(number, _)| *number < own);
    before.max_by_key(|(number, _)| *number).map(|(_, name)| name)
}

/// The number of a node whose name has `pattern` right before it.
fn number(name: &str, pattern: &str) -> Option<i32> {
    let at = name.rfind(pattern)?;
    path::sequence_after(name.get(..at + pattern.len())?, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_tell_who_was_first_are_contended_with() {
        let own = |number: &str| own("/lock/id__lock__", &format!("/lock/id__lock__{number}"));
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
        let taken = refused("/lock/id__lock__", error(ErrorCode::NodeExists));
        assert_eq!(taken.kind(), crate::ErrorKind::SequenceExhausted);
        assert!(taken.to_string().contains("of /lock are used up"), "{taken}");
        let other = refused("/lock/id__lock__", error(ErrorCode::NoAuth));
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
