use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::{TempDir, tempdir};
use weir_model::BatchMeta;

use super::*;
use crate::seen::Seen;
use crate::wal::Position;

/// A catalog's folder, opened as often as one likes.
struct Folder {
    dir: TempDir,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempdir().unwrap() }
    }

    async fn try_open(&self) -> Result<Catalog, StoreError> {
        Catalog::load(Objects::open(self.dir.path(), None).unwrap()).await
    }

    async fn open(&self) -> Catalog {
        self.try_open().await.unwrap()
    }

    fn commit_file(&self, number: u64) -> PathBuf {
        self.dir.path().join(format!("catalog/{number:020}.json"))
    }

    fn checkpoint_file(&self, number: u64) -> PathBuf {
        self.dir.path().join(format!("catalog/{number:020}.checkpoint.json"))
    }

    /// One commit for each file, which it adds.
    async fn with_files(names: std::ops::Range<u64>) -> Folder {
        let folder = Folder::new();
        let mut catalog = folder.open().await;
        for name in names {
            catalog.commit(adds("w", name)).await.unwrap();
        }
        folder
    }
}

fn path_of(name: u64) -> String {
    format!("tables/flows/date=2026-11-24/{name}.parquet")
}

fn entry(name: u64) -> FileEntry {
    let name_ns = name as i64;
    FileEntry {
        table: "flows".into(),
        path: path_of(name),
        size: 1000 + name,
        rows: name,
        min_time: name_ns,
        max_time: name_ns + 1,
        came: name_ns,
        rollup: None,
    }
}

fn commit_of(writer: &str, add: &[u64], remove: &[u64]) -> Commit {
    let upto = add.iter().copied().max().unwrap_or(0);
    Commit {
        add: add.iter().map(|name| entry(*name)).collect(),
        remove: remove.iter().map(|name| path_of(*name)).collect(),
        sealed: BTreeMap::from([("flows".to_owned(), Position { segment: 1, offset: upto })]),
        ..Commit::of(writer)
    }
}

fn adds(writer: &str, name: u64) -> Commit {
    commit_of(writer, &[name], &[])
}

/// The files that a table has: their rows are their names in these tests.
fn names(catalog: &Catalog) -> Vec<u64> {
    let mut names: Vec<u64> = catalog.state().files().map(|file| file.rows).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = Folder::new();
    let mut catalog = folder.open().await;
    assert_eq!(names(&catalog), [] as [u64; 0]);
    let meta = BatchMeta {
        schema_version: 1,
        table: "flows".into(),
        node: "n".into(),
        boot_id: "b".into(),
        sequence: 7,
    };
    let mut seen = Seen::default();
    seen.insert(&meta, 1);
    let commit = Commit { seen: seen.entries(), ..commit_of("w", &[1, 2], &[]) };
    catalog.commit(commit).await.unwrap();
    catalog.commit(adds("other", 3)).await.unwrap();
    for catalog in [catalog, folder.open().await] {
        assert_eq!(names(&catalog), [1, 2, 3]);
        assert_eq!(catalog.state().files().find(|file| file.rows == 2), Some(&entry(2)));
        // Each writer's log is sealed for itself.
        assert_eq!(catalog.state().sealed("w")["flows"], Position { segment: 1, offset: 2 });
        assert_eq!(catalog.state().sealed("other")["flows"], Position { segment: 1, offset: 3 });
        assert_eq!(catalog.state().sealed("nobody"), BTreeMap::new());
        assert!(catalog.state().seen().contains(&meta), "a resent batch is known");
        assert!(!catalog.state().seen().contains(&BatchMeta { sequence: 8, ..meta.clone() }));
    }
}

/// Compaction and retention take files away and bring others, in one step.
#[tokio::test]
async fn a_removed_file_is_gone_and_its_successor_there() {
    let folder = Folder::with_files(1..4).await;
    let mut catalog = folder.open().await;
    catalog.commit(commit_of("w", &[12], &[1, 2])).await.unwrap();
    for catalog in [catalog, folder.open().await] {
        assert_eq!(names(&catalog), [3, 12]);
        assert!(!catalog.state().has(&path_of(1)) && catalog.state().has(&path_of(12)));
    }
}

#[tokio::test]
async fn a_folder_that_is_no_catalogs_business_is_left_alone() {
    let folder = Folder::with_files(1..3).await;
    fs::write(folder.dir.path().join("catalog/notes.txt"), "of a person").unwrap();
    fs::write(folder.dir.path().join("catalog/backup.json"), "{}").unwrap();
    assert_eq!(names(&folder.open().await), [1, 2]);
}

/// Power lost while the last commit was written: nobody was told of it, its rows are in the log.
#[tokio::test]
async fn a_commit_torn_at_any_byte_never_happened() {
    let folder = Folder::with_files(1..4).await;
    let last = folder.commit_file(3);
    let bytes = fs::read(&last).unwrap();
    for keep in 0..bytes.len() {
        fs::write(&last, &bytes[..keep]).unwrap();
        let mut catalog = folder.open().await;
        assert_eq!(names(&catalog), [1, 2], "cut at {keep}");
        assert!(!last.exists(), "cut at {keep}: its number is free again");
        if keep % 50 == 0 {
            catalog.commit(adds("w", 9)).await.unwrap();
            assert_eq!(names(&folder.open().await), [1, 2, 9], "cut at {keep}");
        }
    }
    fs::write(&last, vec![0; bytes.len()]).unwrap();
    assert_eq!(names(&folder.open().await), [1, 2], "its bytes never reached the disk");
    fs::write(&last, &bytes).unwrap();
    assert_eq!(names(&folder.open().await), [1, 2, 3]);
}

/// What isn't the last can't have been torn by a crash: going on would lose its files without a word.
#[tokio::test]
async fn damage_that_no_crash_leaves_stops_the_start_and_names_the_file() {
    let folder = Folder::with_files(1..4).await;
    let (middle, last) = (folder.commit_file(2), folder.commit_file(3));
    let (middle_bytes, last_bytes) = (fs::read(&middle).unwrap(), fs::read(&last).unwrap());

    fs::write(&middle, &middle_bytes[..40]).unwrap();
    let err = folder.try_open().await.unwrap_err().to_string();
    assert!(err.starts_with("catalog/00000000000000000002.json is damaged (EOF"), "{err}");
    fs::write(&middle, &middle_bytes).unwrap();

    // Whole, but not what was written.
    fs::write(&last, String::from_utf8(last_bytes.clone()).unwrap().replace("\"rows\":3", "\"rows\":x"))
        .unwrap();
    let err = folder.try_open().await.unwrap_err().to_string();
    assert!(err.contains("00000000000000000003.json is damaged"), "{err}");
    fs::write(&last, &last_bytes).unwrap();

    fs::remove_file(&middle).unwrap();
    let err = folder.try_open().await.unwrap_err().to_string();
    assert!(err.contains("00000000000000000002.json is damaged (missing, but 3 is there)"), "{err}");
}

#[tokio::test]
async fn a_newer_versions_catalog_is_not_misread() {
    let folder = Folder::with_files(1..2).await;
    let mut catalog = folder.open().await;
    catalog.commit(Commit { format: FORMAT + 1, ..adds("w", 2) }).await.unwrap();
    let err = folder.try_open().await.unwrap_err();
    assert!(matches!(err, StoreError::Format { found, known: FORMAT, .. } if found == FORMAT + 1), "{err}");
}

/// Create-if-absent: of two writers with one number one wins, the other takes the next and has both.
#[tokio::test]
async fn writers_that_commit_at_the_same_time_lose_nothing() {
    let folder = Folder::new();
    let (mut left, mut right) = (folder.open().await, folder.open().await);
    for round in 0..40 {
        left.commit(adds("left", 1000 + round)).await.unwrap();
        right.commit(adds("right", 2000 + round)).await.unwrap();
        if round % 3 == 0 {
            right.commit(commit_of("right", &[3000 + round], &[2000 + round])).await.unwrap();
        }
    }
    left.commit(adds("left", 1)).await.unwrap();
    let reloaded = folder.open().await;
    assert_eq!(names(&left), names(&reloaded));
    assert_eq!(names(&reloaded).len(), 81);
    assert_eq!(reloaded.state().sealed("right")["flows"].offset, 3039);
}

#[tokio::test]
async fn checkpoints_replace_old_commits() {
    let folder = Folder::with_files(0..2 * CHECKPOINT_EVERY + 5).await;
    let objects = Objects::open(folder.dir.path(), None).unwrap();
    let listing = list(&objects).await.unwrap();
    assert_eq!(listing.checkpoints, [CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY]);
    assert_eq!(listing.commits.first(), Some(&(CHECKPOINT_EVERY + 1)), "enough for the older checkpoint");
    assert_eq!(listing.commits.last(), Some(&(2 * CHECKPOINT_EVERY + 5)));
    let all: Vec<u64> = (0..2 * CHECKPOINT_EVERY + 5).collect();
    assert_eq!(names(&folder.open().await), all);
}

/// Each checkpoint is worth nothing without the other way to the same state.
#[tokio::test]
async fn a_damaged_checkpoint_costs_nothing() {
    let folder = Folder::with_files(0..2 * CHECKPOINT_EVERY + 5).await;
    let all: Vec<u64> = (0..2 * CHECKPOINT_EVERY + 5).collect();
    let newest = folder.checkpoint_file(2 * CHECKPOINT_EVERY);
    let bytes = fs::read(&newest).unwrap();
    for damaged in [&b""[..], &[0; 100], &bytes[..bytes.len() / 2], b"{\"format\":1}"] {
        fs::write(&newest, damaged).unwrap();
        assert_eq!(names(&folder.open().await), all);
    }
    fs::remove_file(&newest).unwrap();
    assert_eq!(names(&folder.open().await), all);
}

/// Both checkpoints lost: the commits before them are gone, and that is said, not papered over.
#[tokio::test]
async fn a_catalog_without_its_beginning_is_an_error() {
    let folder = Folder::with_files(0..2 * CHECKPOINT_EVERY + 5).await;
    for number in [CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY] {
        fs::write(folder.checkpoint_file(number), "").unwrap();
    }
    let err = folder.try_open().await.unwrap_err().to_string();
    assert!(err.contains("00000000000000000001.json is damaged (missing, but 33 is there)"), "{err}");
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u64>),
    Replace(Vec<u64>, Vec<u64>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(0_u64..30, 0..4);
    prop_oneof![
        4 => some().prop_map(Step::Add),
        3 => (some(), some()).prop_map(|(add, remove)| Step::Replace(add, remove)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Replay, over checkpoints and restarts, gives what a set would hold.
    #[test]
    fn commits_add_up(steps in proptest::collection::vec(step(), 0..90)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new();
            let mut catalog = folder.open().await;
            let mut expected = BTreeSet::new();
            for step in &steps {
                let (add, remove) = match step {
                    Step::Add(add) => (&add[..], &[][..]),
                    Step::Replace(add, remove) => (&add[..], &remove[..]),
                    Step::Reopen => {
                        catalog = folder.open().await;
                        continue;
                    }
                };
                let is_done = catalog.commit(commit_of("w", add, remove)).await.unwrap();
                prop_assert_eq!(is_done, remove.iter().all(|name| expected.contains(name)));
                if is_done {
                    expected.retain(|name| !remove.contains(name));
                    expected.extend(add);
                }
                prop_assert!(names(&catalog).iter().eq(&expected));
            }
            prop_assert!(names(&folder.open().await).iter().eq(&expected));
            Ok(())
        })?;
    }
}
