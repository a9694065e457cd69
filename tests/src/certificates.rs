//! The certificates of servers and clients in tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::TempDirectory;

const OPENSSL: &str = "/usr/bin/openssl";
const VALID: [&str; 2] = ["20200101000000Z", "20490101000000Z"];
const PAST: [&str; 2] = ["20200101000000Z", "20200201000000Z"];

/// Who a certificate is for, and what is wrong with it, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The server with the subject `CN=server`, named `localhost` and `127.0.0.1`.
    Server,
    /// As `Server`, but valid in January 2020 only.
    ExpiredServer,
    /// As `Server`, but named `elsewhere.example`.
    MisnamedServer,
    /// As `Server`, but signed by the wrong authority.
    ForeignServer,
    /// As `Server`, but on the authority's revocation list.
    RevokedServer,
    /// The client with the subject `CN=client`.
    Client,
    /// A client with the subject `CN=client-2`, to take the place of `Client`.
    SecondClient,
    /// A client with the subject `CN=client-expired`, valid in January 2020 only.
    ExpiredClient,
    /// A client with the subject `CN=client-revoked`, which is on the authority's revocation list.
    RevokedClient,
    /// The client with the subject `CN=client`, signed by the wrong authority.
    ForeignClient,
}

impl Holder {
    const ALL: [Self; 10] = [
        Self::Server,
        Self::ExpiredServer,
        Self::MisnamedServer,
        Self::ForeignServer,
        Self::RevokedServer,
        Self::Client,
        Self::SecondClient,
        Self::ExpiredClient,
        Self::RevokedClient,
        Self::ForeignClient,
    ];

    fn file(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ExpiredServer => "server-expired",
            Self::MisnamedServer => "server-misnamed",
            Self::ForeignServer => "server-foreign",
            Self::RevokedServer => "server-revoked",
            Self::Client => "client",
            Self::SecondClient => "client-2",
            Self::ExpiredClient => "client-expired",
            Self::RevokedClient => "client-revoked",
            Self::ForeignClient => "client-foreign",
        }
    }

    /// The common name of the subject.
    #[must_use]
    pub fn common_name(self) -> &'static str {
        match self {
            Self::ForeignClient => "client",
            _ if self.is_server() => "server",
            _ => self.file(),
        }
    }

    fn is_server(self) -> bool {
        self.file().starts_with("server")
    }

    fn authority(self) -> &'static str {
        match self {
            Self::ForeignServer | Self::ForeignClient => "foreign-authority",
            _ => "authority",
        }
    }

    fn validity(self) -> [&'static str; 2] {
        match self {
            Self::ExpiredServer | Self::ExpiredClient => PAST,
            _ => VALID,
        }
    }

    fn extensions(self, revocation_list: &Path) -> String {
        // A client has no name, and a server does not ask for one.
        let specific = match self {
            Self::MisnamedServer => {
                "subjectAltName=DNS:elsewhere.example\nextendedKeyUsage=serverAuth,clientAuth"
            }
            _ if self.is_server() => {
                "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth"
            }
            _ => "extendedKeyUsage=clientAuth",
        };
        format!(
            "basicConstraints=CA:FALSE\n\
             keyUsage=critical,digitalSignature\n\
             crlDistributionPoints=URI:file:{}\n\
             {specific}\n",
            revocation_list.display()
        )
    }
}

/// Certificates and private keys, in files of PEM. All keys are for ECDSA over P-256, in PKCS #8 without a
/// password.
///
/// Each certificate has the revocation list of its authority as distribution point. The files are removed with
/// this value, or with the test process.
#[derive(Debug)]
pub struct Certificates {
    files: TempDirectory,
}

impl Certificates {
    /// The certificates that all tests of a process and their servers share, made on first use.
    ///
    /// # Panics
    ///
    /// If OpenSSL is not installed.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    fn new() -> Self {
        assert!(
            Path::new(OPENSSL).exists(),
            "OpenSSL is not installed ({OPENSSL} is missing); try: apt-get update && apt-get install -y openssl"
        );
        let files = TempDirectory::new().expect("a directory for certificates");
        let this = Self { files };
        for authority in ["authority", "foreign-authority"] {
            this.make_authority(authority);
        }
        for holder in Holder::ALL {
            this.make(holder);
        }
        for revoked in [Holder::RevokedServer, Holder::RevokedClient] {
            let certificate = this.path(&format!("{}.pem", revoked.file()));
            this.openssl("authority", &["ca", "-revoke", &text(&certificate)]);
        }
        for authority in ["authority", "foreign-authority"] {
            let list = text(&this.path(&format!("{authority}.crl.pem")));
            this.openssl(authority, &["ca", "-gencrl", "-out", &list]);
        }
        this
    }

    /// The certificate of the authority that clients and servers should trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// The certificate of the wrong authority.
    #[must_use]
    pub fn foreign_authority(&self) -> PathBuf {
        self.path("foreign-authority.pem")
    }

    /// The certificate, followed by that of its authority.
    #[must_use]
    pub fn chain(&self, holder: Holder) -> PathBuf {
        self.path(&format!("{}-chain.pem", holder.file()))
    }

    /// The private key.
    #[must_use]
    pub fn key(&self, holder: Holder) -> PathBuf {
        self.path(&format!("{}.key", holder.file()))
    }

    /// The private key, the certificate and that of its authority in one file, which ZooKeeper takes as a key
    /// store.
    #[must_use]
    pub fn key_store(&self, holder: Holder) -> PathBuf {
        self.path(&format!("{}-store.pem", holder.file()))
    }

    /// The revocation list of the authority, which has [`Holder::RevokedServer`] and
    /// [`Holder::RevokedClient`].
    #[must_use]
    pub fn revocation_list(&self) -> PathBuf {
        self.path("authority.crl.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn make_authority(&self, name: &str) {
        let directory = self.files.path().display();
        let config = format!(
            "[req]\n\
             distinguished_name=subject\n\
             [subject]\n\
             [extensions]\n\
             basicConstraints=critical,CA:TRUE\n\
             keyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\n\
             [ca]\n\
             default_ca=this\n\
             [this]\n\
             database={directory}/{name}.index\n\
             serial={directory}/{name}.serial\n\
             new_certs_dir={directory}\n\
             certificate={directory}/{name}.pem\n\
             private_key={directory}/{name}.key\n\
             default_md=sha256\n\
             default_crl_days=3650\n\
             crl_extensions=list\n\
             policy=any\n\
             unique_subject=no\n\
             [list]\n\
             authorityKeyIdentifier=keyid\n\
             [any]\n\
             commonName=supplied\n"
        );
        self.write(&format!("{name}.cnf"), &config);
        self.write(&format!("{name}.index"), "");
        self.write(&format!("{name}.serial"), "01\n");
        let [key, certificate] =
            ["key", "pem"].map(|end| text(&self.path(&format!("{name}.{end}"))));
        let subject = format!("/CN={name}");
        let new = ["req", "-x509", "-extensions", "extensions", "-days", "3650", "-subj", &subject];
        self.openssl(name, &[&new[..], &["-keyout", &key, "-out", &certificate]].concat());
    }

    fn make(&self, holder: Holder) {
        let (name, authority) = (holder.file(), holder.authority());
        let path = |end: &str| text(&self.path(&format!("{name}{end}")));
        let [key, request, certificate] = [".key", ".csr", ".pem"].map(path);
        let list = self.path(&format!("{authority}.crl.pem"));
        self.write(&format!("{name}.extensions"), &holder.extensions(&list));

        let subject = format!("/CN={}", holder.common_name());
        let new = ["req", "-new", "-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(authority, &new);
        let [from, to] = holder.validity();
        let sign = ["ca", "-notext", "-startdate", from, "-enddate", to, "-in", &request];
        let extensions = path(".extensions");
        let files = ["-extfile", &extensions, "-out", &certificate];
        self.openssl(authority, &[&sign[..], &files].concat());

        let read = |name: &Path| fs::read_to_string(name).expect("OpenSSL has made it");
        let authority = self.path(&format!("{authority}.pem"));
        let chain = read(Path::new(&certificate)) + &read(&authority);
        self.write(&format!("{name}-chain.pem"), &chain);
        self.write(&format!("{name}-store.pem"), &(read(Path::new(&key)) + &chain));
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("the directory can be written to");
    }

    /// Runs a command of OpenSSL with the configuration of this authority.
    fn openssl(&self, authority: &str, arguments: &[&str]) {
        let [command, arguments @ ..] = arguments else { panic!("no command") };
        let mut openssl = Command::new(OPENSSL);
        openssl.arg(command).arg("-config").arg(self.path(&format!("{authority}.cnf")));
        match *command {
            "ca" => openssl.arg("-batch"),
            _ => openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]),
        };
        let output = openssl.args(arguments).output().expect("OpenSSL runs");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {command} failed: {printed}");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
