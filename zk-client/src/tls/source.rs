//! [`TlsSource`]: the TLS configuration of a client. It follows the files that it is made of.
//!
//! Invariants:
//! - Files are read by [`TlsSource::new`], and then before each connection, on a thread for jobs that may block
//!   ([`zk_handler::dispatch`]), never on the driver. Without files, no thread is used.
//! - One thread at most reads for a client: if the file system hangs, later connections wait for the same read.
//! - As long as no content changes, the configuration stays the same, and with it the sessions to resume.

use std::{
    fmt,
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use rustls::{ClientConfig, pki_types::ServerName};

use crate::tls::{
    config::{self, Materials},
    options::{Pem, TlsOptions},
};

pub(crate) struct TlsSource {
    options: TlsOptions,
    name: Option<ServerName<'static>>,
    /// Whether anything can change.
    is_fixed: bool,
    state: Mutex<State>,
}

struct State {
    current: Arc<ClientConfig>,
    /// What `current` is made of. `None` if it is the user's.
    materials: Option<Materials>,
    reading: Option<Arc<Mutex<Reading>>>,
}

/// The files are being read.
#[derive(Default)]
struct Reading {
    result: Option<Result<Arc<ClientConfig>, String>>,
    wakers: Vec<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsSource {
    /// Checks the options, and reads all files. This blocks.
    pub(crate) fn new(options: TlsOptions) -> Result<Self, String> {
        let name = options.server_name.as_deref().map(parse_name).transpose()?;
        let (current, materials) = match &options.config {
            Some(config) => {
                if !options.is_config_alone() {
                    return Err("TLS: options beside a rustls::ClientConfig have no effect: put them into it".into());
                }
                (config.clone(), None)
            }
            None => {
                let materials = Materials::read(&options)?;
                (Arc::new(config::build(&options, &materials)?), Some(materials))
            }
        };
        let has_files = options.sources().any(|source| matches!(source, Pem::File(_)));
        let is_fixed = materials.is_none() || !(has_files || options.trusts_system());
        let state = Mutex::new(State { current, materials, reading: None });
        Ok(Self { options, name, is_fixed, state })
    }

    /// The name that the certificate of `host` must be for.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, String> {
        self.name.clone().map_or_else(|| parse_name(host), Ok)
    }

    /// The configuration of the next connection.
    ///
    /// # Cancel safety
    /// If the future is dropped, the files are still read, for the next connection.
    pub(crate) async fn config(self: &Arc<Self>) -> io::Result<Arc<ClientConfig>> {
        if self.is_fixed {
            return Ok(lock(&self.state).current.clone());
        }
        let reading = self.start_reading();
        let result = poll_fn(|context| {
            let mut reading = lock(&reading);
            if let Some(result) = &reading.result {
                return Poll::Ready(result.clone());
            }
            if !reading.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                reading.wakers.push(context.waker().clone());
            }
            Poll::Pending
        });
        result.await.map_err(io::Error::other)
    }

    fn start_reading(self: &Arc<Self>) -> Arc<Mutex<Reading>> {
        let mut state = lock(&self.state);
        if let Some(reading) = &state.reading {
            return reading.clone();
        }
        let reading = Arc::<Mutex<Reading>>::default();
        state.reading = Some(reading.clone());
        drop(state);
        let (this, shared) = (self.clone(), reading.clone());
        zk_handler::dispatch(move || {
            let result = catch_unwind(AssertUnwindSafe(|| this.read()));
            let result = result.unwrap_or_else(|_| Err("TLS: the provider panicked".into()));
            lock(&this.state).reading = None;
            let mut reading = lock(&shared);
            reading.result = Some(result);
            let wakers = std::mem::take(&mut reading.wakers);
            drop(reading);
            wakers.into_iter().for_each(Waker::wake);
        });
        reading
    }

    /// Reads all files, and makes a new configuration if one has changed.
    fn read(&self) -> Result<Arc<ClientConfig>, String> {
        let materials = Materials::read(&self.options)?;
        {
            let state = lock(&self.state);
            if state.materials.as_ref() == Some(&materials) {
                return Ok(state.current.clone());
            }
        }
        let current = Arc::new(config::build(&self.options, &materials)?);
        tracing::info!("certificates have changed; connections use the new ones from now on");
        let mut state = lock(&self.state);
        state.current = current.clone();
        state.materials = Some(materials);
        Ok(current)
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        format!(
            "TLS: no certificate can be for {name:?}: it is neither a host name nor an IP address"
        )
    })
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.options, f)
    }
}
