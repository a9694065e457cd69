//! Where the steps of a mechanism are taken.
//!
//! A mechanism that does not block runs on the driver. Another one runs on a thread that lives as long as the step:
//! neither the driver nor the threads of callbacks and resolvers wait for it. There is one such thread at most. A step
//! that is asked for while it is busy waits for it, and replaces one that waits already, which is of an older
//! connection.

use std::{
    sync::{Arc, Weak},
    thread,
};

use zk_proto::sasl::SaslError;

use crate::inner::ClientInner;

use super::{
    StepRequest,
    steps::{Answer, Job, Place, StepId},
};

impl ClientInner {
    /// Takes a step, now or on a thread, and tells the session. Call it with no lock held.
    pub(crate) fn take_sasl_step(self: &Arc<Self>, request: StepRequest) {
        let id = request.id();
        match self.sasl.place(request, self.unique_id()) {
            Place::Here(job) => self.do_sasl_job(job),
            Place::Thread => {}
            Place::NewThread => {
                let inner = Arc::downgrade(self);
                let builder = thread::Builder::new().name("zk-sasl".into());
                if let Err(error) = builder.spawn(move || do_jobs(&inner)) {
                    drop(self.sasl.next_job());
                    // Without a job, the thread counts as ended.
                    drop(self.sasl.next_job());
                    let error = SaslError::Unavailable(format!("no thread for SASL: {error}"));
                    self.tell_session(id, Err(error));
                }
            }
            Place::Nowhere => {
                let error = SaslError::Unavailable("SASL was turned off".into());
                self.tell_session(id, Err(error));
            }
        }
    }

    fn do_sasl_job(&self, job: Job) {
        let id = job.id();
        let (answer, running) = job.run();
        self.sasl.keep(id, running);
        self.tell_session(id, answer);
    }

    fn tell_session(&self, (session_number, step): StepId, answer: Answer) {
        if let Err(error) = &answer {
            tracing::warn!(%error, "the SASL mechanism failed");
        }
        self.with_lifecycle(|lifecycle, now| {
            if lifecycle.session_number() == session_number {
                lifecycle.session.handle_sasl(now, step, answer);
            }
        });
    }
}

/// Does the jobs that wait, on the thread for them. The client may be dropped while a job is done.
fn do_jobs(inner: &Weak<ClientInner>) {
    while let Some(job) = inner.upgrade().and_then(|inner| inner.sasl.next_job()) {
        let id = job.id();
        let (answer, running) = job.run();
        let Some(inner) = inner.upgrade() else { return };
        inner.sasl.keep(id, running);
        inner.tell_session(id, answer);
    }
}
