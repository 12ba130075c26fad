//! DNS (RFC 1035, EDNS of RFC 6891): messages → facts, questions paired with their answers, names of addresses.
//!
//! | file         | subject                                                                       |
//! |--------------|-------------------------------------------------------------------------------|
//! | `message.rs` | one message: header, questions, answers, EDNS                                   |
//! | `name.rs`    | domain names, compressed or not                                                 |
//! | `data.rs`    | a record's data as text                                                         |
//! | `codes.rs`   | numbers → names                                                                 |
//! | `stream.rs`  | DNS over TCP: segments in any order and cut → messages                          |
//! | `pair.rs`    | questions and answers → exchanges: retransmissions, timeouts, answers alone     |
//! | `rows.rs`    | an exchange → its row                                                           |
//! | `history.rs` | which address had which name, for whom, when                                    |
//!
//! An own parser: it must say what a message that was cut (snapshot length, copy limit) still tells, take only what
//! rows need without an object a record, and a message is little enough to read.
//!
//! **Invariants**: no panic on any input; a compressed name can't loop (pointers only go back) and is at most 255 bytes;
//! a message's facts, open questions, waiting segments and the history have stated bounds.

mod codes;
mod data;
mod history;
mod message;
mod name;
mod pair;
mod rows;
mod stream;
#[cfg(test)]
mod tests;

pub use codes::{class_name, opcode_name, response_code_name, type_name};
pub use history::{GRACE_NS, History};
pub use message::{Edns, Malformed, Message, Question, Record, message};
pub use pair::{Exchange, Half, Pairs, TIMEOUT_NS};
pub use stream::Messages;

/// Where DNS servers listen, over UDP and TCP. Multicast DNS (5353) is another protocol in the same format, and not
/// looked at.
pub const PORT: u16 = 53;
