//! A data folder filled with drawn rows, by the way that received ones go: log, memory, sealed files.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use weir_model::{BatchMeta, Row};
use weir_store::{Store, StoreConfig, TableStats};

use super::cluster::Cluster;
use super::rows::{self, BATCH_ROWS};

/// Batches that are drawn or stored at a time, for each thread.
const IN_FLIGHT: usize = 2;
/// An hour's rows are sealed at once, up to this many rows and bytes in memory.
const MOST_SEALED: (u64, usize) = (1_000_000, 768 << 20);

/// What the folder holds, and how it came to.
pub(super) struct Filled {
    pub(super) tables: Vec<TableStats>,
    /// `None` where an earlier run filled it.
    pub(super) took: Option<(f64, f64)>,
}

/// Fills `dir` with `flows` flows and what goes with them, unless it is already. All rows are in files then.
pub(super) async fn fill(dir: &Path, flows: u64, threads: usize) -> anyhow::Result<Filled> {
    let note = dir.join("bench.json");
    let wanted = json!({ "flows": flows, "version": rows::VERSION });
    let known = fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if known.is_none() && dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} holds something else than this benchmark's rows: choose another --dir", dir.display());
    }
    if known.as_ref().is_some_and(|known| known != &wanted) {
        bail!(
            "{} holds other rows ({}), not {wanted}: delete it, or choose another --dir",
            dir.display(),
            known.unwrap_or_default()
        );
    }
    let config = StoreConfig {
        dir: dir.to_owned(),
        seal_rows: (flows / 24).clamp(262_144, MOST_SEALED.0) as usize,
        seal_bytes: MOST_SEALED.1,
        memory_bytes: 4 * MOST_SEALED.1,
        ..StoreConfig::default()
    };
    let store = Store::open(config).await.with_context(|| format!("open the store in {}", dir.display()))?;
    let begun = (Instant::now(), cpu_seconds());
    if known.is_none() {
        draw(&store, flows, threads).await?;
    }
    store.seal().await?;
    // As time would do it.
    store.compact().await?;
    let tables = store.stats();
    store.close().await?;
    if known.is_none() {
        fs::write(&note, wanted.to_string()).with_context(|| format!("write {}", note.display()))?;
    }
    let took = known.is_none().then(|| (begun.0.elapsed().as_secs_f64(), cpu_seconds() - begun.1));
    Ok(Filled { tables: tables.into_iter().filter(|table| table.rows_sealed > 0).collect(), took })
}

async fn draw(store: &Store, flows: u64, threads: usize) -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::new());
    let batches = (0..flows.div_ceil(BATCH_ROWS)).map(|number| {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || drawn(&cluster, number, flows))
    });
    let in_flight = IN_FLIGHT * threads;
    stream::iter(batches)
        .buffered(in_flight)
        .map(|parts| async { anyhow::Ok(store.append(parts?.into()).await?) })
        .buffered(in_flight)
        .try_collect::<()>()
        .await
}

/// The batches, one a table, with that number of `flows` flows in all.
pub(super) fn drawn(
    cluster: &Cluster,
    number: u64,
    flows: u64,
) -> [(BatchMeta, arrow::array::RecordBatch); 4] {
    let drawn = rows::batch(cluster, number, flows);
    [
        part(number, &drawn.flows),
        part(number, &drawn.spans),
        part(number, &drawn.handshakes),
        part(number, &drawn.drops),
    ]
}

fn part<R: Row>(number: u64, rows: &[R]) -> (BatchMeta, arrow::array::RecordBatch) {
    (BatchMeta::of::<R>("generator", "bench", number + 1), R::to_batch(rows))
}

/// CPU time of this process so far, all threads.
fn cpu_seconds() -> f64 {
    nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

#[cfg(test)]
mod tests {
    use weir_model::tables::DropRow;
    use weir_model::{FlowRow, SpanRow, TlsHandshakeRow};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_is_filled_once_and_one_with_other_rows_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let filled = fill(&dir, 20_000, 2).await.unwrap();
        assert!(filled.took.is_some());
        let rows = |filled: &Filled, name| {
            let table = filled.tables.iter().find(|table| table.table == name).unwrap();
            (table.rows_memory, table.rows_sealed)
        };
        assert_eq!(rows(&filled, FlowRow::table().name), (0, 20_000));
        assert_eq!(rows(&filled, TlsHandshakeRow::table().name), (0, 1_000));
        assert_eq!(rows(&filled, DropRow::table().name), (0, 200));
        assert!(rows(&filled, SpanRow::table().name).1 > 834, "several spans for each trace");

        let again = fill(&dir, 20_000, 2).await.unwrap();
        assert!(again.took.is_none());
        assert_eq!(again.tables, filled.tables);
        let other = fill(&dir, 30_000, 2).await.err().unwrap().to_string();
        assert!(other.contains("holds other rows"), "{other}");
        let foreign = fill(folder.path(), 20_000, 2).await.err().unwrap().to_string();
        assert!(foreign.contains("something else"), "{foreign}");
    }
}
