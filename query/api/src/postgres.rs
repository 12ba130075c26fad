//! PostgreSQL's wire protocol (version 3.0), for psql, Grafana, DBeaver and whatever else speaks it: the same questions as
//! `POST /api/v1/sql`, by the same engine, in the same turns and within the same limits.
//!
//! | file            | subject                                                                  |
//! |-----------------|---------------------------------------------------------------------------|
//! | `wire.rs`       | a connection's bytes: whole messages in, buffered messages out              |
//! | `start.rs`      | how a connection begins                                                     |
//! | `session.rs`    | what a client says, one message after the other                             |
//! | `commands.rs`   | settings and transactions                                                   |
//! | `extended.rs`   | prepared statements, bound as portals                                       |
//! | `portals.rs`    | answers that are asked for a part at a time                                 |
//! | `cursors.rs`    | the same by `DECLARE`, `FETCH` and `CLOSE`                                  |
//! | `answering.rs`  | an answer on its way, as fast as the client takes it                        |
//! | `copy.rs`       | `COPY … TO STDOUT`                                                          |
//! | `parameters.rs` | values of `$1`, `$2` …                                                      |
//! | `encode/`       | rows as text and binary                                                     |
//! | `refusal.rs`    | the engine's codes as `SQLSTATE`s                                           |
//! | `cancel.rs`     | who may cancel what                                                         |
//!
//! Never here: what a question means, types, the catalogue (all are the engine's), TLS.

mod answering;
mod cancel;
mod commands;
mod copy;
mod cursors;
mod encode;
mod extended;
mod parameters;
mod portals;
mod refusal;
mod session;
mod start;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::{Api, turn};
use refusal::Refusal;
use session::Session;
use wire::Wire;

/// The microseconds and days of the time that binary values count from: 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Sessions there may be; PostgreSQL's own default.
const MOST_SESSIONS: usize = 100;
/// Connections that haven't begun yet, or only cancel.
const MOST_BEGINNING: usize = 100;
/// How long one may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
/// How long nobody is let in after the system had no room for a connection.
const BREATH: Duration = Duration::from_millis(100);

/// What all connections share.
struct Door {
    api: Arc<Api>,
    known: Arc<cancel::Known>,
    sessions: Arc<Semaphore>,
    beginning: Arc<Semaphore>,
}

/// Answers PostgreSQL's clients until `stop`, then those that have asked already; dropping it ends them, too.
///
/// # Errors
/// None: what goes wrong with a connection ends that connection.
pub async fn postgres(
    api: Arc<Api>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let door = Arc::new(Door {
        api,
        known: Arc::default(),
        sessions: Arc::new(Semaphore::new(MOST_SESSIONS)),
        beginning: Arc::new(Semaphore::new(MOST_BEGINNING)),
    });
    let (stopping, is_stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next() => {
                if let Err(err) = ended {
                    warn!(%err, "a PostgreSQL connection failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    connections.spawn(connection(door.clone(), stream, address, is_stopping.clone()));
                }
                Err(err) => {
                    warn!(%err, "no PostgreSQL connection can be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    let _ = stopping.send(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(door: Arc<Door>, stream: TcpStream, address: SocketAddr, stop: watch::Receiver<bool>) {
    if let Err(err) = Box::pin(talk(&door, stream, address, stop)).await {
        debug!(%address, %err, "a PostgreSQL connection ended");
    }
}

async fn talk(
    door: &Door,
    stream: TcpStream,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Ok(beginning) = door.beginning.clone().try_acquire_owned() else { return Ok(()) };
    let mut wire = Wire::new(stream);
    let begun = tokio::time::timeout(BEGINS_WITHIN, start::begin(&mut wire, &door.known)).await;
    let Some(startup) = begun.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? else { return Ok(()) };
    let Ok(_session) = door.sessions.clone().try_acquire_owned() else {
        return turned_away(
            wire,
            &Refusal::new("53300", "limit.busy: there are as many sessions as there may be"),
        )
        .await;
    };
    drop(beginning);
    let settings = match start::settings(&startup, door.api.info.version) {
        Ok(settings) => settings,
        Err(refusal) => return turned_away(wire, &refusal).await,
    };
    if let Some(negotiated) = start::negotiated(&startup) {
        wire.put(&negotiated)?;
    }
    let mut session = Session::new(&door.api, wire, turn::caller_at(address), door.known.enter(), settings);
    session.greet().await?;
    // It holds what is under way, which is much for a future that is handed around.
    Box::pin(session.run(stop)).await
}

async fn turned_away(mut wire: Wire, refusal: &Refusal) -> io::Result<()> {
    wire.put(&refusal.message(true))?;
    wire.flush().await
}
