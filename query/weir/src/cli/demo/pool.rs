//! A server of the older kind: a pool of threads, each of which takes a connection and answers its requests one after the
//! other, asking others meanwhile, until the connection ends.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use super::http::{Call, Reply, connection};

/// Threads that answer; a kept connection has one for as long as it lives.
const WORKERS: usize = 64;

/// Listens on `addresses` with threads called `name`. `handler` makes what a thread answers by.
pub(super) fn serve<H, F>(
    name: &str,
    addresses: &[SocketAddr],
    handler: impl Fn() -> anyhow::Result<H>,
) -> anyhow::Result<()>
where
    H: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let (queue, waiting) = sync_channel(WORKERS);
    for address in addresses {
        let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let queue = queue.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || accept(&listener, &queue))?;
    }
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..WORKERS {
        let (waiting, handler) = (Arc::clone(&waiting), handler()?);
        // No other thread drives what this one began: a request is all its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(name.to_owned()).spawn(move || work(&runtime, &waiting, &handler))?;
    }
    Ok(())
}

fn accept(listener: &TcpListener, queue: &SyncSender<(TcpStream, SocketAddr)>) {
    loop {
        match listener.accept() {
            Ok(accepted) => {
                if queue.send(accepted).is_err() {
                    return;
                }
            }
            // Out of descriptors or the peer was gone already; the listener itself is fine.
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, with nothing else to do")]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

fn work<H, F>(
    runtime: &tokio::runtime::Runtime,
    waiting: &Mutex<Receiver<(TcpStream, SocketAddr)>>,
    handler: &H,
) where
    H: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    loop {
        let Ok((stream, peer)) = waiting.lock().recv() else { return };
        runtime.block_on(async {
            let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                connection(stream, peer, handler.clone()).await;
            }
        });
    }
}
