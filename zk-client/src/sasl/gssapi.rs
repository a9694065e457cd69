//! GSSAPI, which is Kerberos (RFC 4752), over the system's library.
//!
//! The library talks to the Kerberos server (KDC) in the calls of this file: each of them may block for as long as the
//! library waits for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use libgssapi::{
    context::{ClientCtx, CtxFlags, SecurityContext},
    credential::{Cred, CredUsage},
    error::{Error as LibraryError, MajorFlags},
    name::Name,
    oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet},
};
use zk_proto::{
    HostPort,
    jute::Secret,
    sasl::{Mechanism, SaslError, Step},
};

use super::SaslOptions;

/// The service of ZooKeeper servers, unless another one is configured.
const SERVICE: &str = "zookeeper";

/// How many tokens the context may take. Kerberos takes one.
const MAX_CONTEXT_STEPS: usize = 8;

/// The bit of "no security layer" in the server's offer and in the client's answer (RFC 4752, section 3.3).
const NO_LAYER: u8 = 1;

/// How to log in with Kerberos, for [`SaslOptions::gssapi`].
///
/// By default the client logs in as the process is configured, with what `kinit` and other Kerberos programs use too:
///
/// | variable | what it names | default |
/// |---|---|---|
/// | `KRB5CCNAME` | the ticket cache, or a collection of caches | that of the system, such as `FILE:/tmp/krb5cc_UID` |
/// | `KRB5_CLIENT_KTNAME` | the keytab from which tickets are got and renewed, if the cache has none | that of the system |
/// | `KRB5_CONFIG` | the file that says where the Kerberos server is | `/etc/krb5.conf` |
///
/// They are read for each connection, so a ticket that was renewed and a keytab that was replaced are used at the next
/// one.
///
/// The server's principal is `zookeeper/HOST`, where `HOST` is the host as it is written in the list of hosts. The
/// Kerberos library may look up the canonical name of the host: `dns_canonicalize_hostname` and `rdns` in the section
/// `libdefaults` of `krb5.conf` decide.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[cfg_attr(docsrs, doc(cfg(feature = "sasl-gssapi")))]
pub struct GssapiOptions {
    service: String,
    service_host: Option<String>,
    principal: Option<String>,
    password: Option<Secret<String>>,
}

impl GssapiOptions {
    /// Logs in to the service `zookeeper` with the credentials of the process.
    #[must_use]
    pub fn new() -> Self {
        Self { service: SERVICE.to_owned(), service_host: None, principal: None, password: None }
    }

    /// Sets the service in the servers' principals. The default is `zookeeper`. The Java client's
    /// `zookeeper.sasl.client.username` and kazoo's `service`.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Sets the host in the servers' principals, for all servers. The default is the host of each connection. Needed if
    /// the servers share a principal, or if their hosts are given as addresses. The host in the Java client's
    /// `zookeeper.server.principal`.
    #[must_use]
    pub fn service_host(mut self, host: impl Into<String>) -> Self {
        self.service_host = Some(host.into());
        self
    }

    /// Sets the principal to log in as, such as `app@EXAMPLE.ORG`, or `app/host.example.org` in the default realm.
    ///
    /// The default is the principal of the default ticket cache, or else the first one of the keytab. Clients of one
    /// process can log in as several principals if `KRB5CCNAME` is a collection of caches, such as `DIR:/path`: a cache of
    /// another type holds tickets of one principal only.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Gets a ticket with this password for each connection, and uses no ticket cache and no keytab. Needs a
    /// [`principal`](Self::principal).
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }
}

impl Default for GssapiOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "sasl-gssapi")))]
impl SaslOptions {
    /// Logs in with Kerberos: the mechanism GSSAPI ([RFC 4752](https://www.rfc-editor.org/rfc/rfc4752)). `options` say
    /// as whom, and to which service.
    ///
    /// The client and the server prove their identities to each other. Later packets are not protected: use TLS as well.
    ///
    /// The system's Kerberos library is asked for each connection. It may take half a minute if a Kerberos server (KDC)
    /// does not answer. It is called on a thread of its own, as [`mechanism`](Self::mechanism) says, and the client gives
    /// the connection up before. If a KDC cannot be reached, the client connects again, with the usual pauses.
    ///
    /// Other errors of the library, such as a ticket or a keytab that is missing, end a client that has not logged in
    /// before: its configuration is probably wrong. Errors say what to do. Once a client has logged in, it connects again
    /// after them too, because a ticket may be renewed late.
    ///
    /// ```no_run
    /// use zk_client::{Client, sasl::{GssapiOptions, SaslOptions}};
    ///
    /// # async fn example() -> Result<(), zk_client::Error> {
    /// let options = GssapiOptions::new().principal("app@EXAMPLE.ORG");
    /// let zk = Client::builder()
    ///     .hosts("zk1.example.org,zk2.example.org")
    ///     .sasl(SaslOptions::gssapi(options))
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn gssapi(options: GssapiOptions) -> Self {
        let name = match &options.principal {
            Some(principal) => format!("GSSAPI as {principal}"),
            None => "GSSAPI".to_owned(),
        };
        let has_logged_in = Arc::default();
        Self::new(name, true, move |host, _| {
            Ok(Box::new(Exchange::new(options.clone(), host, &has_logged_in)))
        })
    }

    /// As [`gssapi`](Self::gssapi), with options that `options` returns for each connection, such as a password that is
    /// rotated.
    ///
    /// `options` may block and may panic: it runs on a thread of its own, as [`mechanism`](Self::mechanism) says. After an
    /// error or a panic, the client connects again, with the usual pauses. The text of the error is shown in errors and
    /// logs, so it must not contain a secret.
    ///
    /// ```no_run
    /// use zk_client::sasl::{GssapiOptions, SaslOptions};
    ///
    /// let options = SaslOptions::gssapi_with(|| {
    ///     let password = std::fs::read_to_string("/run/secrets/kerberos")?;
    ///     let options = GssapiOptions::new().principal("app@EXAMPLE.ORG");
    ///     Ok::<_, std::io::Error>(options.password(password.trim_end()))
    /// });
    /// ```
    pub fn gssapi_with<F, E>(options: F) -> Self
    where
        F: Fn() -> Result<GssapiOptions, E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        let has_logged_in = Arc::default();
        Self::new("GSSAPI with a callback", true, move |host, _| match options() {
            Ok(options) => Ok(Box::new(Exchange::new(options, host, &has_logged_in))),
            Err(error) => Err(SaslError::Unavailable(error.to_string())),
        })
    }
}

/// The exchange of one connection.
struct Exchange {
    options: GssapiOptions,
    service: String,
    /// Whether a client with these options has ever logged in, see [`failure`](Self::failure).
    has_logged_in: Arc<AtomicBool>,
    state: State,
    /// How many tokens the context has taken.
    steps: usize,
}

enum State {
    /// Nothing was sent.
    Start,
    /// The context needs another token of the server.
    Context(ClientCtx),
    /// The context is established. The server says next which security layers it offers.
    Offer(ClientCtx),
    /// The client has chosen a security layer. The server confirms next.
    Confirmation,
    /// The exchange is over or has failed.
    Over,
}

impl Mechanism for Exchange {
    fn name(&self) -> &str {
        "GSSAPI"
    }

    fn step(&mut self, token: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => {
                let context = self.new_context()?;
                self.continue_context(context, None)
            }
            State::Context(_) if token.is_empty() => {
                Err(SaslError::malformed("the server's Kerberos token is empty"))
            }
            State::Context(context) => self.continue_context(context, Some(token)),
            State::Offer(_) if token.is_empty() => {
                Err(SaslError::malformed("the server's offer of security layers is empty"))
            }
            State::Offer(context) => self.choose_layer(context, token),
            State::Confirmation if token.is_empty() => {
                self.has_logged_in.store(true, Ordering::Relaxed);
                Ok(Step::Done)
            }
            State::Confirmation => Err(SaslError::malformed("a token after the last one")),
            State::Over => Err(SaslError::malformed("a token after the end of the exchange")),
        }
    }
}

impl Exchange {
    fn new(options: GssapiOptions, host: &HostPort, has_logged_in: &Arc<AtomicBool>) -> Self {
        let service_host = options.service_host.as_deref().unwrap_or(&host.host);
        Self {
            service: format!("{}@{service_host}", options.service),
            options,
            has_logged_in: has_logged_in.clone(),
            state: State::Start,
            steps: 0,
        }
    }

    /// Finds the credentials. This may ask the KDC for a ticket.
    fn new_context(&self) -> Result<ClientCtx, SaslError> {
        let credentials = self.credentials()?;
        let service = Name::new(self.service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE))
            .map_err(|error| self.failure("read the name of the service", error))?;
        // The server proves its identity too. Integrity is what the last tokens of the exchange are protected with.
        let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
        Ok(ClientCtx::new(Some(credentials), service, flags, Some(GSS_MECH_KRB5)))
    }

    fn credentials(&self) -> Result<Cred, SaslError> {
        let kerberos = OidSet::singleton(GSS_MECH_KRB5)
            .map_err(|error| self.failure("use Kerberos", error))?;
        let principal = self.options.principal.as_deref();
        let name = principal
            .map(|name| Name::new(name.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL)))
            .transpose()
            .map_err(|error| self.failure("read the name of the principal", error))?;
        let acquired = match (&self.options.password, &name) {
            (Some(_), None) => {
                return Err(SaslError::InvalidCredentials(
                    "a password needs GssapiOptions::principal".into(),
                ));
            }
            (Some(password), Some(name)) => Cred::acquire_with_password(
                Some(name),
                password.expose(),
                None,
                CredUsage::Initiate,
                Some(&kerberos),
            ),
            (None, name) => {
                Cred::acquire(name.as_ref(), None, CredUsage::Initiate, Some(&kerberos))
            }
        };
        acquired.map_err(|error| match principal {
            Some(principal) => self.failure(&format!("get credentials of {principal}"), error),
            None => self.failure("get credentials", error),
        })
    }

    /// Hands the server's token to the context. This may ask the KDC for a ticket.
    fn continue_context(
        &mut self,
        mut context: ClientCtx,
        token: Option<&[u8]>,
    ) -> Result<Step, SaslError> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MAX_CONTEXT_STEPS {
            return Err(SaslError::malformed("the exchange does not end"));
        }
        let answer = context.step(token, None).map_err(|error| match token {
            None => self.failure(&format!("get a ticket for {}", self.service), error),
            Some(_) => disbelief(&format!("verify the answer of {}", self.service), error),
        })?;
        let is_complete = context.is_complete();
        if is_complete {
            let flags = context.flags().map_err(|error| self.failure("read the context", error))?;
            if !flags.contains(CtxFlags::GSS_C_MUTUAL_FLAG) {
                return Err(SaslError::malformed("the server did not prove its identity"));
            }
        }
        self.state = if is_complete { State::Offer(context) } else { State::Context(context) };
        Ok(respond(answer.as_deref().unwrap_or_default()))
    }

    /// Reads which security layers the server offers, and chooses none: it protects later packets itself by TLS or not
    /// at all (`org.apache.zookeeper.server.ZooKeeperSaslServer` knows no layer).
    fn choose_layer(&mut self, mut context: ClientCtx, token: &[u8]) -> Result<Step, SaslError> {
        let offer = context
            .unwrap(token)
            .map_err(|error| disbelief(&format!("verify the offer of {}", self.service), error))?;
        // The bits of the layers, and the largest packet of a layer.
        let [layers, _, _, _] = *offer else {
            return Err(SaslError::malformed("the server's offer has not 4 bytes"));
        };
        if layers & NO_LAYER == 0 {
            return Err(SaslError::Unsupported("exchange without a security layer"));
        }
        // As the Java client does, log in with the authority of the principal itself.
        let principal = context
            .source_name()
            .and_then(|name| name.display_name())
            .map_err(|error| self.failure("read the name of the principal", error))?;
        let choice = [&[NO_LAYER, 0, 0, 0], &*principal].concat();
        let answer = context.wrap(false, &choice).map_err(|error| self.failure("answer", error))?;
        self.state = State::Confirmation;
        Ok(respond(&answer))
    }

    /// The error for a failed call of the library. Must be called on the thread of that call, where the library keeps the
    /// details.
    ///
    /// A KDC that cannot be reached is always tried again. Other failures end a client that has never logged in, as its
    /// configuration is probably wrong. Later they are tried again too: a ticket may have expired before it was renewed,
    /// and one of several servers may lack a principal.
    fn failure(&self, what: &str, error: LibraryError) -> SaslError {
        let text = describe(what, error);
        if is_unreachable(error) || self.has_logged_in.load(Ordering::Relaxed) {
            SaslError::Unavailable(text)
        } else {
            SaslError::Mechanism(text)
        }
    }
}

/// The error for a token of the server that the library does not accept. It is final: this is not the server that the
/// ticket is for.
fn disbelief(what: &str, error: LibraryError) -> SaslError {
    SaslError::Mechanism(describe(what, error))
}

fn respond(token: &[u8]) -> Step {
    Step::Respond(Secret::new(Bytes::copy_from_slice(token)))
}

/// Error codes of Kerberos libraries, the same in MIT's and Heimdal's (`krb5_err.et`), which pass them as the minor
/// status.
mod code {
    pub(super) const CLIENT_UNKNOWN: i32 = -1_765_328_378;
    pub(super) const SERVICE_UNKNOWN: i32 = -1_765_328_377;
    pub(super) const CLIENT_REVOKED: i32 = -1_765_328_366;
    pub(super) const PASSWORD_EXPIRED: i32 = -1_765_328_361;
    pub(super) const PREAUTHENTICATION_FAILED: i32 = -1_765_328_360;
    pub(super) const SERVICE_UNAVAILABLE: i32 = -1_765_328_355;
    pub(super) const BAD_INTEGRITY: i32 = -1_765_328_353;
    pub(super) const TICKET_EXPIRED: i32 = -1_765_328_352;
    pub(super) const CLOCK_SKEW: i32 = -1_765_328_347;
    pub(super) const NO_CONFIGURATION: i32 = -1_765_328_249;
    pub(super) const NO_CACHE: i32 = -1_765_328_243;
    pub(super) const REALM_UNKNOWN: i32 = -1_765_328_230;
    pub(super) const KDC_UNREACHABLE: i32 = -1_765_328_228;
    pub(super) const NO_KEY: i32 = -1_765_328_203;
    pub(super) const NO_CACHE_FILE: i32 = -1_765_328_189;
    pub(super) const KDC_UNRESOLVED: i32 = -1_765_328_164;
    pub(super) const NO_REALM: i32 = -1_765_328_160;
}

/// Whether the KDC cannot be reached, or says that it cannot answer at the moment.
fn is_unreachable(error: LibraryError) -> bool {
    matches!(
        error.minor.cast_signed(),
        code::KDC_UNREACHABLE | code::KDC_UNRESOLVED | code::SERVICE_UNAVAILABLE
    )
}

/// What failed, why, and what to do.
fn describe(what: &str, error: LibraryError) -> String {
    let text = error.to_string();
    // The text of the general status, and that of Kerberos in parentheses, which says more if there is one.
    let why = match text.split_once(" (") {
        Some((general, details)) => match details.strip_suffix(')').unwrap_or(details) {
            "" | "Success" => general,
            details => details,
        },
        None => &text,
    };
    match advice(error) {
        Some(advice) => format!("cannot {what}: {why}; {advice}"),
        None => format!("cannot {what}: {why}"),
    }
}

fn advice(error: LibraryError) -> Option<&'static str> {
    Some(match error.minor.cast_signed() {
        code::CLIENT_UNKNOWN => "check the principal of the ticket or keytab, and its realm",
        code::SERVICE_UNKNOWN => {
            "connect to the host name in the server's principal, or set it with \
             GssapiOptions::service and service_host"
        }
        code::CLIENT_REVOKED | code::PASSWORD_EXPIRED => {
            "the realm's administrator can renew the principal"
        }
        code::PREAUTHENTICATION_FAILED | code::BAD_INTEGRITY => {
            "the keytab or the password is not that of the principal's present key: export the keytab again"
        }
        code::TICKET_EXPIRED => EXPIRED,
        code::CLOCK_SKEW => "set the clocks of the client, the server and the KDC",
        code::NO_CONFIGURATION | code::NO_REALM | code::REALM_UNKNOWN => {
            "check the realm in krb5.conf (KRB5_CONFIG)"
        }
        code::KDC_UNREACHABLE | code::KDC_UNRESOLVED => {
            "check the realm's kdc in krb5.conf (KRB5_CONFIG), and the network"
        }
        code::NO_CACHE | code::NO_CACHE_FILE | code::NO_KEY => NO_CREDENTIALS,
        _ if error.major.contains(MajorFlags::GSS_S_NO_CRED) => NO_CREDENTIALS,
        _ if error.major.contains(MajorFlags::GSS_S_CREDENTIALS_EXPIRED) => EXPIRED,
        _ if error.major.contains(MajorFlags::GSS_S_CONTEXT_EXPIRED) => EXPIRED,
        _ => return None,
    })
}

const NO_CREDENTIALS: &str =
    "run kinit (KRB5CCNAME names the ticket cache), or set KRB5_CLIENT_KTNAME to a keytab";
const EXPIRED: &str = "run kinit again, or set KRB5_CLIENT_KTNAME to a keytab";
