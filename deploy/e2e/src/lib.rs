//! The whole way, tested from outside: the real binaries, the real kernel, real peers.
//!
//! | file         | subject                                                             |
//! |--------------|---------------------------------------------------------------------|
//! | `weir.rs`    | a `weir up` of its own (free ports, own directory), and its answers  |
//! | `process.rs` | running programs, ending them, reading what they said                |
//! | `peer.rs`    | an `openssl` server and client: TLS by somebody else's code          |
//! | `kubernetes.rs` | a real API server with its etcd                                   |
//! | `door.rs`    | one address for a process that is started again                      |
//! | `files.rs`   | what is in a folder                                                  |
//! | `net.rs`     | a network namespace of the test's own                                |
//!
//! A test here knows Weir only by its command line, its files and its HTTP API. It waits for states
//! ([`until`]), never for a guessed time, and fails loudly where root, a tool or the binary is missing.

mod door;
mod files;
mod kubernetes;
mod net;
mod peer;
mod process;
mod weir;

pub use door::Door;
pub use files::files_below;
pub use kubernetes::ControlPlane;
pub use net::Namespace;
pub use peer::{Peer, TlsServer};
pub use process::{Process, beside_weir, run, weir_binary, without_settings};
pub use weir::{Store, Weir};

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long a state may take to come on a busy machine; a test that measures asks for less itself.
pub const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Asks `look` again and again until it says `Some`, and gives that with the time it took.
///
/// # Errors
/// When `look` fails, or when [`PATIENCE`] has run out: then with `what` was awaited.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<(T, Duration)>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok((found, start.elapsed()));
        }
        if start.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Fails unless the test runs as root: probes and namespaces need it, and a skipped test proves nothing.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test loads probes and makes namespaces: run it as root");
}
