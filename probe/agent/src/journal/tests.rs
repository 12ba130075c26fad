use std::time::Duration;

use weir_model::{FlowRow, Row};

use super::*;
use crate::by_cookie::ByCookie;

const KERNEL_BOOT: &str = "this-boot";

fn identity(run: &str) -> Identity {
    Identity {
        node: "node".to_owned(),
        boot_id: run.to_owned(),
        kernel_boot: KERNEL_BOOT.to_owned(),
        instance: "programs".to_owned(),
    }
}

fn open(directory: &Path, run: &str, limit_bytes: u64) -> (Journal, Restored) {
    let (opened, mut restored) = Opened::open(directory, KERNEL_BOOT).expect("a directory");
    let settled = std::mem::take(&mut restored.acked);
    let journal = Journal::on_disk(opened, settled, identity(run), limit_bytes, |entry| {
        for (cookie, conn) in &restored.conns {
            entry.conn(*cookie, Some(conn));
        }
    });
    (journal.expect("writes"), restored)
}

/// A batch of rows that don't compress, so that files fill.
fn batch(journal: &mut Journal, entry: &mut Entry, rows: usize, seed: u64) {
    let rows: Vec<FlowRow> = (0..rows as u64)
        .map(|row| FlowRow {
            time: (seed * 1_000_003 + row).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64,
            ..FlowRow::default()
        })
        .collect();
    let encoded = Encoded::of(&FlowRow::to_batch(&rows)).expect("encodes");
    journal.batch(entry, FlowRow::table(), encoded);
}

fn append(journal: &mut Journal, rows: usize, seed: u64) {
    let mut entry = Entry::new();
    batch(journal, &mut entry, rows, seed);
    journal.append(entry, |_| {}).expect("written");
}

fn conn(sent: u64) -> ConnState {
    ConnState {
        totals: weir_abi::Totals { sent_bytes: sent, ..weir_abi::Totals::default() },
        opened_ns: 1,
        first_ns: 6,
        end_ns: 2,
        role: weir_abi::ROLE_CLIENT,
        flags: weir_abi::FLAG_ISNS,
        local_isn: 3,
        remote_isn: 4,
        facts: Some(Arc::new(crate::handshakes::Facts {
            encryption: "tls".into(),
            version: Some("1.3".into()),
            sni: None,
            alpn: None,
            multiplexed: None,
        })),
    }
}

/// Takes what is ready, as `(run, sequence)`, and settles it if asked to.
async fn take(spool: &Spool, settle: bool) -> Vec<(String, u64)> {
    let mut taken = Vec::new();
    while let Ok(queued) = tokio::time::timeout(Duration::from_millis(200), spool.next()).await {
        taken.push((queued.boot_id.clone(), queued.sequence));
        if settle {
            spool.settled(&queued.ticket());
        }
    }
    taken
}

fn numbered(run: &str, sequences: std::ops::RangeInclusive<u64>) -> Vec<(String, u64)> {
    sequences.map(|sequence| (run.to_owned(), sequence)).collect()
}

#[tokio::test]
async fn what_the_collector_has_not_got_is_sent_by_the_next_run_first_and_the_rest_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(directory.path(), "first", 1 << 20);
    (1..=3).for_each(|seed| append(&mut journal, 10, seed));
    let spool = journal.spool();
    for _ in 0..2 {
        let queued = spool.next().await;
        spool.settled(&queued.ticket());
    }
    // What is settled is said with the next entry.
    append(&mut journal, 10, 4);
    drop(journal);

    let (mut journal, _) = open(directory.path(), "second", 1 << 20);
    append(&mut journal, 10, 5);
    let spool = journal.spool();
    let taken = take(&spool, true).await;
    assert_eq!(taken, [numbered("first", 3..=4), numbered("second", 1..=1)].concat());
    tokio::time::timeout(Duration::from_secs(10), spool.empty()).await.expect("all is settled");
    assert_eq!((spool.waiting_rows(), spool.dropped_rows()), (0, 0));
    let files = numbers(directory.path()).expect("reads").len();
    assert_eq!(files, 1, "files of which all is settled are gone");
}

#[tokio::test]
async fn beyond_the_bound_the_oldest_rows_are_given_up_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(directory.path(), "run", 1 << 20);
    let (batches, rows) = (400, 1_000);
    (1..=batches).for_each(|seed| append(&mut journal, rows, seed));
    let spool = journal.spool();
    let on_disk: u64 = numbers(directory.path())
        .expect("reads")
        .iter()
        .map(|number| fs::metadata(directory.path().join(format!("{number:020}.log"))).expect("there").len())
        .sum();
    assert!(on_disk <= (1 << 20) + (128 << 10), "{on_disk} bytes");
    let dropped = spool.dropped_rows();
    let taken = take(&spool, true).await;
    assert!(dropped > 0 && !taken.is_empty());
    assert_eq!(taken.len() as u64 * rows as u64 + dropped, batches * rows as u64);
    assert_eq!(taken, numbered("run", batches - taken.len() as u64 + 1..=batches), "the newest, in order");
}

#[test]
fn a_restart_knows_what_was_reported_and_a_reboot_forgets_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut journal, restored) = open(directory.path(), "first", 1 << 20);
    assert!(restored.conns.is_empty() && restored.instance.is_none());
    let mut entry = Entry::new();
    (1..=3).for_each(|cookie| entry.conn(cookie, Some(&conn(cookie * 100))));
    entry.position(4_096);
    entry.under_way(2);
    journal.append(entry, |_| {}).expect("written");
    let mut entry = Entry::new();
    entry.conn(2, None);
    entry.conn(3, Some(&conn(999)));
    entry.position(8_192);
    entry.cut(77);
    journal.append(entry, |_| {}).expect("written");
    drop(journal);

    let (opened, restored) = Opened::open(directory.path(), KERNEL_BOOT).expect("reads");
    let expected: ByCookie<_> = [(1, conn(100)), (3, conn(999))].into_iter().collect();
    assert_eq!(restored.conns, expected);
    assert_eq!((restored.position, restored.under_way, restored.cut_ns), (8_192, 2, 77));
    assert_eq!(restored.instance.as_deref(), Some("programs"));
    drop(opened);
    let (_, restored) = Opened::open(directory.path(), "another-boot").expect("reads");
    assert!(restored.conns.is_empty() && restored.position == 0 && restored.instance.is_none());
}

#[test]
fn the_state_outlives_the_files_that_it_was_first_written_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(directory.path(), "first", 1 << 20);
    let mut entry = Entry::new();
    entry.conn(7, Some(&conn(70)));
    journal.append(entry, |_| {}).expect("written");
    for seed in 0..400 {
        let mut entry = Entry::new();
        batch(&mut journal, &mut entry, 1_000, seed);
        journal.append(entry, |whole| whole.conn(7, Some(&conn(70)))).expect("written");
    }
    drop(journal);
    assert!(numbers(directory.path()).expect("reads")[0] > 1, "the first file is gone");
    let (_, restored) = Opened::open(directory.path(), KERNEL_BOOT).expect("reads");
    assert_eq!(restored.conns.get(&7), Some(&conn(70)));
}

/// Killed in the middle of a write: the entries before are there, the torn one is not, whatever its length.
#[test]
fn a_torn_write_costs_its_entry_and_nothing_else() {
    let whole = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(whole.path(), "run", 1 << 20);
    let path = whole.path().join(format!("{:020}.log", 1));
    let mut lengths = vec![fs::metadata(&path).expect("there").len()];
    for cookie in 1..=3 {
        let mut entry = Entry::new();
        batch(&mut journal, &mut entry, 2, cookie);
        entry.conn(cookie, Some(&conn(cookie)));
        journal.append(entry, |_| {}).expect("written");
        lengths.push(fs::metadata(&path).expect("there").len());
    }
    drop(journal);
    let bytes = fs::read(&path).expect("reads");
    for cut in (lengths[0] as usize..=bytes.len()).step_by(97).chain(lengths.iter().map(|len| *len as usize))
    {
        let entries = lengths.iter().filter(|length| **length <= cut as u64).count() - 1;
        for damage in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut torn = bytes[..cut].to_vec();
            if damage && cut > lengths[entries] as usize {
                torn.resize(bytes.len(), 0xa5);
            }
            fs::write(directory.path().join(format!("{:020}.log", 1)), torn).expect("writes");
            let (_, restored) = Opened::open(directory.path(), KERNEL_BOOT).expect("reads");
            assert_eq!(restored.conns.len(), entries, "cut at {cut}, damaged: {damage}");
        }
    }
}

#[test]
fn two_probes_never_share_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(directory.path(), "run", 1 << 20);
    let error = Opened::open(directory.path(), KERNEL_BOOT).err().expect("it is locked");
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(journal);
    open(directory.path(), "next", 1 << 20);
}

#[tokio::test]
async fn without_a_directory_rows_wait_in_memory() {
    let mut journal = Journal::in_memory(identity("run"), 1 << 20).expect("memory");
    (1..=200).for_each(|seed| append(&mut journal, 1_000, seed));
    let spool = journal.spool();
    let dropped = spool.dropped_rows();
    assert!(dropped > 0);
    let taken = take(&spool, true).await;
    assert_eq!(taken.len() as u64 * 1_000 + dropped, 200_000);
}
