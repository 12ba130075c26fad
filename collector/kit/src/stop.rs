//! One token for "stop now, cleanly": cancelled by SIGTERM or SIGINT; a second signal ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A token that the first SIGTERM or SIGINT cancels. Must be called within a tokio runtime.
///
/// # Errors
/// When the signal handlers can't be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        info!("stopping: finishing what is under way (send the signal again to stop at once)");
        token.cancel();
        either(&mut terminate, &mut interrupt).await;
        warn!("stopped at once");
        std::process::exit(i32::from(crate::exit::FAILED));
    });
    Ok(stop)
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}
