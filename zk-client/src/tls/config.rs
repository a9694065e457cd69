//! Makes a [`ClientConfig`] of options and the content of their files.

use std::{fs, io::Read, sync::Arc};

use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};
use zk_proto::jute::Secret;

use crate::tls::{
    options::{Check, Pem, TlsOptions},
    system,
};

/// The largest file that is read. The authorities of a whole system take some 300 kB.
const MAX_FILE: u64 = 16 << 20;

/// What a configuration is made of. It has to be made again only if this has changed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Materials {
    /// The texts of [`TlsOptions::sources`].
    texts: Vec<Text>,
    system: Option<Arc<Vec<CertificateDer<'static>>>>,
}

/// A PEM text, which may have a private key.
#[derive(Clone)]
struct Text(Secret<Bytes>);

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Eq for Text {}

impl Materials {
    /// Reads all files. This blocks.
    pub(super) fn read(options: &TlsOptions) -> Result<Self, String> {
        let texts = options.sources().map(read).collect::<Result<_, _>>()?;
        let system = match options.trusts_system() {
            true => Some(system::authorities()?),
            false => None,
        };
        Ok(Self { texts, system })
    }
}

fn read(source: &Pem) -> Result<Text, String> {
    let path = match source {
        Pem::Memory(text) => return Ok(Text(text.clone())),
        Pem::File(path) => path,
    };
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut text))
        .map_err(|error| format!("TLS: cannot read {source}: {error}"))?;
    Ok(Text(Secret::new(text.into())))
}

/// Makes the configuration.
pub(super) fn build(options: &TlsOptions, materials: &Materials) -> Result<ClientConfig, String> {
    let provider = provider()?;
    let mut texts = options.sources().zip(&materials.texts);
    let authorities: Vec<_> = texts.by_ref().take(options.trust.authorities.len()).collect();
    let identity = match options.identity {
        Some(_) => texts.next().zip(texts.next()),
        None => None,
    };
    let revocations: Vec<_> = texts.collect();

    let system = materials.system.as_ref().map_or(&[][..], |system| system);
    let full = || full_check(&provider, &authorities, system, &revocations);
    let verifier: Arc<dyn ServerCertVerifier> = match options.check {
        Check::All => full()?,
        Check::ButHostName => Arc::new(AnyHostName(full()?)),
        Check::Nothing => Arc::new(Unchecked(provider.clone())),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: the provider of cryptography: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificates, key)) = identity else { return Ok(config.with_no_client_auth()) };
    let chain = parse::<CertificateDer<'_>>(certificates, "certificate")?;
    let (source, text) = key;
    let key = PrivateKeyDer::from_pem_slice(text.0.expose()).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("TLS: {source} has no private key{}", hint(text)),
        error => wrong(source, &error),
    })?;
    config.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "TLS: the private key in {source} does not belong to the certificate in {}",
            certificates.0
        ),
        error => format!("TLS: the private key in {source}: {error}"),
    })
}

/// What may be the matter with a text that has no private key.
fn hint(text: &Text) -> &'static str {
    const ENCRYPTED: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
    match text.0.expose().windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
        true => " that is not encrypted",
        false => "",
    }
}

/// The provider that the process has installed, or else ring.
fn provider() -> Result<Arc<CryptoProvider>, String> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(provider.clone());
    }
    #[cfg(feature = "tls")]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(feature = "tls"))]
    Err("TLS: there is no provider of cryptography: enable the feature `tls` of zk-client, install one with \
         `CryptoProvider::install_default`, or pass a configuration of your own to `TlsOptions::from_config`"
        .into())
}

/// All sections of one kind in a text, and at least one.
fn parse<T: PemObject>((source, text): (&Pem, &Text), what: &str) -> Result<Vec<T>, String> {
    let sections: Result<Vec<_>, _> = T::pem_slice_iter(text.0.expose()).collect();
    let sections = sections.map_err(|error| wrong(source, &error))?;
    match sections.is_empty() {
        true => Err(format!("TLS: {source} has no {what} in PEM format")),
        false => Ok(sections),
    }
}

/// The error about a text that is no PEM. It does not show any of the text, which may have a private key.
fn wrong(source: &Pem, error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section does not begin as it should",
        pem::Error::Base64Decode(_) => "a section is not in base64",
        _ => "it cannot be read",
    };
    format!("TLS: {source} is not in PEM format: {what}")
}

fn full_check(
    provider: &Arc<CryptoProvider>,
    authorities: &[(&Pem, &Text)],
    system: &[CertificateDer<'static>],
    revocations: &[(&Pem, &Text)],
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for &text in authorities {
        for certificate in parse::<CertificateDer<'_>>(text, "certificate")? {
            roots.add(certificate).map_err(|error| {
                format!("TLS: a certificate in {} cannot be an authority: {error}", text.0)
            })?;
        }
    }
    // Systems have old certificates that rustls does not understand.
    roots.add_parsable_certificates(system.iter().cloned());
    let mut lists = Vec::new();
    for &text in revocations {
        lists.extend(parse::<CertificateRevocationListDer<'_>>(text, "revocation list")?);
    }
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
        .with_crls(lists)
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| match revocations {
            [] => format!("TLS: {error}"),
            [(source, _), ..] => format!("TLS: a revocation list in {source} or after it: {error}"),
        })
}

/// Implements the methods that check signatures by those of another verifier or provider.
macro_rules! signatures_by {
    ($supported:expr, $tls12:expr, $tls13:expr) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            $tls12(self, message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            $tls13(self, message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $supported(self)
        }
    };
}

/// Accepts the certificates of trusted authorities, for any name.
#[derive(Debug)]
struct AnyHostName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHostName {
    /// The name is the last thing that the full check looks at: if it fails by it, all else is well.
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};

        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    signatures_by!(
        |this: &Self| this.0.supported_verify_schemes(),
        |this: &Self, message, certificate, signature| {
            this.0.verify_tls12_signature(message, certificate, signature)
        },
        |this: &Self, message, certificate, signature| {
            this.0.verify_tls13_signature(message, certificate, signature)
        }
    );
}

/// Accepts every certificate whose owner has its private key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(
        |this: &Self| this.0.signature_verification_algorithms.supported_schemes(),
        |this: &Self, message, certificate, signature| {
            let algorithms = &this.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
        },
        |this: &Self, message, certificate, signature| {
            let algorithms = &this.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }
    );
}
