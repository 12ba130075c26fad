//! What a question's memory is counted as is what it takes; what doesn't fit is spilled, and what was spilled is gone after.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::*;

/// What questions have of a process with the least memory.
const LITTLE: usize = 13 << 20;

/// The batch as it arrives: all its columns are parts of one message.
fn received(batch: &RecordBatch) -> RecordBatch {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    let message = writer.into_inner().unwrap();
    StreamReader::try_new(message.as_slice(), None).unwrap().next().unwrap().unwrap()
}

/// Some thousand flows in memory, in small batches as probes send them: the page of flows must have its answer.
#[tokio::test]
async fn a_few_thousand_new_flows_are_sorted_in_little_memory() {
    let mut world = World::with(Limits { memory_bytes: LITTLE, threads: 2, ..Limits::default() }).await;
    let mut batches = Vec::new();
    for number in 0..400 {
        let rows = flows(number * 20..(number + 1) * 20, START);
        world.batches += 1;
        let meta = BatchMeta::of::<FlowRow>("node-1", "boot", world.batches);
        batches.push((meta, received(&FlowRow::to_batch(&rows))));
    }
    world.store.append(batches).await.unwrap();
    let stats = world.store.stats().into_iter().find(|table| table.table == "flows").unwrap();
    assert_eq!((stats.rows_memory, stats.files), (8_000, 0));
    for sql in [
        "SELECT * FROM flows ORDER BY time DESC LIMIT 501",
        "SELECT * FROM flows WHERE time > to_timestamp(0) ORDER BY client_bytes % 7919 LIMIT 501",
        "SELECT * FROM flows WHERE server_port = 443 ORDER BY time LIMIT 1001",
        "SELECT * FROM flows ORDER BY client_bytes % 7919",
    ] {
        let answer = world.engine.collect(sql, 501).await.unwrap_or_else(|err| panic!("{sql}: {err:?}"));
        assert_eq!(answer.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 501, "{sql}");
    }
    assert_eq!(world.rows("SELECT count(*), sum(client_bytes) FROM flows").await, ["8000|31996000"]);
}

/// Sorts, groups and joins, each many times larger than the memory.
const LARGE: [(&str, &str, &str); 5] = [
    (
        "sort",
        "SELECT count(*), sum(n * (value % 1009)) FROM (SELECT value, row_number() OVER (ORDER BY value * 7919 % 1000003, value) AS n,
            repeat('x', 40) AS pad FROM generate_series(1, 300000)) WHERE length(pad) = 40",
        "SortExec",
    ),
    (
        "order by",
        "SELECT value * 7919 % 1000003 AS key, repeat('x', 40) AS pad FROM generate_series(1, 300000) ORDER BY key",
        "SortExec",
    ),
    (
        "groups",
        "SELECT count(*), sum(n), sum(most) FROM (SELECT value % 150000 AS key, count(*) AS n, max(value) AS most, min(concat('a long text ', value)) AS t
            FROM generate_series(1, 300000) GROUP BY key) WHERE length(t) > 3",
        "AggregateExec",
    ),
    (
        "first rows",
        "SELECT value * 7919 % 1000003 AS key, repeat('x', 40) AS pad FROM generate_series(1, 300000) ORDER BY key LIMIT 200000",
        "SortExec",
    ),
    (
        "join",
        "SELECT count(*), sum(a.value), sum(length(a.t) + length(b.t)) FROM
            (SELECT value, concat(repeat('x', 40), value) AS t FROM generate_series(1, 300000)) a
            JOIN (SELECT value, concat(repeat('y', 40), value) AS t FROM generate_series(100000, 400000)) b ON a.value = b.value",
        "SortExec",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_spilled_and_the_answer_is_the_same() {
    let large = World::with(Limits { threads: 2, ..Limits::default() }).await;
    let small = World::with(Limits { memory_bytes: 12 << 20, threads: 2, ..Limits::default() }).await;
    for (what, sql, spills) in LARGE {
        let expected = large.rows(sql).await;
        let answer = small.rows(sql).await;
        assert!(answer == expected, "{what}: {:?} and not {:?}", answer.first(), expected.first());
        let plan = small.rows(format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
        let has_spilled = plan
            .lines()
            .filter(|line| line.contains(spills))
            .filter_map(|line| line.split("spill_count=").nth(1))
            .any(|count| !count.starts_with('0'));
        assert!(has_spilled, "{what}: nothing was spilled: {plan}");
        let is_gone = async {
            while read_only::paths(&small.dir.path().join("data/spill")).iter().any(|path| path.is_file()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let within = std::time::Duration::from_mins(1);
        tokio::time::timeout(within, is_gone)
            .await
            .unwrap_or_else(|_| panic!("{what}: spilled files are left"));
    }
}

#[tokio::test]
async fn what_a_killed_process_left_spilled_is_removed() {
    let world = World::new().await;
    let left = world.dir.path().join("data/spill/datafusion-x/left");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, "rows").unwrap();
    let _engine = Engine::new(world.store.clone(), Limits::default()).unwrap();
    assert!(!left.exists());
}

/// `range` and its like make values that no operator counts.
#[tokio::test]
async fn little_text_cannot_ask_for_much_memory() {
    let world = World::new().await.with_flows().await;
    for sql in [
        "SELECT range(0, 10000000000)",
        "SELECT cardinality(generate_series(1, 1000000000))",
        "SELECT range(client_bytes, 4000000) FROM flows",
        "SELECT generate_series(timestamp '1970-01-01', timestamp '2026-01-01', interval '1 millisecond')",
        "SELECT length(repeat('x', 2000000000))",
        "SELECT length(repeat(client_process, 1000000)) FROM flows",
        "SELECT length(lpad('x', 1000000000))",
        "SELECT length(rpad('x', 1000000000, 'y'))",
        "SELECT cardinality(array_repeat(1, 1000000000))",
        "SELECT cardinality(array_resize([1], 1000000000))",
    ] {
        let error = world.engine.collect(sql, 10).await.expect_err(sql);
        assert_eq!(error.code, "limit.memory", "{sql}: {error:?}");
        assert!(error.hint.is_some(), "{sql}");
    }
    assert_eq!(
        world.rows("SELECT cardinality(range(0, 1000)), length(repeat('ab', 3)), lpad('x', 3, '0')").await,
        ["1000|6|00x"]
    );
    assert_eq!(world.rows("SELECT generate_series(timestamp '2026-01-01', timestamp '2026-01-03', interval '1 day')[3] = timestamp '2026-01-03'").await, ["true"]);
    assert_eq!(
        world
            .rows(
                "SELECT cardinality(array_repeat(1, 5)), cardinality(array_resize([1], 4)), rpad('x', 3, 'y')"
            )
            .await,
        ["5|4|xyy"]
    );
}
