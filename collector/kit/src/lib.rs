//! What every Weir process has: logs, a stop signal, exit codes, its name and version.
//!
//! | file        | subject                                                     |
//! |-------------|-------------------------------------------------------------|
//! | `log.rs`    | structured logs on stderr, as text or JSON                    |
//! | `stop.rs`   | one token that SIGTERM and SIGINT cancel                      |
//! | `exit.rs`   | exit codes, and printing an error with its chain of causes    |
//! | `host.rs`   | this node's name and a fresh boot id                          |
//!
//! Never here: anything about flows, or a listener.

pub mod exit;
pub mod host;
pub mod log;
pub mod stop;

/// Weir's version, as `weir --version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
