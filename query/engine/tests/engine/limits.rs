//! A question costs no more than it may, and nothing once nobody waits for its answer.

use std::time::{Duration, Instant};

use super::*;

/// Far more rows than anyone would wait for.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 10000000000) a, generate_series(1, 1000) b WHERE a.value % 7 = b.value % 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_takes_too_long_is_stopped() {
    let time = Duration::from_millis(300);
    let world = World::with(Limits { time, threads: 2, ..Limits::default() }).await;
    let start = Instant::now();
    let error = world.engine.collect(ENDLESS, 10).await.expect_err("too slow");
    assert_eq!(error.code, "limit.time");
    assert!(error.hint.is_some());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(world.engine.running(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_needs_too_much_memory_is_stopped_and_the_next_is_answered() {
    let world = World::with(Limits { memory_bytes: 4 << 20, threads: 2, ..Limits::default() }).await;
    let sql = "SELECT count(*) FROM (SELECT value, array_agg(value) AS all_of_it FROM generate_series(1, 3000000) GROUP BY value)
               a JOIN generate_series(1, 3000000) b ON a.value = b.value";
    let error = world.engine.collect(sql, 10).await.expect_err("too large");
    assert_eq!(error.code, "limit.memory", "{error:?}");
    assert_eq!(world.rows("SELECT count(*) FROM generate_series(1, 1000)").await, ["1000"]);
}

#[tokio::test]
async fn rows_beyond_the_wanted_ones_are_cut_and_that_is_said() {
    let world = World::new().await.with_flows().await;
    let collected = world.engine.collect("SELECT * FROM flows", 250).await.unwrap();
    assert_eq!(collected.batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 250);
    assert!(collected.is_truncated);
    let whole = world.engine.collect("SELECT * FROM flows", 300).await.unwrap();
    assert!(!whole.is_truncated);
    let none = world.engine.collect("SELECT * FROM flows", 0).await.unwrap();
    assert!(none.is_truncated && none.batches.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_when_its_answer_is_dropped() {
    let world = World::new().await;
    let mut answer = world.engine.sql(ENDLESS).await.unwrap();
    assert_eq!(world.engine.running(), 1);
    let next = tokio::time::timeout(Duration::from_millis(100), answer.next()).await;
    assert!(next.is_err(), "no row that soon");
    drop(answer);
    assert_eq!(world.engine.running(), 0);
    // Its threads are free again: another question is answered at once.
    let answered = tokio::time::timeout(Duration::from_secs(20), world.rows("SELECT 1")).await;
    assert_eq!(answered.unwrap(), ["1"]);
}
