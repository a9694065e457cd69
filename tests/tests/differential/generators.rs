//! The sequences of steps that both servers run, generated and shrunk by proptest.
//!
//! All values are drawn from small sets, so that steps interact: three clients, a dozen nodes, a few
//! identities, versions that often match.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};
use zk_proto::{Acl, AddWatchMode, OpCode, Perms, Ustring, WatcherType};

use crate::sequence::{
    CLIENTS, CreateTemplate, Headers, MultiPart, Path, Reconfiguration, RequestTemplate, Step,
    WatchLists,
};

/// Generates a sequence.
pub(crate) fn sequence() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        40 => (client(), request()).prop_map(|(client, request)| Step::Single(client, request)),
        1 => client().prop_map(Step::Cut),
        1 => (client(), select(vec![true, true, true, false]))
            .prop_map(|(client, right_password)| Step::Resume { client, right_password }),
        2 => (client(), vec(in_burst(), 2..5)).prop_map(|(client, requests)| Step::Burst(client, requests)),
    ]
}

fn request() -> impl Strategy<Value = RequestTemplate> {
    prop_oneof![
        30 => in_burst(),
        1 => (path(), acl(), version())
            .prop_map(|(path, acl, version)| RequestTemplate::SetAcl(path, acl, version)),
        1 => vec(odd_part(), 1..4).prop_map(RequestTemplate::Multi),
        2 => auth(),
        2 => sasl_login(),
        1 => Just(RequestTemplate::CloseSession),
        1 => unknown().prop_map(RequestTemplate::Unknown),
        1 => reconfiguration().prop_map(RequestTemplate::Reconfig),
        1 => select(vec![
            RequestTemplate::Sasl(Some(b"")),
            RequestTemplate::Sasl(Some(b"token")),
            RequestTemplate::Sasl(None),
            RequestTemplate::Truncated(OpCode::Auth),
            RequestTemplate::Truncated(OpCode::Sasl),
        ]),
    ]
}

/// Requests that can be part of a burst: they keep the connection open, are answered in order, and have the
/// same effect however soon the next request arrives. In ZooKeeper, a write right after a setACL or a failed
/// multi may be checked against an outdated or uncommitted state.
fn in_burst() -> impl Strategy<Value = RequestTemplate> {
    prop_oneof![
        14 => fitting().prop_map(RequestTemplate::Create),
        1 => odd().prop_map(RequestTemplate::Create),
        5 => (path(), version()).prop_map(|(path, version)| RequestTemplate::Delete(path, version)),
        5 => (path(), data(), version()).prop_map(|(p, data, version)| RequestTemplate::SetData(p, data, version)),
        4 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::Exists(path, watch)),
        4 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetData(path, watch)),
        3 => path().prop_map(RequestTemplate::GetAcl),
        3 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetChildren(path, watch)),
        3 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetChildren2(path, watch)),
        1 => path().prop_map(RequestTemplate::GetAllChildrenNumber),
        2 => path().prop_map(RequestTemplate::GetEphemerals),
        1 => Just(RequestTemplate::GetAllEphemerals),
        1 => path().prop_map(RequestTemplate::Sync),
        3 => (path(), select(vec![0, 0, 0, 1, 1, 1, 2, -1]))
            .prop_map(|(path, mode)| RequestTemplate::AddWatch(path, AddWatchMode::from_code(mode))),
        2 => (path(), watcher_type()).prop_map(|(path, kind)| RequestTemplate::CheckWatches(path, kind)),
        2 => (path(), watcher_type()).prop_map(|(path, kind)| RequestTemplate::RemoveWatches(path, kind)),
        1 => watch_lists().prop_map(RequestTemplate::SetWatches),
        1 => (watch_lists(), paths(), paths())
            .prop_map(|(lists, persistent, recursive)| RequestTemplate::SetWatches2(lists, persistent, recursive)),
        4 => vec(part(), 0..5).prop_map(RequestTemplate::Multi),
        2 => vec(read_part(), 0..4).prop_map(RequestTemplate::MultiRead),
        1 => vec(prop_oneof![part(), read_part()], 1..4).prop_map(RequestTemplate::Multi),
        1 => (read_part(), vec(prop_oneof![part(), read_part()], 0..3))
            .prop_map(|(first, rest)| RequestTemplate::MultiRead([vec![first], rest].concat())),
        1 => (vec(part(), 0..3), headers())
            .prop_map(|(parts, headers)| RequestTemplate::OddMulti(OpCode::Multi, parts, headers)),
        1 => (vec(read_part(), 0..3), headers())
            .prop_map(|(parts, headers)| RequestTemplate::OddMulti(OpCode::MultiRead, parts, headers)),
        1 => Just(RequestTemplate::WhoAmI),
        1 => Just(RequestTemplate::Ping),
        1 => truncated().prop_map(RequestTemplate::Truncated),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        12 => select(vec!["", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/e", "/e/x", "/a/0000000000"])
            .prop_map(Path::Below),
        1 => select(vec![
            "/", "//a", "/a/", "/./a", "/a/..", "/a/.", "/.a", "/...", "/a\0b", "/\u{1}", "/\u{7f}",
            "/\u{9f}", "/é", "/\u{f8ff}", "/\u{fff0}", "/ ", "/😀",
        ]).prop_map(Path::Below),
        1 => select(vec!["/", "", "x", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/nope"])
            .prop_map(Path::Whole),
    ]
}

fn paths() -> impl Strategy<Value = Vec<Path>> {
    vec(path(), 0..3)
}

fn version() -> impl Strategy<Value = i32> {
    select(vec![-1, -1, -1, 0, 0, 1, 2, -2])
}

fn data() -> impl Strategy<Value = Option<&'static [u8]>> {
    select(vec![
        None,
        Some(b"".as_slice()),
        Some(b"some".as_slice()),
        Some(b"other data".as_slice()),
    ])
}

fn acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    let open = || vec![Acl::open_unsafe()];
    let ann = || Acl::new(Perms::ALL, "digest", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=");
    let all = |scheme: &'static str, id: &'static str| vec![Acl::new(Perms::ALL, scheme, id)];
    // kazoo writes an empty identity in this way.
    let null = |scheme: &'static str| Acl::new(Perms::ALL, scheme, Ustring::null());
    prop_oneof![
        10 => Just(Some(open())),
        4 => select(vec![
            Some(vec![Acl::creator_all()]),
            Some(vec![Acl::creator_all(), Acl::read_unsafe(), Acl::creator_all()]),
            Some(vec![null("auth")]),
            Some(vec![ann(), Acl::read_unsafe()]),
            Some(vec![ann()]),
            Some(vec![Acl::new(Perms::ALL, "digest", "ann 😀:x"), Acl::read_unsafe()]),
            Some(vec![Acl::new(Perms::ALL, "digest", surrogates()), Acl::read_unsafe()]),
            Some(vec![Acl::new(Perms::READ | Perms::CREATE, "world", "anyone")]),
            Some(vec![Acl::new(Perms::WRITE | Perms::DELETE, "world", "anyone")]),
            Some(vec![Acl::new(Perms::NONE, "world", "anyone")]),
            Some(all("sasl", "bob")),
            Some(vec![Acl::new(Perms::ALL, "sasl", "bob"), Acl::read_unsafe()]),
            Some(all("x509", "CN=client")),
            Some(vec![Acl::new(Perms::ALL, "x509", "CN=client-2"), Acl::read_unsafe()]),
            Some(all("ip", "127.0.0.1")),
            Some(all("ip", "127.0.0.0/8")),
            Some(all("ip", "10.0.0.0/8")),
        ]),
        1 => select(vec![
            None,
            Some(vec![]),
            Some(all("world", "someone")),
            Some(all("nope", "x")),
            Some(all("super", "")),
            Some(all("x509", "CN=x")),
            Some(all("x509", "cn=client")),
            Some(all("x509", "client")),
            Some(all("x509", "")),
            Some(all("sasl", "bob@REALM")),
            Some(all("sasl", "a@b@c")),
            Some(all("sasl", "")),
            Some(vec![null("sasl")]),
            Some(vec![null("x509")]),
            Some(all("digest", "ann")),
            Some(all("digest", "a:b:c")),
            Some(all("digest", "ann:x:")),
            Some(all("digest", "ann 😀")),
            Some(vec![null("auth")]),
            Some(vec![null("auth"), Acl::read_unsafe(), null("auth")]),
            Some(vec![null("world")]),
            Some(vec![Acl::open_unsafe(), null("world")]),
            Some(vec![null("digest")]),
            Some(vec![null("ip")]),
            Some(vec![null("nope")]),
            Some(vec![Acl::new(Perms::ALL, Ustring::null(), "anyone")]),
            Some(vec![Acl::open_unsafe(), Acl::new(Perms::ALL, Ustring::null(), Ustring::null())]),
            Some(vec![Acl::new(Perms::READ, "auth", ""), null("auth")]),
            Some(all("ip", "127.0.0")),
            Some(all("ip", "127.0.0.1/33")),
            Some(all("ip", "127.0.0.1/0")),
            Some(all("ip", "::1")),
            Some(all("ip", "0:0:0:0:0:0:0:1/64")),
            Some(all("ip", "::/129")),
            Some(all("ip", "1::2::3")),
        ]),
    ]
}

/// A digest as Java clients encode it.
fn surrogates() -> Ustring {
    Ustring::from("ann 😀:x").through_java()
}

/// A creation whose operation, flags and TTL belong together.
fn fitting() -> impl Strategy<Value = CreateTemplate> {
    creation(vec![
        (OpCode::Create, 0, -1),
        (OpCode::Create, 0, -1),
        (OpCode::Create, 1, -1),
        (OpCode::Create, 1, -1),
        (OpCode::Create, 2, -1),
        (OpCode::Create, 3, -1),
        (OpCode::Create2, 0, -1),
        (OpCode::Create2, 1, -1),
        (OpCode::Create2, 2, -1),
        (OpCode::CreateContainer, 4, -1),
        (OpCode::CreateTtl, 5, 3_600_000),
        (OpCode::CreateTtl, 6, 0xff_ffff_ffff),
    ])
}

/// A creation whose operation, flags and TTL do not belong together.
fn odd() -> impl Strategy<Value = CreateTemplate> {
    creation(vec![
        (OpCode::Create, 4, -1),
        (OpCode::Create2, 4, -1),
        (OpCode::Create, 5, -1),
        (OpCode::Create, 9, -1),
        (OpCode::CreateContainer, 0, -1),
        (OpCode::CreateContainer, 2, -1),
        (OpCode::CreateContainer, 6, -1),
        (OpCode::CreateTtl, 5, 0),
        (OpCode::CreateTtl, 5, -1),
        (OpCode::CreateTtl, 5, 0x100_0000_0000),
        (OpCode::CreateTtl, 0, 1000),
        (OpCode::CreateTtl, 1, 1000),
        (OpCode::CreateTtl, 4, 1000),
    ])
}

fn creation(kinds: Vec<(OpCode, i32, i64)>) -> impl Strategy<Value = CreateTemplate> {
    (select(kinds), path(), data(), acl()).prop_map(|((op, flags, ttl), path, data, acl)| {
        CreateTemplate { op, path, data, acl, flags, ttl }
    })
}

fn part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![
        4 => fitting().prop_map(MultiPart::Create),
        2 => (path(), version()).prop_map(|(path, version)| MultiPart::Delete(path, version)),
        2 => (path(), data(), version()).prop_map(|(path, data, v)| MultiPart::SetData(path, data, v)),
        2 => (path(), version()).prop_map(|(path, version)| MultiPart::Check(path, version)),
    ]
}

fn odd_part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![3 => part(), 1 => odd().prop_map(MultiPart::Create)]
}

fn read_part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![
        (path(), any::<bool>()).prop_map(|(path, watch)| MultiPart::GetData(path, watch)),
        (path(), any::<bool>()).prop_map(|(path, watch)| MultiPart::GetChildren(path, watch)),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let ends = vec![(14, 1, 0), (-1, 2, -1), (-1, 0xff, -1), (1, 1, -1), (0, 1, 7), (99, 1, -1)];
    (select(vec![-1, 0, 7]), select(ends)).prop_map(|(err, end)| Headers { err, end })
}

fn watcher_type() -> impl Strategy<Value = WatcherType> {
    select(vec![1, 2, 3, 3, 3, 4, 5, 0, 6]).prop_map(WatcherType::from_code)
}

fn watch_lists() -> impl Strategy<Value = WatchLists> {
    (0..40_i64, paths(), paths(), paths()).prop_map(|(zxid, data, exist, child)| WatchLists {
        zxid,
        data,
        exist,
        child,
    })
}

fn auth() -> impl Strategy<Value = RequestTemplate> {
    select(vec![
        RequestTemplate::Auth("digest", Some("ann:secret")),
        RequestTemplate::Auth("digest", Some("ann:secret")),
        RequestTemplate::Auth("digest", Some("bob:secret")),
        RequestTemplate::Auth("digest", Some("ann 😀:secret")),
        RequestTemplate::Auth("digest", Some("nobody")),
        RequestTemplate::Auth("digest", Some("")),
        RequestTemplate::Auth("digest", None),
        RequestTemplate::Auth("digest", Some("super:test")),
        RequestTemplate::Auth("ip", Some("")),
        RequestTemplate::Auth("ip", None),
        RequestTemplate::Auth("nope", Some("x")),
        RequestTemplate::Auth("world", Some("anyone")),
        RequestTemplate::Auth("sasl", Some("bob")),
        RequestTemplate::Auth("x509", Some("CN=x")),
        RequestTemplate::Auth("super", Some("")),
        RequestTemplate::Auth("", Some("ann:secret")),
    ])
}

/// Codes that are no operation of a client.
fn unknown() -> impl Strategy<Value = i32> {
    select(vec![99, 23, 108, 1000, 10, -1, -2, i32::MAX, i32::MIN])
}

fn reconfiguration() -> impl Strategy<Value = Reconfiguration> {
    let member =
        || select(vec![None, Some(""), Some("server.2=127.0.0.1:1:2;3"), Some("nonsense")]);
    (member(), select(vec![None, Some("1"), Some("x")]), member(), select(vec![-1, 0, 7])).prop_map(
        |(joining, leaving, members, config_id)| Reconfiguration {
            joining,
            leaving,
            members,
            config_id,
        },
    )
}

fn sasl_login() -> impl Strategy<Value = RequestTemplate> {
    select(vec![
        RequestTemplate::SaslLogin("bob", "bob's secret"),
        RequestTemplate::SaslLogin("bob", "bob's secret"),
        RequestTemplate::SaslLogin("super", "super's secret"),
        RequestTemplate::SaslLogin("bob", "wrong"),
        RequestTemplate::SaslLogin("nobody", "wrong"),
    ])
}

fn truncated() -> impl Strategy<Value = OpCode> {
    select(vec![
        OpCode::Create,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::SetAcl,
        OpCode::Multi,
        OpCode::MultiRead,
        OpCode::GetData,
        OpCode::GetAcl,
        OpCode::GetChildren2,
        OpCode::SetWatches,
        OpCode::SetWatches2,
        OpCode::AddWatch,
        OpCode::RemoveWatches,
        OpCode::GetEphemerals,
        OpCode::Sync,
        OpCode::Reconfig,
    ])
}
