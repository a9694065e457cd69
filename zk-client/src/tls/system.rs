//! The certificate authorities that the system trusts.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::pki_types::CertificateDer;

/// Clients share what was read, for this long. A system has some hundred files.
const KEEP: Duration = Duration::from_secs(60);

type Authorities = Arc<Vec<CertificateDer<'static>>>;

/// Reads the authorities, unless they were read a short while ago. This blocks.
pub(super) fn authorities() -> Result<Authorities, String> {
    static LAST: Mutex<Option<(Instant, Authorities)>> = Mutex::new(None);

    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, authorities)) = &*last
        && read.elapsed() < KEEP
    {
        return Ok(authorities.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("TLS: the system has no trusted authorities{why}"));
    }
    let authorities = Arc::new(found.certs);
    *last = Some((Instant::now(), authorities.clone()));
    Ok(authorities)
}
