//! [`Face`], how a client gives its results.

use crate::{AsyncResult, Client, Error, blocking};

/// A client of one face or the other: [`Client`], whose calls are awaited, or [`blocking::Client`],
/// whose calls wait. What is made with a client, such as a transaction or a lock, has the same face.
pub trait Face: Clone + Send + Sync + 'static + sealed::Sealed {
    /// What a call returns: for [`Client`] an [`AsyncResult`], for [`blocking::Client`] the result
    /// itself, once it is there.
    type Answer<T: Clone + Send + 'static>;
}

pub(crate) mod sealed {
    use crate::{AsyncResult, Client};

    pub trait Sealed {
        fn client(&self) -> &Client;

        /// The answer for those who use this face.
        fn answer<T: Clone + Send + 'static>(result: AsyncResult<T>) -> Self::Answer<T>
        where
            Self: super::Face;
    }
}

impl Face for Client {
    type Answer<T: Clone + Send + 'static> = AsyncResult<T>;
}

impl sealed::Sealed for Client {
    fn client(&self) -> &Client {
        self
    }

    fn answer<T: Clone + Send + 'static>(result: AsyncResult<T>) -> AsyncResult<T> {
        result
    }
}

impl Face for blocking::Client {
    type Answer<T: Clone + Send + 'static> = Result<T, Error>;
}

impl sealed::Sealed for blocking::Client {
    fn client(&self) -> &Client {
        self.as_async()
    }

    fn answer<T: Clone + Send + 'static>(result: AsyncResult<T>) -> Result<T, Error> {
        result.get()
    }
}
