//! The two surfaces of the API: types whose calls return an [`AsyncResult`](crate::AsyncResult), and types of the same
//! names in [`blocking`](crate::blocking) whose calls block the thread and return the result.
//!
//! Every call is written once, for the async surface. To give a type a blocking form:
//!
//! 1. Write the type, with its methods in `with_blocking! { impl Name { … } }`.
//! 2. In the same file, declare the blocking form in a module `blocking`, which also imports the blocking forms of the
//!    types that the signatures name:
//!
//!    ```ignore
//!    pub(crate) mod blocking {
//!        pub(crate) use crate::client::blocking::Client;
//!
//!        crate::surfaces::blocking_form! {
//!            /// What the type is for.
//!            #[derive(Clone)]
//!            pub struct Name;
//!        }
//!    }
//!    ```
//! 3. Re-export it in `blocking.rs`.

/// Converts a value of the async surface into the same value of the blocking surface.
pub(crate) trait IntoBlocking<B> {
    fn into_blocking(self) -> B;
}

/// Most values are the same on both surfaces.
impl<T> IntoBlocking<T> for T {
    fn into_blocking(self) -> T {
        self
    }
}

/// Defines the blocking form of the type of the same name in the module above.
macro_rules! blocking_form {
    ($(#[$attribute:meta])* pub struct $name:ident;) => {
        $(#[$attribute])*
        pub struct $name(pub(crate) super::$name);

        impl $name {
            /// The async form of the same object, whose calls do not block.
            #[must_use = "this does nothing but return the object"]
            pub const fn as_async(&self) -> &super::$name {
                &self.0
            }
        }

        impl From<super::$name> for $name {
            fn from(object: super::$name) -> Self {
                Self(object)
            }
        }

        impl $crate::surfaces::IntoBlocking<$name> for super::$name {
            fn into_blocking(self) -> $name {
                $name(self)
            }
        }

        impl $crate::surfaces::IntoBlocking<Option<$name>> for Option<super::$name> {
            fn into_blocking(self) -> Option<$name> {
                self.map($name)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use blocking_form;

/// Defines methods of a type as they are written, and the methods of the same names of its blocking form. There, a
/// method that returns an `AsyncResult<T>` waits for it and returns a `Result<T, Error>`. Other methods are the same;
/// a function without `self` is a constructor.
///
/// A type that a signature names is the blocking form in the blocking method, if the file's module `blocking` has one.
/// The first line of a method's documentation must be a whole sentence: it stands on both surfaces.
macro_rules! with_blocking {
    (impl $type:ident { $($methods:tt)* }) => {
        impl $type {
            $($methods)*
        }

        const _: () = {
            // These take precedence over the names outside of this block.
            #[allow(unused_imports)]
            use self::blocking::*;
            use $crate::surfaces::IntoBlocking as _;

            impl $type {
                $crate::surfaces::with_blocking! { @$type $($methods)* }
            }
        };
    };

    // No more methods.
    (@$type:ident) => {};

    // A call.
    (@$type:ident
        #[$summary:meta] $(#[$attribute:meta])*
        pub fn $name:ident(&$this:ident $(, $argument:ident: $of:ty)* $(,)?)
            -> AsyncResult<$value:ty> $body:block
        $($rest:tt)*
    ) => {
        $crate::surfaces::with_blocking! {
            =call $type #[$summary] $name, $this, (&$this $(, $argument: $of)*), ($($argument),*), $value
        }

        $crate::surfaces::with_blocking! { @$type $($rest)* }
    };

    // A call that consumes the object.
    (@$type:ident
        #[$summary:meta] $(#[$attribute:meta])*
        pub fn $name:ident($this:ident $(, $argument:ident: $of:ty)* $(,)?)
            -> AsyncResult<$value:ty> $body:block
        $($rest:tt)*
    ) => {
        $crate::surfaces::with_blocking! {
            =call $type #[$summary] $name, $this, ($this $(, $argument: $of)*), ($($argument),*), $value
        }

        $crate::surfaces::with_blocking! { @$type $($rest)* }
    };

    // The blocking form of a call: its parameters, and what is passed on.
    (=call $type:ident #[$summary:meta] $name:ident, $this:ident,
        ($($parameters:tt)*), ($($argument:ident),*), $value:ty
    ) => {
        #[$summary]
        ///
        #[doc = concat!("Blocks the thread until the result is there. [`", stringify!($type), "::", stringify!($name),
            "`](self::", stringify!($type), "::", stringify!($name), ") says more.")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($type), "::", stringify!($name), "`](self::", stringify!($type), "::",
            stringify!($name), ").")]
        ///
        /// # Panics
        /// As [`AsyncResult::get`](crate::AsyncResult::get).
        #[track_caller]
        pub fn $name($($parameters)*) -> Result<$value, $crate::Error> {
            $this.0.$name($($argument),*).get().map(|value| value.into_blocking())
        }
    };

    // A method that does not wait.
    (@$type:ident
        $(#[$attribute:meta])*
        pub $(const)? fn $name:ident(&$this:ident $(, $argument:ident: $of:ty)* $(,)?)
            $(-> $value:ty)? $body:block
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        pub fn $name(&$this $(, $argument: $of)*) $(-> $value)? {
            $this.0.$name($($argument),*).into_blocking()
        }

        $crate::surfaces::with_blocking! { @$type $($rest)* }
    };

    // A method that consumes the object and does not wait.
    (@$type:ident
        $(#[$attribute:meta])*
        pub fn $name:ident($this:ident $(, $argument:ident: $of:ty)* $(,)?) -> $value:ty $body:block
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        pub fn $name($this $(, $argument: $of)*) -> $value {
            $this.0.$name($($argument),*).into_blocking()
        }

        $crate::surfaces::with_blocking! { @$type $($rest)* }
    };

    // A constructor.
    (@$type:ident
        $(#[$attribute:meta])*
        pub fn $name:ident($($argument:ident: $of:ty),* $(,)?) -> Self $body:block
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        pub fn $name($($argument: $of),*) -> Self {
            Self(self::$type::$name($($argument),*))
        }

        $crate::surfaces::with_blocking! { @$type $($rest)* }
    };
}
pub(crate) use with_blocking;
