//! One-minute roll-ups: read where a question allows it, and never with another answer.

use weir_model::FlowRow;
use weir_model::tables::DropRow;

use super::{SECOND, START, World};

const MINUTE: i64 = 60 * SECOND;

fn flow(id: i64, time: i64) -> FlowRow {
    let side = |number: i64| (number % 4 > 0).then(|| format!("team-{}", number % 4).into());
    FlowRow {
        time,
        connection_id: Some(format!("{id:016x}").into()),
        client_namespace: side(id),
        server_namespace: side(id / 4),
        client_ip: Some(format!("10.0.0.{}", id % 200).into()),
        client_port: Some((id % 50_000) as u16),
        server_port: (id % 3 > 0).then_some(443),
        direction: Some(if id % 5 == 0 { "egress" } else { "internal" }.into()),
        encryption: (id % 2 == 0).then(|| "plaintext".into()),
        client_bytes: id * 7,
        server_bytes: 1_000 - id,
        connections: 1,
        client_retransmits: (id % 3 == 0).then_some(id % 5),
        server_retransmits: (id % 7 == 0).then_some(id % 5),
        rtt_us: (id % 4 > 0).then_some(100 + id % 977),
        ..FlowRow::default()
    }
}

/// Flows of 20 minutes that are merged and have a roll-up, later ones in a file that has none, and the newest in memory.
async fn merged() -> World {
    let mut world = World::new().await;
    let start = START - START.rem_euclid(MINUTE);
    for part in 0..4 {
        let ids = part * 3_000..(part + 1) * 3_000;
        let rows: Vec<FlowRow> = ids.map(|id| flow(id, start + id * MINUTE / 600)).collect();
        world.add(&rows).await;
        let drops = (0..500).map(|id| DropRow {
            time: start + part * MINUTE + id * 1_000,
            reason: Some(format!("REASON_{}", id % 3).into()),
            packets: id,
            ..DropRow::default()
        });
        world.add(&drops.collect::<Vec<_>>()).await;
        world.store.seal().await.unwrap();
    }
    world.store.compact().await.unwrap();
    let rows: Vec<FlowRow> = (12_000..12_500).map(|id| flow(id, start + id * MINUTE / 600)).collect();
    world.add(&rows).await;
    world.store.seal().await.unwrap();
    let rows: Vec<FlowRow> = (12_500..13_000).map(|id| flow(id, start + id * MINUTE / 600)).collect();
    world.add(&rows).await;
    let with_rollup = world.store.snapshot(&weir_model::tables::FLOWS);
    let with_rollup: Vec<bool> = with_rollup.segments.iter().map(|file| file.rollup.is_some()).collect();
    assert_eq!(with_rollup, [true, false]);
    world
}

async fn uses_rollups(world: &World, sql: &str) -> bool {
    world.rows(&format!("EXPLAIN {sql}")).await.join("\n").contains("rollups/")
}

/// The question's answer; the same as of rows alone, which a subquery with a limit is always answered by.
async fn answer(world: &World, sql: &str) -> Vec<String> {
    let by_rows = sql
        .replace("FROM flows AS f", "FROM (SELECT * FROM (flows) LIMIT 1000000000) AS f")
        .replace("FROM flows", "FROM (SELECT * FROM (flows) LIMIT 1000000000) AS flows");
    assert!(!uses_rollups(world, &by_rows).await, "{by_rows}");
    let (mut found, mut expected) = (world.rows(sql).await, world.rows(&by_rows).await);
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{sql}");
    found
}

#[tokio::test]
async fn sums_by_what_roll_ups_keep_are_answered_by_them_and_are_the_same_to_the_row() {
    let world = merged().await;
    let (cut, inside) = (START + 5 * MINUTE, START - 10 * MINUTE);
    for sql in [
        "SELECT count(*) FROM flows",
        "SELECT count(*) AS n, count(1) AS again, sum(client_bytes) FROM flows",
        "SELECT client_namespace, sum(client_bytes + server_bytes) AS bytes, count(*) AS flows
         FROM flows GROUP BY client_namespace ORDER BY bytes DESC, 1 LIMIT 20",
        "SELECT client_namespace, server_namespace, count(*) AS flows, sum(client_bytes) AS sent,
            sum(server_bytes) AS received, max(rtt_us) AS worst, min(rtt_us) AS best
         FROM flows WHERE direction = 'internal' GROUP BY client_namespace, server_namespace ORDER BY 1, 2",
        "SELECT client_namespace, server_namespace, server_port, count(*) AS flows FROM flows
         WHERE encryption = 'plaintext' AND client_namespace <> server_namespace GROUP BY ALL ORDER BY flows DESC, 1, 2, 3",
        "SELECT date_trunc('minute', time) AS minute, sum(server_retransmits), sum(client_retransmits)
         FROM flows GROUP BY 1 ORDER BY 1",
        "SELECT date_bin(INTERVAL '5 minutes', time) AS t, client_namespace, sum(connections) FROM flows GROUP BY 1, 2",
        "SELECT f.client_namespace, sum(f.client_bytes) FROM flows AS f GROUP BY f.client_namespace",
        "SELECT upper(client_namespace) AS team, sum(client_bytes) / 2 AS half FROM flows
         GROUP BY team HAVING sum(client_bytes) > 10",
        "SELECT client_namespace, max(server_port), min(direction) FROM flows
         WHERE server_port IN (443, 80) OR server_port IS NULL GROUP BY 1",
        "SELECT sum(client_bytes) FROM flows WHERE direction = 'nowhere'",
        "SELECT count(DISTINCT client_namespace) FROM flows",
        "WITH busy AS (SELECT client_namespace AS ns, count(*) AS n FROM flows GROUP BY 1)
         SELECT a.ns, a.n, b.n FROM busy a JOIN busy b ON a.ns = b.ns",
    ] {
        assert!(uses_rollups(&world, sql).await, "{sql}");
        assert!(!answer(&world, sql).await.is_empty());
        if !sql.contains("WHERE") && !sql.contains(" AS f ") {
            // A time that holds the whole file, and later rows in part.
            let within = sql.replace(
                "FROM flows",
                &format!("FROM flows WHERE time >= to_timestamp_nanos({inside}) AND time < to_timestamp_nanos({})", START + 20 * MINUTE + 50 * SECOND),
            );
            assert!(uses_rollups(&world, &within).await, "{within}");
            answer(&world, &within).await;
            // One that cuts it: by rows.
            let cut = sql.replace("FROM flows", &format!("FROM flows WHERE time >= to_timestamp_nanos({cut})"));
            assert!(!uses_rollups(&world, &cut).await, "{cut}");
            answer(&world, &cut).await;
        }
    }
    assert_eq!(answer(&world, "SELECT count(*) FROM flows").await, ["13000"]);
    assert_eq!(
        world.rows("SELECT reason, sum(packets) FROM drops GROUP BY 1 ORDER BY 1").await,
        ["REASON_0|166332", "REASON_1|167000", "REASON_2|165668"].map(ToOwned::to_owned)
    );
    assert!(uses_rollups(&world, "SELECT reason, sum(packets) FROM drops GROUP BY 1").await);
}

/// What a roll-up doesn't know is answered by rows.
#[tokio::test]
async fn what_roll_ups_do_not_know_is_answered_by_rows() {
    let world = merged().await;
    for sql in [
        "SELECT client_ip, sum(client_bytes) FROM flows GROUP BY client_ip",
        "SELECT sum(client_bytes) FROM flows WHERE client_ip = '10.0.0.1'",
        "SELECT count(DISTINCT client_ip) FROM flows",
        "SELECT count(rtt_us), avg(rtt_us) FROM flows",
        "SELECT sum(rtt_us) FROM flows",
        // A sum of sums is known where a row's sum is not.
        "SELECT sum(client_retransmits + server_retransmits) FROM flows",
        "SELECT sum(client_bytes * 2) FROM flows",
        "SELECT sum(client_bytes) FILTER (WHERE client_port = 1) FROM flows",
        "SELECT max(client_bytes), min(time) FROM flows",
        "SELECT date_trunc('second', time), count(*) FROM flows GROUP BY 1",
        "SELECT date_bin(INTERVAL '90 seconds', time) AS t, count(*) FROM flows GROUP BY 1",
        "SELECT client_namespace, server_namespace, count(*) FROM flows GROUP BY ROLLUP (client_namespace, server_namespace)",
        "SELECT count(*) FROM flows WHERE client_namespace IN (SELECT server_namespace FROM flows WHERE client_port = 7)",
        "SELECT connection_id, client_bytes FROM flows WHERE client_namespace = 'team-1' ORDER BY 1 LIMIT 5",
    ] {
        assert!(!uses_rollups(&world, sql).await, "{sql}");
        answer(&world, sql).await;
    }
}

/// Rows that have little in common would make a roll-up that is as large as they are.
#[tokio::test]
async fn a_roll_up_that_saves_nothing_is_not_made() {
    let mut world = World::new().await;
    for part in 0..2 {
        let rows: Vec<FlowRow> =
            (part * 100..(part + 1) * 100).map(|id| flow(id, START + id * MINUTE / 4)).collect();
        world.add(&rows).await;
        world.store.seal().await.unwrap();
    }
    world.store.compact().await.unwrap();
    let snapshot = world.store.snapshot(&weir_model::tables::FLOWS);
    assert_eq!(snapshot.segments.len(), 1);
    assert_eq!(snapshot.segments[0].rollup, None);
    assert_eq!(answer(&world, "SELECT count(*) FROM flows").await, ["200"]);
}

/// A damaged roll-up costs time and no answers.
#[tokio::test]
async fn without_a_damaged_roll_up_its_file_answers() {
    let world = merged().await;
    let rollup = world.store.snapshot(&weir_model::tables::FLOWS).segments[0].rollup.clone().unwrap();
    let dir = world.store.dir().to_owned();
    let World { store, engine, dir: _folder, .. } = world;
    drop(engine);
    store.close().await.unwrap();
    std::fs::write(dir.join(rollup.path.as_ref()), "not parquet").unwrap();
    let config = weir_store::StoreConfig { dir, ..weir_store::StoreConfig::default() };
    let store = weir_store::Store::open(config).await.unwrap();
    let snapshot = store.snapshot(&weir_model::tables::FLOWS);
    assert!(snapshot.segments.iter().all(|file| file.rollup.is_none()));
    assert_eq!(snapshot.segments.iter().map(|file| file.rows).sum::<u64>(), 13_000);
    assert!(!store.dir().join(rollup.path.as_ref()).exists());
}
