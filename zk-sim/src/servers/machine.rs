//! The state of the machine that a server runs on.

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) is_down: bool,
    pub(crate) is_frozen: bool,
    /// Whether the server closes each connection after its first replies.
    pub(crate) closes_early: bool,
    /// Whether it cannot reach the other members of the ensemble.
    pub(crate) is_isolated: bool,
}

impl Machine {
    pub(crate) const fn runs(self) -> bool {
        !self.is_down && !self.is_frozen
    }

    /// Goes down, or comes up again. Only isolation outlasts that.
    pub(crate) fn set_down(&mut self, is_down: bool) {
        *self = Self { is_down, is_isolated: self.is_isolated, ..Self::default() };
    }
}
