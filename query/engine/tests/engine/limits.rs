//! A question costs no more than it may, and nothing once nobody waits for its answer.

use std::time::{Duration, Instant};

use weir_query::{Caller, Lowered};

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
    let sql = "SELECT array_agg(value) FROM generate_series(1, 3000000)";
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

/// An answer that is streamed says that there was more, and never looks whole.
#[tokio::test]
async fn rows_beyond_the_allowed_ones_are_refused_after_those_that_are_not() {
    let world = World::with(Limits { rows: 250, threads: 2, ..Limits::default() }).await.with_flows().await;
    for (sql, expected) in
        [("SELECT * FROM flows", Some("limit.rows")), ("SELECT * FROM flows LIMIT 250", None)]
    {
        let mut answer = world.engine.sql(sql).await.unwrap();
        let (mut rows, mut error) = (0, None);
        while let Some(batch) = answer.next().await {
            match batch {
                Ok(batch) => rows += batch.num_rows(),
                Err(err) => {
                    error = Some(err.code);
                    break;
                }
            }
        }
        assert_eq!((rows, error), (250, expected), "{sql}");
    }
    let cut = world.engine.collect("SELECT * FROM flows", usize::MAX).await.unwrap();
    assert!(cut.is_truncated);
    let lowered = Lowered { rows: Some(3), ..Lowered::default() };
    let cut =
        world.engine.collect(Question { limits: lowered, .."SELECT * FROM flows".into() }, 10).await.unwrap();
    assert_eq!(
        (cut.batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), cut.is_truncated),
        (3, true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_s_own_limits_count_where_they_are_lower() {
    let world = World::with(Limits { threads: 2, ..Limits::default() }).await;
    let time = Lowered { time: Some(Duration::from_millis(200)), ..Lowered::default() };
    let error =
        world.engine.collect(Question { limits: time, ..ENDLESS.into() }, 10).await.expect_err("too slow");
    assert_eq!((error.code, error.message.as_str()), ("limit.time", "stopped after 0.2 s"));
    let memory = Lowered { memory_bytes: Some(1 << 20), ..Lowered::default() };
    let sql = "SELECT array_agg(value) FROM generate_series(1, 3000000)";
    let error =
        world.engine.collect(Question { limits: memory, ..sql.into() }, 10).await.expect_err("too large");
    assert_eq!(error.code, "limit.memory", "{error:?}");
    let more = Lowered { rows: Some(usize::MAX), ..Lowered::default() };
    let error = world
        .engine
        .collect(Question { limits: more, ..sql.into() }, 10)
        .await
        .expect_err("more than there is");
    assert_eq!(error.code, "request.limits");
}

#[tokio::test]
async fn a_turn_lasts_as_long_as_an_answer() {
    let limits = Limits { at_once: 1, waiting: 0, threads: 2, ..Limits::default() };
    let world = World::with(limits).await.with_flows().await;
    let caller = || Caller::at([127, 0, 0, 1].into());
    let asked = world.engine.asked_by(caller()).await.unwrap();
    let answer = asked.sql("SELECT * FROM flows").await.unwrap();
    // What belongs to the same request needs no turn of its own.
    asked.completeness(answer.range, &[]).await.unwrap();
    drop(asked);
    let busy = world.engine.asked_by(Caller::anonymous()).await.expect_err("no turn");
    assert_eq!(busy.code, "limit.busy");
    assert!(busy.hint.is_some());
    // Weir itself waits for nobody.
    assert_eq!(world.rows("SELECT count(*) FROM flows").await, ["300"]);
    drop(answer);
    world.engine.asked_by(caller()).await.expect("a turn");
}
