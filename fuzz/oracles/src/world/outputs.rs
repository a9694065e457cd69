//! The outputs of the session: each is logged, compared with the prediction, and applied to the model.

use std::{
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher},
};

use bytes::BytesMut;
use zk_proto::session::Output;

use super::{MAX_OUTPUTS, World, connection::Phase};

impl World {
    /// Processes all outputs after an input.
    pub(super) fn process_outputs(&mut self) {
        self.drain_outputs();
        // The remaining frames cause no outputs.
        while let Some(sent) = self.in_transit.pop_front() {
            assert!(self.predicted.is_empty(), "missing: {:?}", self.predicted);
            self.predict_frame(sent);
        }
        assert!(self.predicted.is_empty(), "missing: {:?}", self.predicted);
        self.ledger.expect_internal(self.now, self.session.removing());
        if self.session.end_reason().is_some() {
            self.phase = Phase::Ended;
            self.ledger.ended = true;
        } else if let Phase::Down = self.phase {
            let until = self.session.poll_timeout().expect("the session goes on");
            let delay = self.route.delay(self.now, self.timeout);
            self.route.may_connect_now = false;
            let found = until.since(self.now);
            assert!(delay.contains(&found), "waits {found:?} of {delay:?}");
            self.phase = Phase::Waiting { until };
        }
        self.check();
    }

    /// Processes the outputs that are ready.
    pub(super) fn drain_outputs(&mut self) {
        let mut count = 0;
        while let Some(output) = self.session.poll_output() {
            count += 1;
            assert!(count <= MAX_OUTPUTS, "endless");
            self.record(&output);
            self.compare(&output);
            self.ledger.observe(&output);
            self.follow(&output);
        }
    }

    /// Adds an output to the trace.
    pub(super) fn record(&mut self, output: &Output<u64>) {
        self.log_line(format_args!("{output:?}"));
        self.trace.write_u128(self.now.since_origin().as_nanos());
        // Writing to a hasher cannot fail.
        let _ = write!(Hashed(&mut self.trace), "{output:?}");
        if let Output::Completed { result: Ok(reply), .. } = output {
            // `Debug` does not show the data.
            let mut body = BytesMut::new();
            reply.response.encode_body(&mut body);
            self.trace.write(&body);
        }
    }

    /// Writes to stderr if `ZK_FUZZ_LOG` is set.
    pub(super) fn log_line(&self, what: fmt::Arguments<'_>) {
        if self.log {
            #[expect(clippy::print_stderr, reason = "the user asked for it")]
            {
                eprintln!("{:?} {what}", self.now.since_origin());
            }
        }
    }
}

/// Writes text to a hasher.
struct Hashed<'h>(&'h mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
