//! SASL with Kerberos (GSSAPI): real servers, and a KDC of MIT's krb5.

use std::process::Command;

use zk_tests::Kdc;

#[test]
fn a_keytab_gets_a_ticket() {
    let kdc = Kdc::start();
    kdc.kinit("client", &[]);
    let list = Command::new("/usr/bin/klist").arg(kdc.ticket_cache()).output().expect("klist runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("Default principal: client@ZK.TEST"), "{list}");
}

#[test]
fn a_test_with_kerberos_runs_in_a_child_process() {
    let own = std::process::id();
    Kdc::run_test("a_test_with_kerberos_runs_in_a_child_process", |kdc| {
        assert!(
            std::env::var("KRB5_CONFIG").is_ok_and(|path| kdc.krb5_conf().as_os_str() == &*path)
        );
        assert_eq!(own, std::process::id());
    });
}
