//! One address for senders, whichever port the process behind it has this time.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections; those of a process that ended are closed with it.
pub struct Door {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
}

impl Door {
    /// Leads to `target` at first.
    ///
    /// # Errors
    /// Without a free port.
    pub async fn open(target: SocketAddr) -> anyhow::Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (target, targets) = watch::channel(target);
        tokio::spawn(forward(listener, targets));
        Ok(Door { address, target })
    }

    /// Its address as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// New connections go to another process.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

async fn forward(listener: TcpListener, target: watch::Receiver<SocketAddr>) {
    while let Ok((mut sender, _)) = listener.accept().await {
        let target = *target.borrow();
        tokio::spawn(async move {
            // No collector, no connection: the sender sees it closed, and comes back.
            if let Ok(mut collector) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut sender, &mut collector).await;
            }
        });
    }
}
