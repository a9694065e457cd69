//! A record of everything that is logged.

use std::{
    fmt::{Debug, Write as _},
    sync::{Mutex, Once},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::lock;

/// Everything that was logged since the first call of [`record`].
static LOG: Mutex<String> = Mutex::new(String::new());

/// Records everything from now on.
pub fn record() {
    static RECORD: Once = Once::new();
    RECORD.call_once(|| {
        tracing::subscriber::set_global_default(Recorder).expect("no other subscriber is set");
        // rustls and others use `log`.
        log::set_logger(&Recorder).expect("no other logger is set");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The log of all tests of the process: one line per event, with its level.
pub fn recorded() -> String {
    lock(&LOG).clone()
}

/// Records every event and every span of all threads of the process.
struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Line(&mut lock(&LOG)));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(&mut lock(&LOG)));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        // Formatted before the lock is taken, because formatting a value may log as well.
        let mut text = format!("\n{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Line(&mut text));
        lock(&LOG).push_str(&text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = format!("\n{} {} {}", record.level(), record.target(), record.args());
        lock(&LOG).push_str(&text);
    }

    fn flush(&self) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}
