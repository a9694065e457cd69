//! The session against the model, and the embedded server, with random operations. A failure prints the shrunk input;
//! `ZK_FUZZ_LOG=1 cargo run -p zk-fuzz --example replay <target> <bytes>` shows what happens with it.

use std::fmt;

use proptest::{collection::vec, prelude::*};
use zk_fuzz::{sasl_session, sasl_tokens, server, session, session_model, tls};

#[derive(Clone)]
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn input() -> impl Strategy<Value = Input> {
    vec(any::<u8>(), 0..1_500).prop_map(Input)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_server_gives_the_predicted_outputs(input in input()) {
        session_model(&input.0);
    }

    #[test]
    fn any_server_gives_legal_outputs(input in input()) {
        session(&input.0);
    }

    #[test]
    fn a_login_sends_only_tokens_before_it_is_accepted(input in input()) {
        sasl_session(&input.0);
    }

    #[test]
    fn changed_tokens_are_accepted_by_neither_side(input in input()) {
        sasl_tokens(&input.0);
    }

    #[test]
    fn a_client_with_tls_sends_nothing_before_the_handshake_has_ended(input in input()) {
        tls(&input.0);
    }

    #[test]
    fn the_embedded_server_answers_any_client(input in input()) {
        server(&input.0);
    }
}
