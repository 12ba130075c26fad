//! One line for the person who started `weir up`: what it sees. On a terminal the line stays current; elsewhere it is
//! said once, when there is something to say.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use weir_query::{Engine, QueryError};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(3);

const NOW: &str = "SELECT count(DISTINCT connection_id), count(DISTINCT client_process),
        count(DISTINCT connection_id) FILTER (WHERE encryption IN ('tls', 'mtls'))
    FROM flows WHERE time > now() - INTERVAL '1 minute'";

/// Says what is seen until `stop`.
pub(crate) async fn tell(engine: Arc<Engine>, stop: CancellationToken) {
    let is_terminal = std::io::stdout().is_terminal();
    let mut said = [0; 3];
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        let seen = match look(&engine).await {
            Ok(seen) => seen,
            Err(err) => {
                debug!(%err, "what is seen could not be asked");
                continue;
            }
        };
        if seen[0] == 0 || seen == said {
            continue;
        }
        said = seen;
        let mut out = std::io::stdout().lock();
        // A terminal that has gone away is no reason to stop.
        if is_terminal {
            let _ = write!(out, "\r\x1b[K  {}", sentence(seen)).and_then(|()| out.flush());
        } else {
            let _ = writeln!(out, "  {}", sentence(seen));
            break;
        }
    }
    if is_terminal && said[0] > 0 {
        let _ = writeln!(std::io::stdout().lock());
    }
}

async fn look(engine: &Engine) -> Result<[i64; 3], QueryError> {
    let answer = engine.collect(NOW, 1).await?;
    let Some(batch) = answer.batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok([0; 3]) };
    Ok([0, 1, 2]
        .map(|column| batch.column(column).as_primitive_opt::<Int64Type>().map_or(0, |count| count.value(0))))
}

fn sentence([connections, processes, tls]: [i64; 3]) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    let by = match processes {
        0 => String::new(),
        _ => format!(" by {processes} program{}", plural(processes)),
    };
    format!("Seen in the last minute: {connections} connection{}{by}, {tls} with TLS", plural(connections))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_reads_as_a_sentence() {
        assert_eq!(sentence([1, 1, 0]), "Seen in the last minute: 1 connection by 1 program, 0 with TLS");
        assert_eq!(sentence([12, 0, 3]), "Seen in the last minute: 12 connections, 3 with TLS");
    }
}
