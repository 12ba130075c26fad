//! A question that nobody waits for any more is worked on no longer: every kind of work gives way, and no task goes on.

use std::time::{Duration, Instant};

use super::*;

/// Far longer than anyone would wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Each would run for minutes, most of it in one kind of operator.
const ENDLESS: [(&str, &str); 10] = [
    (
        "cross join",
        "SELECT count(*) FROM generate_series(1, 10000000000) a, generate_series(1, 1000) b WHERE a.value % 7 = b.value % 5",
    ),
    (
        "many rows of each that is read",
        "SELECT max(a.value + b.value) FROM generate_series(1, 100000) a, generate_series(1, 10000000000) b",
    ),
    (
        "join on a condition",
        "SELECT count(*) FROM generate_series(1, 10000) a JOIN generate_series(1, 10000000000) b ON a.value + b.value < 0",
    ),
    (
        "hash join",
        "SELECT count(*) FROM generate_series(1, 10000000000) a JOIN generate_series(1, 100000) b ON a.value % 10 = b.value % 10",
    ),
    ("aggregate", "SELECT sum(value % 17) FROM generate_series(1, 100000000000)"),
    ("groups", "SELECT value % 1000, count(*), avg(value) FROM generate_series(1, 100000000000) GROUP BY 1"),
    ("sort", "SELECT value FROM generate_series(1, 100000000000) ORDER BY value % 1000003 LIMIT 10"),
    ("distinct", "SELECT count(DISTINCT value % 1000) FROM generate_series(1, 100000000000)"),
    ("window", "SELECT max(n) FROM (SELECT row_number() OVER () AS n FROM generate_series(1, 100000000000))"),
    (
        "recursion",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 100000000000) SELECT count(*) FROM r",
    ),
];

async fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// The runtime is this test's own, so its tasks and its processor time are the question's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_work_ends_with_its_question() {
    let world = World::new().await;
    world.rows("SELECT count(*) FROM flows").await;
    let runtime = tokio::runtime::Handle::current();
    let busy = || (0..2).map(|worker| runtime.metrics().worker_total_busy_duration(worker)).sum::<Duration>();
    let idle_tasks = runtime.metrics().num_alive_tasks();
    for (what, sql) in ENDLESS {
        let engine = world.engine.clone();
        let before = busy();
        let question =
            tokio::spawn(async move { engine.collect(sql, 10).await.map(|answer| answer.batches.len()) });
        until(what, || busy() > before + Duration::from_millis(100)).await;
        assert!(!question.is_finished(), "{what}: {:?}", question.await);
        question.abort();
        let took =
            until(what, || world.engine.running() == 0 && runtime.metrics().num_alive_tasks() == idle_tasks)
                .await;
        eprintln!("{what}: ended {took:?} after it was left");
        // And the processors have nothing to do.
        let quiet = async {
            loop {
                let before = busy();
                tokio::time::sleep(Duration::from_millis(50)).await;
                if busy().saturating_sub(before) < Duration::from_millis(10) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, quiet)
            .await
            .unwrap_or_else(|_| panic!("{what}: it is worked on still"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_when_its_answer_is_dropped() {
    let world = World::new().await;
    let mut answer = world.engine.sql(ENDLESS[0].1).await.unwrap();
    assert_eq!(world.engine.running(), 1);
    let next = tokio::time::timeout(Duration::from_millis(100), answer.next()).await;
    assert!(next.is_err(), "no row that soon");
    drop(answer);
    assert_eq!(world.engine.running(), 0);
    // Its threads are free again: another question is answered at once.
    let answered = tokio::time::timeout(PATIENCE, world.rows("SELECT 1")).await;
    assert_eq!(answered.unwrap(), ["1"]);
}
