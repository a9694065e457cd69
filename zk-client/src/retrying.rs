//! Calls that are tried again: with the user's [`Retry`] policy, or with [`retry_transient`] in the client's calls that send
//! several requests, and in recipes.

use std::time::Duration;

use crate::{
    AsyncResult, Client, Error, ErrorCode, ErrorKind, Retry,
    client::blocking,
    retry::Tries,
    stop::{Stop, until_stopped},
};

impl Retry {
    /// Makes `call` until it succeeds or this policy gives up.
    ///
    /// # Errors
    /// The error of the last try, or [`Interrupted`](ErrorKind::Interrupted) if [`interrupt`](Self::interrupt)
    /// returned true.
    ///
    /// # Cancel safety
    /// Dropping or cancelling the result ends the tries. A try that is in progress is not undone.
    pub fn call<T, R>(
        &self,
        client: &Client,
        mut call: impl FnMut(&Client) -> R + Send + 'static,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut tries = Tries::new(self.clone(), client.inner().now());
        let first = call(client);
        let caller = client.clone();
        client.request_cancellable(move |abandon| async move {
            let (inner, stop) = (caller.inner(), Stop::on(abandon));
            let mut result = first.await;
            loop {
                let error = match result {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let until = tries.next(error, inner.now(), inner.random_part())?;
                while let Some(pause) = tries.pause(until, inner.now())? {
                    if until_stopped(&stop, inner.sleep_until(pause)).await.is_none() {
                        return Err(Error::cancelled(tries.outcome));
                    }
                }
                result = call(&caller).await;
            }
        })
    }

    /// Makes `call` until it succeeds or this policy gives up, and blocks the thread until then.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<T>(
        &self,
        client: &blocking::Client,
        mut call: impl FnMut(&blocking::Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let inner = client.as_async().inner();
        let mut tries = Tries::new(self.clone(), inner.now());
        loop {
            let error = match call(client) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let until = tries.next(error, inner.now(), inner.random_part())?;
            while let Some(pause) = tries.pause(until, inner.now())? {
                inner.dispatcher.completions.assert_may_block();
                std::thread::sleep(pause.since(inner.now()));
            }
        }
    }
}

impl Client {
    /// Makes `call` until it succeeds or the client's policy
    /// ([`command_retry`](crate::ClientBuilder::command_retry)) gives up. [`Retry`] says which errors are tried
    /// again.
    ///
    /// # Errors
    /// The error of the last try.
    ///
    /// # Cancel safety
    /// As [`Retry::call`].
    pub fn retry<T, R>(&self, call: impl FnMut(&Self) -> R + Send + 'static) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.command_retry().call(self, call)
    }
}

impl blocking::Client {
    /// Makes `call` until it succeeds or the client's policy
    /// ([`command_retry`](crate::ClientBuilder::command_retry)) gives up. [`Retry`] says which errors are tried
    /// again.
    ///
    /// # Errors
    /// The error of the last try.
    pub fn retry<T>(&self, call: impl FnMut(&Self) -> Result<T, Error>) -> Result<T, Error> {
        self.command_retry().call_blocking(self, call)
    }
}

/// Makes a call that may be made twice, in the present session, until its error is not transient.
pub(crate) async fn retry_transient<T, R>(
    client: &Client,
    mut call: impl FnMut(&Client) -> R,
) -> Result<T, Error>
where
    R: Future<Output = Result<T, Error>>,
{
    loop {
        match call(client).await {
            Err(error) if is_transient(&error) => back_off(client, &error).await,
            result => return result,
        }
    }
}

/// Whether an error comes from the connection or from its server, while the session may live on.
pub(crate) fn is_transient(error: &Error) -> bool {
    use ErrorCode::{NotReadOnly, OperationTimeout, SessionMoved, Throttled};

    matches!(
        error.kind(),
        ErrorKind::ConnectionLoss
            | ErrorKind::QueueFull
            | ErrorKind::Server(NotReadOnly | OperationTimeout | SessionMoved | Throttled)
    )
}

/// The pause after a transient error that a new connection does not resolve.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits before the next try after a [transient error](is_transient). After a lost connection there is no pause,
/// because the next call waits for a connection itself.
pub(crate) async fn back_off(client: &Client, error: &Error) {
    if error.kind() != ErrorKind::ConnectionLoss {
        client.inner().sleep(PAUSE).await;
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    /// Such a call never waits. If it were repeated without a pause, it would keep the thread busy.
    #[tokio::test]
    async fn a_full_queue_is_given_time() {
        let full = Client::builder().hosts("127.0.0.1:1").max_in_flight(0).build().unwrap();
        drop(full.start());
        let closed = Client::builder().hosts("127.0.0.1:1").build().unwrap();
        let begun = full.inner().now();
        let mut calls = 0;
        let result = retry_transient(&full, |full| {
            calls += 1;
            if calls < 3 { full.exists("/") } else { closed.exists("/") }
        });
        assert_eq!(result.await.unwrap_err().kind(), ErrorKind::ConnectionClosed);
        let taken = full.inner().now().since(begun);
        assert!(calls == 3 && taken >= 2 * PAUSE, "{calls} calls in {taken:?}");
    }
}
