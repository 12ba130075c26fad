//! What is deleted, for its age or for want of room: whole files, once all of their rows are too old, the oldest first. A
//! row is as old as its time, or as its coming where that was later.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::path::Path;
use tracing::{info, warn};
use weir_model::tables;

use crate::replace::{self, Replacement};
use crate::scan::Segment;
use crate::store::Inner;
use crate::{StoreError, commit};

/// How often ages and sizes are looked at.
const TICK: Duration = Duration::from_secs(20);
/// Of the whole, a table that has less than this part is spared where room is wanted: it would free little, and what is
/// small is kept for long (who was who, who did what).
const SPARED: u64 = 32;

/// How long rows are kept. The default keeps everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How old a row may become; `None`: as old as it likes. Not of what somebody archived ([`weir_model::Table::is_archive`]).
    pub age: Option<Duration>,
    /// Tables for which it is another age.
    pub tables: BTreeMap<&'static str, Duration>,
    /// Bytes in files, all tables together; beyond, the oldest rows go first, what is archived never.
    pub bytes: Option<u64>,
}

impl Retention {
    fn age_of(&self, table: &str) -> Option<Duration> {
        self.tables.get(table).copied().or(self.age.filter(|_| !is_archive(table)))
    }

    /// The files to be deleted, of each table's.
    fn expired<'a>(&self, tables: &[(&'static str, &'a [Segment])], now: i64) -> Vec<Vec<&'a Segment>> {
        let mut expired: Vec<Vec<&Segment>> = Vec::new();
        let mut kept: Vec<Vec<&Segment>> = Vec::new();
        for (name, segments) in tables {
            let from = self.age_of(name).map_or(i64::MIN, |age| {
                now.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
            });
            let (stay, go): (Vec<_>, Vec<_>) =
                segments.iter().partition(|segment| kept_since(segment) >= from);
            expired.push(go);
            kept.push(stay);
        }
        let Some(most) = self.bytes else { return expired };
        for files in &mut kept {
            // The oldest last, where it is taken from.
            files.sort_unstable_by_key(|segment| std::cmp::Reverse(kept_since(segment)));
        }
        let size = |files: &[&Segment]| files.iter().map(|segment| segment.size).sum::<u64>();
        let mut sizes: Vec<u64> = kept.iter().map(|files| size(files)).collect();
        while sizes.iter().sum::<u64>() > most {
            let oldest = (0..kept.len())
                .filter(|table| sizes[*table] >= most / SPARED && !is_archive(tables[*table].0))
                .filter_map(|table| Some((kept_since(kept[table].last()?), table)))
                .min();
            let Some((_, table)) = oldest else { break };
            let segment = kept[table].pop().expect("it has a last one");
            sizes[table] -= segment.size;
            expired[table].push(segment);
        }
        expired
    }
}

fn is_archive(table: &str) -> bool {
    tables::by_name(table).is_some_and(|table| table.is_archive)
}

/// From when on a file's age counts, ns: its last row's time, or when that came. An old capture that is imported is not old.
fn kept_since(segment: &Segment) -> i64 {
    segment.max_time.max(segment.came)
}

/// Deletes what is due for as long as the store lives.
pub(crate) async fn run(store: Weak<Inner>) {
    loop {
        {
            let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else { return };
            if let Err(err) = once(&inner).await {
                warn!(%err, "old files could not be deleted; they are tried again");
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Deletes what is due now; how many rows that were.
pub(crate) async fn once(inner: &Arc<Inner>) -> Result<u64, StoreError> {
    let files: Vec<Arc<Vec<Segment>>> =
        inner.view.read().tables.iter().map(|table| table.segments.clone()).collect();
    let by_table: Vec<(&'static str, &[Segment])> =
        tables::ALL.iter().zip(&files).map(|(table, files)| (table.name, files.as_slice())).collect();
    let mut rows = 0;
    for (table, expired) in inner.config.retention.expired(&by_table, commit::now()).into_iter().enumerate() {
        let Some(until) = expired.iter().map(|segment| segment.max_time).max() else { continue };
        let remove: Vec<Path> = expired.iter().map(|segment| segment.path.clone()).collect();
        let (files, of_table) = (remove.len(), expired.iter().map(|segment| segment.rows).sum::<u64>());
        let files_of = Replacement { remove, retired: Some(until), ..Replacement::default() };
        // One that was merged meanwhile is part of another file: it is looked at again soon.
        if replace::commit(inner, table, files_of, |file| replace::deleted(inner, file)).await? {
            info!(
                table = tables::ALL[table].name,
                files,
                rows = of_table,
                "deleted what is older than it is to be kept"
            );
            inner.retired_rows.fetch_add(of_table, std::sync::atomic::Ordering::Relaxed);
            rows += of_table;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, max_time: i64, size: u64) -> Segment {
        Segment {
            path: Path::from(name),
            size,
            rows: 1,
            min_time: 0,
            max_time,
            rollup: None,
            came: 0,
            file: Arc::default(),
        }
    }

    fn expired(retention: &Retention, tables: &[(&'static str, &[Segment])], now: i64) -> Vec<String> {
        let files = retention.expired(tables, now).into_iter().flatten();
        files.map(|segment| segment.path.to_string()).collect()
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_file_goes_when_its_last_row_is_too_old_and_each_table_has_its_age() {
        let flows = [file("f1", 5 * SECOND, 1), file("f2", 6 * SECOND, 1)];
        let audit = [file("a1", SECOND, 1)];
        let tables: [(&str, &[Segment]); 2] = [("flows", &flows), ("audit_log", &audit)];
        let mut retention = Retention { age: Some(Duration::from_secs(4)), ..Retention::default() };
        assert_eq!(expired(&Retention::default(), &tables, 100 * SECOND), Vec::<String>::new());
        assert_eq!(expired(&retention, &tables, 10 * SECOND), ["f1", "a1"]);
        retention.tables.insert("audit_log", Duration::from_mins(1));
        assert_eq!(expired(&retention, &tables, 10 * SECOND), ["f1"]);
    }

    #[test]
    fn what_is_archived_goes_at_its_own_age_only() {
        let spans = [file("s1", SECOND, 1)];
        let archived = [file("x1", SECOND, 1_000)];
        let tables: [(&str, &[Segment]); 2] = [("spans", &spans), ("archived_spans", &archived)];
        let age = Some(Duration::from_secs(4));
        let mut retention = Retention { age, bytes: Some(100), ..Retention::default() };
        assert_eq!(expired(&retention, &tables, 2 * SECOND), Vec::<String>::new());
        assert_eq!(expired(&retention, &tables, 10 * SECOND), ["s1"]);
        retention.tables.insert("archived_spans", Duration::from_secs(6));
        assert_eq!(expired(&retention, &tables, 10 * SECOND), ["s1", "x1"]);
    }

    #[test]
    fn rows_that_came_late_are_kept_as_long_as_others() {
        let flows = [Segment { came: 8 * SECOND, ..file("import", SECOND, 1) }];
        let retention = Retention { age: Some(Duration::from_secs(4)), ..Retention::default() };
        assert_eq!(expired(&retention, &[("flows", &flows)], 10 * SECOND), Vec::<String>::new());
        assert_eq!(expired(&retention, &[("flows", &flows)], 13 * SECOND), ["import"]);
    }

    #[test]
    fn where_room_is_wanted_the_oldest_go_first_but_what_is_small_stays() {
        let flows = [file("f3", 30, 400), file("f1", 10, 400), file("f2", 20, 400)];
        let spans = [file("s1", 15, 300), file("s2", 25, 300)];
        let audit = [file("a1", 1, 5)];
        let tables: [(&str, &[Segment]); 3] = [("flows", &flows), ("spans", &spans), ("audit_log", &audit)];
        let with = |bytes| Retention { bytes: Some(bytes), ..Retention::default() };
        assert_eq!(expired(&with(1_805), &tables, 100), Vec::<String>::new());
        assert_eq!(expired(&with(1_500), &tables, 100), ["f1"]);
        assert_eq!(expired(&with(800), &tables, 100), ["f1", "f2", "s1"]);
        assert_eq!(expired(&with(0), &tables, 100).len(), 6, "nothing is to be kept");
    }
}
