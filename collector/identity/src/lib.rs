//! Who an address was, and which pod a UID was, at a given time: history out of Kubernetes' objects, and what is fixed
//! (hosts file, static map).
//!
//! | file         | subject                                                                        |
//! |--------------|--------------------------------------------------------------------------------|
//! | `kinds.rs`   | the kinds of object that are watched, and where the API has them                 |
//! | `object.rs`  | JSON of an object → what Weir keeps of it                                        |
//! | `claims.rs`  | which addresses an object holds, and which of several holders an address had      |
//! | `history.rs` | objects as they come and go → versions, claims and pods with their times           |
//! | `answer.rs`  | a holder → namespace, pod, workload, node, zone, and what kind of thing it is       |
//! | `fixed.rs`   | `/etc/hosts` and the static map                                                   |
//!
//! Times are UTC nanoseconds; an object holds what it has from when it was seen to, until it was seen to no more. Who asks
//! for an earlier time than the first sight gets the next holder if that existed by then: an object's event comes later
//! than the pod's first packet. **Invariant**: pure, and bounded: what ended is forgotten, oldest first, and counted.

mod answer;
mod claims;
mod fixed;
mod history;
pub mod kinds;
mod object;

pub use answer::Answer;
pub use claims::{Holders, Pick};
pub use fixed::{BadLine, Fixed};
pub use history::{History, Limits, Losses, Version};
pub use object::{Named, Object, Unreadable};
