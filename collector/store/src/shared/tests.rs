use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use tempfile::{TempDir, tempdir};
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};

use super::*;
use crate::stops::ids;
use crate::{Compaction, Store, StoreConfig};

const START_NS: i64 = 1_700_000_000_000_000_000;

/// An object store of which some answers get lost: what was asked for is done, and the asker is told of a failure.
#[derive(Debug)]
struct Unanswered {
    store: InMemory,
    puts: AtomicU64,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unanswered")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Unanswered {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let done = self.store.put_opts(at, payload, options).await?;
        if self.puts.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
            return Err(object_store::Error::Generic { store: "test", source: "the answer got lost".into() });
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.store.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

fn shared(objects: Arc<dyn ObjectStore>) -> Shared {
    Shared { refresh: Duration::from_millis(10), ..Shared::of(objects, "a test") }
}

async fn open(dir: &TempDir, shared: &Shared) -> Store {
    let config = StoreConfig {
        dir: dir.path().to_owned(),
        shared: Some(shared.clone()),
        seal_age: Duration::from_hours(1),
        compaction: Compaction { is_on: false, ..Compaction::default() },
        ..StoreConfig::default()
    };
    Store::open(config).await.unwrap()
}

async fn append(store: &Store, node: &str, ids: Range<i64>) {
    let flow = |id| FlowRow {
        time: START_NS + id,
        connection_id: Some(format!("{id:016x}").into()),
        client_bytes: id,
        ..FlowRow::default()
    };
    let meta = BatchMeta::of::<FlowRow>(node, "boot", ids.start as u64);
    let rows: Vec<FlowRow> = ids.map(flow).collect();
    store.append(vec![(meta, FlowRow::to_batch(&rows))]).await.unwrap();
}

fn is_once(ids: &[i64]) -> bool {
    ids.is_sorted_by(|left, right| left < right)
}

/// Appends, seals and merges, beside another who does the same; answers get lost, so some of it has to be tried again.
async fn write(store: Store, node: &'static str, ids: Range<i64>) {
    for (turn, first) in (1..).zip(ids.step_by(4)) {
        append(&store, node, first..first + 4).await;
        if turn % 2 == 0 {
            while store.seal().await.is_err() {}
        }
        if turn % 8 == 0 {
            while store.compact().await.is_err() {}
        }
        tokio::task::yield_now().await;
    }
    while store.seal().await.is_err() {}
}

/// Reads until it is told to end: no row is there twice, and none that was in a file is gone.
async fn read(store: Store, is_over: Arc<AtomicBool>) {
    let mut sealed = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        let found = ids(&store).await;
        assert!(is_once(&found), "a row is seen twice: {found:?}");
        let found: BTreeSet<i64> = found.into_iter().collect();
        assert!(found.is_superset(&sealed), "rows were seen, and are not any more");
        sealed = found;
        tokio::task::yield_now().await;
    }
}

async fn two_writers(shared: Shared) {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (left, right) = (open(&here, &shared).await, open(&there, &shared).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let readers = [&left, &right].map(|store| tokio::spawn(read(store.clone(), is_over.clone())));
    let writers = [
        tokio::spawn(write(left.clone(), "left", 0..200)),
        tokio::spawn(write(right.clone(), "right", 1_000..1_200)),
    ];
    for writer in writers {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    let all: Vec<i64> = (0..200).chain(1_000..1_200).collect();
    for store in [&left, &right] {
        store.refresh().await.unwrap();
        assert_eq!(ids(store).await, all);
    }
    let rows = |store: &Store| store.compacted().rows;
    assert!(rows(&left) + rows(&right) > 0, "nothing was merged");
    // A batch that one of them has in a file is known to the other.
    append(&right, "left", 0..4).await;
    assert_eq!(right.duplicates(), 1);
    left.close().await.unwrap();
    right.close().await.unwrap();

    let checked = check(here.path(), Some(&shared), |_, _| ()).await.unwrap();
    assert_eq!(checked.damaged, []);
    assert_eq!(checked.tables.iter().map(|table| table.rows).sum::<u64>(), all.len() as u64);
    for dir in [&here, &there] {
        let store = open(dir, &shared).await;
        assert_eq!(ids(&store).await, all, "after a restart");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_and_two_readers_of_a_folder_have_each_row_once() {
    let folder = tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    two_writers(Shared { refresh: Duration::from_millis(10), ..Shared::open(&url).unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_and_two_readers_of_an_object_store_have_each_row_once() {
    two_writers(shared(Arc::new(InMemory::new()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_answer_neither_loses_nor_doubles_a_row() {
    two_writers(shared(Arc::new(Unanswered { store: InMemory::new(), puts: AtomicU64::new(0) }))).await;
}

/// Files that are not named by anybody, or not any more, go when nobody can want them any more.
#[tokio::test]
async fn files_stay_for_readers_elsewhere_and_then_go() {
    let shared = shared(Arc::new(InMemory::new()));
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (left, right) = (open(&here, &shared).await, open(&there, &shared).await);
    for first in [0, 4, 8] {
        append(&left, "left", first..first + 4).await;
        left.seal().await.unwrap();
    }
    right.refresh().await.unwrap();
    let reader = right.snapshot(&FLOWS);
    assert_eq!(reader.segments.len(), 3);
    left.compact().await.unwrap();
    let stranger = Path::from("tables/flows/date=2023-11-14/somebody-writes-it.parquet");
    left.objects().put(&stranger, PutPayload::from_static(b"PAR1")).await.unwrap();
    let objects = Objects::open(here.path(), Some(&shared)).unwrap();
    let names = async || objects.list("tables").await.unwrap().len();

    sweep(left.inner(), &shared).await.unwrap();
    assert_eq!(names().await, 5, "a reader elsewhere may have those three");
    let impatient = Shared { grace: Duration::ZERO, ..shared.clone() };
    sweep(right.inner(), &impatient).await.unwrap();
    assert_eq!(names().await, 2, "whoever reads them had time; somebody may be about to name the other");
    let impatient = Shared { unnamed: Duration::ZERO, ..shared };
    sweep(left.inner(), &impatient).await.unwrap();
    assert_eq!(names().await, 1);
    assert_eq!(ids(&right).await, (0..12).collect::<Vec<_>>());
}

fn entry(path: &str) -> FileEntry {
    FileEntry {
        table: "flows".to_owned(),
        path: path.to_owned(),
        size: 1,
        rows: 1,
        min_time: 0,
        max_time: 0,
        came: 0,
        rollup: None,
    }
}

/// The catalog as a writer of that name has it.
async fn entered(objects: &Objects, writer: &str) -> Catalog {
    let mut catalog = Catalog::load(objects.clone()).await.unwrap();
    catalog.enter(writer).await.unwrap();
    catalog
}

#[tokio::test]
async fn a_writer_that_slept_for_long_takes_no_number_twice() {
    let shared = shared(Arc::new(InMemory::new()));
    let objects = Objects::open(FsPath::new("/nowhere"), Some(&shared)).unwrap();
    let mut sleeper = entered(&objects, "sleeper").await;
    let mut other = entered(&objects, "other").await;
    for number in 0..100 {
        let add = vec![entry(&format!("tables/flows/{number}.parquet"))];
        assert!(other.commit(Commit { add, ..Commit::of("other") }).await.unwrap());
    }
    assert!(objects.list("catalog").await.unwrap().len() < 80, "old commits are not there any more");
    let add = vec![entry("tables/flows/late.parquet")];
    assert!(sleeper.commit(Commit { add, ..Commit::of("sleeper") }).await.unwrap());
    let count = |catalog: &Catalog| catalog.state().files().count();
    assert_eq!(count(&sleeper), 101);
    assert!(sleeper.news().is_some());
    other.refresh(false).await.unwrap();
    assert_eq!(count(&other), 101);
    assert_eq!(count(&Catalog::read(objects.clone()).await.unwrap()), 101);

    for _ in 0..100 {
        assert!(sleeper.commit(Commit::of("sleeper")).await.unwrap());
    }
    other.refresh(true).await.unwrap();
    assert_eq!(other.state().last_of("sleeper"), sleeper.state().last_of("sleeper"));
}

#[tokio::test]
async fn of_two_that_replace_a_file_one_does() {
    let shared = shared(Arc::new(InMemory::new()));
    let objects = Objects::open(FsPath::new("/nowhere"), Some(&shared)).unwrap();
    let mut left = entered(&objects, "left").await;
    let mut right = entered(&objects, "right").await;
    let of = |writer, add: &str, remove: &[&str]| Commit {
        add: vec![entry(add)],
        remove: remove.iter().map(|path| (*path).to_owned()).collect(),
        ..Commit::of(writer)
    };
    assert!(left.commit(of("left", "a", &[])).await.unwrap());
    right.refresh(false).await.unwrap();
    assert!(left.commit(of("left", "b", &["a"])).await.unwrap());
    assert!(!right.commit(of("right", "c", &["a"])).await.unwrap(), "a is not there any more");
    for catalog in [&left, &right] {
        assert_eq!(catalog.state().paths().collect::<Vec<_>>(), ["b"]);
        assert!(catalog.state().gone("a").is_some());
    }
    entered(&objects, "left").await;
    let twice = left.refresh(false).await.unwrap_err();
    assert!(matches!(twice, StoreError::Twice { .. }), "{twice}");
}

#[tokio::test]
async fn a_folder_s_files_are_merged_by_one_of_those_who_are_there() {
    let shared = shared(Arc::new(InMemory::new()));
    let objects = Objects::open(FsPath::new("/nowhere"), Some(&shared)).unwrap();
    let mut catalog = Catalog::load(objects).await.unwrap();
    catalog.commit(Commit::of("left")).await.unwrap();
    catalog.commit(Commit::of("right")).await.unwrap();
    let days = (1..=20).map(|day| format!("tables/flows/date=2026-11-{day:02}"));
    let of = |writer: &str, day: &str, now| merges(catalog.state(), writer, day, now);
    let now = commit::now();
    let later = now + 2 * AWAY.as_nanos() as i64;
    let mut left = 0;
    for day in days {
        assert_ne!(of("left", &day, now), of("right", &day, now), "{day}");
        left += u32::from(of("left", &day, now));
        assert!(of("left", &day, later), "the other one went away");
    }
    assert!((2..=18).contains(&left), "{left} of 20");
}

#[test]
fn a_url_that_is_no_place_says_what_is_wrong() {
    for (url, why) in [
        ("weir", "begins with s3://"),
        ("s3://", "s3://BUCKET"),
        ("s3://key:secret@bucket", "AWS_*"),
        ("file://weir", "three slashes"),
    ] {
        let err = Shared::open(url).unwrap_err().to_string();
        assert!(err.contains(why), "{err}");
    }
    let shared = Shared::open("s3://bucket/prefix/").unwrap();
    assert_eq!(
        (shared.to_string(), format!("{shared:?}")),
        ("s3://bucket/prefix".into(), "Shared(s3://bucket/prefix)".into())
    );
}
