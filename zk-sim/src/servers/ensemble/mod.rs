//! A model of an ensemble: three servers that agree on what happens, and each of which learns of it later.
//!
//! A majority agrees on a list of entries. A member is a server that applies them one by one, each after a
//! while, so that its reads may be stale. Writes of its clients go to the leader, which adds them to the list.
//! All members have to come out alike, which the model checks. What changes nothing, such as reads, watches and
//! pings, stays between a client and its member.
//!
//! The election of a leader is not simulated, but what clients can see of it is. A member that loses the
//! leader drops its connections, after a while in which it still replies from what it has. Of what was proposed
//! but not agreed on, the next leader keeps a part. It grants sessions a new timeout. Without a majority nothing
//! changes; some ensembles can be read then.
//!
//! | file | what it is about |
//! |---|---|
//! | `state` | the state of the ensemble, and which members have contact with each other |
//! | `clients` | a member and its clients |
//! | `agreement` | what is proposed, agreed on and learned |
//! | `leadership` | which member leads, and what happens to a member that has lost the leader |

mod agreement;
mod clients;
mod leadership;
mod state;

pub(super) use state::{Ensemble, Entry};
