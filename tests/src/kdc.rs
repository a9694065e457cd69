//! A Kerberos key distribution centre (KDC) of MIT's krb5, on the loopback interface.

use std::{
    env, fs, io,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
    time::Duration,
};

use crate::{
    eventually,
    free_address::free_address,
    lock,
    process::{Process, TempDirectory},
    server::Options,
};

/// What a KDC is made of, with the Debian package of each.
const PROGRAMS: [&str; 4] = [
    "/usr/sbin/krb5kdc",      // krb5-kdc
    "/usr/sbin/kdb5_util",    // krb5-kdc
    "/usr/sbin/kadmin.local", // krb5-admin-server
    "/usr/bin/kinit",         // krb5-user
];
const CURE: &str = "apt-get update && apt-get install -y krb5-kdc krb5-admin-server krb5-user";

/// The realm of every KDC of the harness.
const REALM: &str = "ZK.TEST";
/// The principal of the ZooKeeper servers: clients connect to `localhost`.
const SERVER: &str = "zookeeper/localhost";
/// The principal of the clients that have no other.
const CLIENT: &str = "client";

/// Set to the KDC's directory in the child process of [`Kdc::run_test`].
const DIRECTORY: &str = "ZK_TEST_KDC";

/// The time that a KDC may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A KDC with its realm, principals and keytabs, in a temporary directory. It ends with this value, or with
/// the test process.
///
/// The realm is `ZK.TEST`. It has the principals `zookeeper/localhost`, for servers, and `client`.
///
/// MIT's library takes its configuration from the environment, which a test must not change while other
/// threads run. So a test that uses Kerberos in its own process runs in a child process, see
/// [`run_test`](Self::run_test).
#[derive(Debug)]
pub struct Kdc {
    // Dropped in this order.
    process: Mutex<Option<Process>>,
    directory: PathBuf,
    /// `None` if the directory belongs to the parent process.
    files: Option<TempDirectory>,
    address: SocketAddr,
}

impl Kdc {
    /// Starts a KDC, and waits until it issues tickets.
    ///
    /// # Panics
    ///
    /// If krb5 is not installed or the KDC does not start. The message says what to do.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let files = TempDirectory::new().expect("a temporary directory");
        Self::start_in(files.path().to_owned(), Some(files))
    }

    /// Runs `test` with a KDC in a child process, whose environment lets Kerberos use this KDC: the child is
    /// this test binary again, asked for the test `name` alone. The child's
    /// [`ticket_caches`](Self::ticket_caches) and [`client_keytab`](Self::client_keytab) are empty at first.
    ///
    /// # Panics
    ///
    /// If the test fails in the child process.
    #[track_caller]
    pub fn run_test(name: &str, test: impl FnOnce(&Kdc)) {
        if let Some(directory) = env::var_os(DIRECTORY) {
            return test(&Self::start_in(directory.into(), None));
        }
        check_installed();
        let files = TempDirectory::new().expect("a temporary directory");
        let directory = files.path();
        let own = env::current_exe().expect("the path of the test binary");
        let output = Command::new(own)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .envs(environment(directory))
            .output()
            .expect("the test binary runs");
        let text = text_of(&output);
        assert!(text.contains("1 passed"), "{name} failed in its child process:\n{text}");
    }

    #[track_caller]
    fn start_in(directory: PathBuf, files: Option<TempDirectory>) -> Self {
        check_installed();
        let address = free_udp_address();
        let kdc = Self { process: Mutex::new(None), directory, files, address };
        kdc.write_configuration().expect("the KDC's files can be written");
        kdc.run(
            Command::new("/usr/sbin/kdb5_util").args(["create", "-s", "-r", REALM, "-P", "master"]),
        );
        for principal in [SERVER, CLIENT] {
            kdc.add_principal(principal);
        }
        kdc.resume();
        kdc
    }

    fn write_configuration(&self) -> io::Result<()> {
        let (address, directory) = (self.address, self.directory.display());
        // Names are used as they are given: nothing is looked up in DNS.
        let client = format!(
            "[libdefaults]\n\
             default_realm = {REALM}\n\
             dns_lookup_kdc = false\n\
             dns_lookup_realm = false\n\
             dns_canonicalize_hostname = false\n\
             rdns = false\n\
             [realms]\n\
             {REALM} = {{\n\
             kdc = {address}\n\
             }}\n\
             [domain_realm]\n\
             localhost = {REALM}\n\
             [logging]\n\
             kdc = FILE:{directory}/kdc.log\n"
        );
        let server = format!(
            "[kdcdefaults]\n\
             kdc_listen = {address}\n\
             kdc_tcp_listen = {address}\n\
             [realms]\n\
             {REALM} = {{\n\
             database_name = {directory}/principal\n\
             key_stash_file = {directory}/stash\n\
             acl_file = {directory}/acl\n\
             max_life = 10h\n\
             supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal\n\
             }}\n"
        );
        fs::create_dir_all(self.path("tickets"))?;
        fs::write(self.path("krb5.conf"), client)?;
        fs::write(self.path("kdc.conf"), server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory with all files of the KDC.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &'static str {
        REALM
    }

    /// The configuration of Kerberos clients, for `KRB5_CONFIG` and `java.security.krb5.conf`.
    #[must_use]
    pub fn krb5_conf(&self) -> PathBuf {
        self.path("krb5.conf")
    }

    /// The collection of ticket caches of a child process of [`run_test`](Self::run_test), as `KRB5CCNAME` says
    /// it. It has one cache for each principal.
    #[must_use]
    pub fn ticket_caches(&self) -> String {
        format!("DIR:{}", self.path("tickets").display())
    }

    /// The keytab of the clients in a child process of [`run_test`](Self::run_test).
    #[must_use]
    pub fn client_keytab(&self) -> PathBuf {
        self.path("clients.keytab")
    }

    /// Adds a principal with a random key, and returns a new keytab that has it.
    #[track_caller]
    pub fn add_principal(&self, principal: &str) -> PathBuf {
        self.kadmin(&format!("addprinc -randkey {principal}"));
        self.write_keytab(principal)
    }

    /// Adds a principal with a password.
    #[track_caller]
    pub fn add_principal_with_password(&self, principal: &str, password: &str) {
        self.kadmin(&format!("addprinc -pw {password} {principal}"));
    }

    /// The keytab of a principal of [`add_principal`](Self::add_principal).
    #[must_use]
    pub fn keytab(&self, principal: &str) -> PathBuf {
        keytab_of(&self.directory, principal)
    }

    /// Writes the present key of a principal to its keytab.
    #[track_caller]
    fn write_keytab(&self, principal: &str) -> PathBuf {
        let keytab = self.keytab(principal);
        self.kadmin(&format!("ktadd -norandkey -k {} {principal}", keytab.display()));
        keytab
    }

    /// Gives a principal a new key: its keytabs become invalid.
    #[track_caller]
    pub fn change_key(&self, principal: &str) {
        self.kadmin(&format!("cpw -randkey {principal}"));
    }

    /// Runs a query of `kadmin.local`.
    #[track_caller]
    pub fn kadmin(&self, query: &str) {
        let text =
            self.run(Command::new("/usr/sbin/kadmin.local").args(["-r", REALM, "-q", query]));
        // It ends with success even if the query fails.
        assert!(!text.contains("while "), "kadmin.local {query:?} failed:\n{text}");
    }

    /// Deletes all tickets of the child process.
    #[track_caller]
    pub fn kdestroy(&self) {
        self.run(Command::new("/usr/bin/kdestroy").arg("-A"));
    }

    /// Gets a ticket for `principal` with its keytab, for the child process. `options` are those of `kinit`.
    #[track_caller]
    pub fn kinit(&self, principal: &str, options: &[&str]) {
        let keytab = self.keytab(principal);
        self.run(
            Command::new("/usr/bin/kinit").args(options).arg("-kt").arg(keytab).arg(principal),
        );
    }

    /// Gets a ticket for `principal` that has expired.
    #[track_caller]
    pub fn kinit_expired(&self, principal: &str) {
        self.kdestroy();
        self.kinit(principal, &["-l", "1s"]);
        eventually(START_LIMIT, "the ticket to expire", || {
            let mut kvno = Command::new("/usr/bin/kvno");
            kvno.arg(SERVER).envs(environment(&self.directory));
            (!kvno.output().expect("kvno runs").status.success()).then_some(())
        });
    }

    /// Adds the keys of principals of [`add_principal`](Self::add_principal) to the keytab of the clients in the
    /// child process.
    #[track_caller]
    pub fn add_to_client_keytab(&self, principals: &[&str]) {
        let (keytab, principals) = (self.client_keytab(), principals.join(" "));
        self.kadmin(&format!("ktadd -norandkey -k {} {principals}", keytab.display()));
    }

    /// Stops the KDC. Its port refuses connections.
    pub fn stop(&self) {
        *lock(&self.process) = None;
    }

    /// Freezes the KDC: it accepts connections and never answers.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[track_caller]
    pub fn pause(&self) {
        let mut process = lock(&self.process);
        process.as_mut().expect("the KDC runs").pause().expect("it can be paused");
    }

    /// Starts the KDC after [`stop`](Self::stop), or ends a [`pause`](Self::pause). Waits until it issues
    /// tickets.
    #[track_caller]
    pub fn resume(&self) {
        let paused = lock(&self.process).as_mut().map(Process::resume);
        match paused {
            Some(resumed) => resumed.expect("it can be resumed"),
            None => *lock(&self.process) = Some(self.launch().expect("krb5kdc starts")),
        }
        let probe = self.path("probe");
        eventually(START_LIMIT, "a ticket of the KDC", || {
            let mut kinit = Command::new("/usr/bin/kinit");
            kinit.arg("-c").arg(&probe).arg("-kt").arg(self.keytab(SERVER)).arg(SERVER);
            let output = kinit.envs(environment(&self.directory)).output().expect("kinit runs");
            output.status.success().then_some(())
        });
    }

    fn launch(&self) -> io::Result<Process> {
        let handle = match &self.files {
            Some(files) => files.handle()?,
            // The parent process keeps the directory for longer.
            None => io::pipe()?.1,
        };
        let mut command = vec!["/usr/bin/env".to_owned()];
        command.extend(environment(&self.directory).map(|(name, value)| format!("{name}={value}")));
        command.extend(["/usr/sbin/krb5kdc", "-n", "-r", REALM].map(str::to_owned));
        Process::start(&self.path("log"), handle, &command)
    }

    /// Runs a program on this KDC, and returns what it printed.
    #[track_caller]
    fn run(&self, command: &mut Command) -> String {
        let output =
            command.envs(environment(&self.directory)).output().expect("krb5 is installed");
        let text = text_of(&output);
        assert!(output.status.success(), "{command:?} failed:\n{text}");
        text
    }

    /// `options` for servers at `localhost` that log clients in by SASL with Kerberos. The identity of a client
    /// is its principal, with the realm.
    #[must_use]
    pub fn server_options(&self, options: Options) -> Options {
        options.sasl_kerberos(self.keytab(SERVER), format!("{SERVER}@{REALM}"), self.krb5_conf())
    }
}

fn keytab_of(directory: &Path, principal: &str) -> PathBuf {
    directory.join(format!("{}.keytab", principal.replace('/', "-")))
}

/// The variables that make Kerberos use the KDC in `directory`.
fn environment(directory: &Path) -> [(&'static str, String); 6] {
    let path = |name| directory.join(name).display().to_string();
    [
        ("KRB5_CONFIG", path("krb5.conf")),
        ("KRB5_KDC_PROFILE", path("kdc.conf")),
        ("KRB5CCNAME", format!("DIR:{}", path("tickets"))),
        ("KRB5_CLIENT_KTNAME", format!("FILE:{}", path("clients.keytab"))),
        // For servers in the test's own process.
        ("KRB5_KTNAME", format!("FILE:{}", keytab_of(directory, SERVER).display())),
        // The tests look for parts of the messages.
        ("LC_ALL", "C".to_owned()),
    ]
}

fn text_of(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[track_caller]
fn check_installed() {
    if let Some(missing) = PROGRAMS.iter().find(|program| !Path::new(program).exists()) {
        panic!("MIT Kerberos is not installed ({missing} is missing); try: {CURE}");
    }
}

/// An address that is free for TCP and for UDP.
fn free_udp_address() -> SocketAddr {
    loop {
        let address = free_address();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
