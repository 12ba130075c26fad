//! Memory and files are one table; filters, groups, joins and functions are right over both.

use arrow::datatypes::DataType;
use weir_query::TimeRange;
use weir_store::Retention;

use super::*;

#[tokio::test]
async fn memory_and_files_are_one_table() {
    let world = World::new().await.with_flows().await;
    let stats = world.store.stats().into_iter().find(|table| table.table == "flows").unwrap();
    assert_eq!((stats.rows_memory, stats.rows_sealed, stats.files), (100, 200, 2));
    let sums = "SELECT count(*), sum(client_bytes), min(client_bytes), max(client_bytes) FROM flows";
    assert_eq!(world.rows(sums).await, ["300|44850|0|299"]);
    world.store.seal().await.unwrap();
    assert_eq!(world.rows(sums).await, ["300|44850|0|299"]);
}

#[tokio::test]
async fn counting_and_the_newest_row_read_no_file() {
    let world = World::new().await.with_flows().await;
    world.store.seal().await.unwrap();
    let plan = world.rows("EXPLAIN SELECT count(*), max(time) FROM flows").await.join("\n");
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    assert_eq!(world.rows("SELECT count(*), max(time) FROM flows").await, ["300|2023-11-15T00:13:20.299Z"]);
}

#[tokio::test]
async fn counts_beside_distinct_counts_are_those_of_the_rows() {
    let world = World::new().await.with_flows().await;
    let groups = "FROM flows GROUP BY client_process ORDER BY client_process";
    let sql = format!(
        "SELECT client_process, count(DISTINCT client_namespace), count(*), count(client_namespace) AS named,
            count(DISTINCT client_namespace) + count(1) AS both, sum(client_bytes) {groups}"
    );
    // Every third flow has no namespace: it is counted as a row, and as nobody's.
    assert_eq!(world.rows(&sql).await, ["curl|2|150|100|152|22350", "nginx|2|150|100|152|22500"]);
    // A set of texts for each group is what the rules are there to avoid.
    let plan = world.rows(&format!("EXPLAIN {sql}")).await.join("\n");
    assert!(plan.contains("aggr=[count_distinct_texts(flows.client_namespace), "), "{plan}");
    let numbers = format!("SELECT client_process, count(DISTINCT client_bytes), count(*) {groups}");
    assert_eq!(world.rows(&numbers).await, ["curl|150|150", "nginx|150|150"]);
    let plan = world.rows(&format!("EXPLAIN {numbers}")).await.join("\n");
    assert!(plan.contains("aggr=[count(alias1), sum(alias2)"), "{plan}");
    // Of two texts, under a condition, and by an expression.
    let several = "SELECT client_bytes % 2 AS odd, count(DISTINCT client_ip) AS ips, count(DISTINCT client_process) AS processes,
            count(DISTINCT client_ip) FILTER (WHERE client_bytes < 4) AS few, count(DISTINCT upper(client_namespace)) AS upper
        FROM flows GROUP BY 1 ORDER BY 1";
    assert_eq!(world.rows(several).await, ["0|5|1|2|2", "1|5|1|2|2"]);
    let none = "SELECT count(DISTINCT client_ip), count(*) FROM flows WHERE client_bytes < 0";
    assert_eq!(world.rows(none).await, ["0|0"]);
    let having = "SELECT client_ip FROM flows GROUP BY client_ip HAVING count(DISTINCT client_process) = 1 AND count(*) > 29 ORDER BY 1";
    assert_eq!(world.rows(having).await.len(), 10);
}

#[tokio::test]
async fn text_is_filtered_and_grouped_alike_in_memory_and_files() {
    let world = World::new().await.with_flows().await;
    assert_eq!(world.rows("SELECT count(*) FROM flows WHERE server_ip = 'fd00::1'").await, ["60"]);
    assert_eq!(
        world
            .rows(
                "SELECT client_namespace, client_process, count(*), sum(client_bytes) FROM flows
                 GROUP BY client_namespace, client_process ORDER BY 1 NULLS FIRST, 2"
            )
            .await,
        [
            "|curl|50|7350",
            "|nginx|50|7500",
            "team-1|curl|50|7550",
            "team-1|nginx|50|7400",
            "team-2|curl|50|7450",
            "team-2|nginx|50|7600"
        ]
    );
    assert_eq!(
        world.rows("SELECT DISTINCT client_process FROM flows WHERE client_process LIKE 'ng%'").await,
        ["nginx"]
    );
}

#[tokio::test]
async fn a_filter_s_own_column_need_not_be_in_the_answer() {
    let world = World::new().await.with_flows().await;
    let sql = "SELECT client_bytes FROM flows WHERE connection_id IN ('0000000000000005', '00000000000000fa')
               AND client_namespace IS NOT NULL AND rtt_us > 1000 ORDER BY client_bytes";
    assert_eq!(world.rows(sql).await, ["5", "250"]);
    assert_eq!(world.rows("SELECT 1 FROM flows WHERE client_bytes = 5 OR server_bytes = 500").await.len(), 2);
    let limited = world.rows("SELECT client_bytes FROM flows WHERE client_bytes >= 50 LIMIT 7").await;
    assert_eq!(limited.len(), 7);
    assert!(limited.iter().all(|bytes| bytes.parse::<i64>().unwrap() >= 50), "{limited:?}");
}

#[tokio::test]
async fn a_time_range_leaves_out_files_and_only_files() {
    let world = World::new().await.with_flows().await;
    let plan = |sql: &'static str| {
        let world = &world;
        async move { world.rows(&format!("EXPLAIN {sql}")).await.join("\n") }
    };
    let second = "SELECT count(client_bytes) FROM flows WHERE time >= TIMESTAMP '2023-11-14 23:00:00'
                  AND time < TIMESTAMP '2023-11-15 00:00:00'";
    assert_eq!(world.rows(second).await, ["100"]);
    let plan_of_second = plan(second).await;
    assert_eq!(plan_of_second.matches(".parquet").count(), 1, "{plan_of_second}");
    let path = world.store.snapshot(&weir_model::tables::FLOWS).segments[1].path.to_string();
    assert!(plan_of_second.contains(&path), "{plan_of_second}");
}

#[tokio::test]
async fn tables_join_and_lists_come_out_plain() {
    let mut world = World::new().await.with_flows().await;
    world.add(&[handshake(5, "h2"), handshake(250, "h3")]).await;
    let sql = "SELECT f.client_bytes, h.tls_sni, h.tls_alpn_offered[1] FROM flows f
               JOIN tls_handshakes h USING (connection_id) ORDER BY 1";
    assert_eq!(world.rows(sql).await, ["5|api-5.example|h2", "250|api-250.example|h3"]);
    let answer =
        world.engine.collect("SELECT * FROM flows JOIN tls_handshakes USING (connection_id)", 10).await;
    for field in answer.unwrap().schema.fields() {
        assert!(!matches!(field.data_type(), DataType::Utf8View | DataType::Dictionary(_, _)), "{field}");
    }
}

#[tokio::test]
async fn a_question_sees_one_snapshot_of_a_table() {
    let world = World::new().await.with_flows().await;
    let sql = "SELECT count(*) FROM flows a JOIN flows b USING (connection_id) WHERE a.client_bytes = b.client_bytes";
    let mut answer = world.engine.sql(sql).await.unwrap();
    world
        .store
        .append(vec![(BatchMeta::of::<FlowRow>("other", "boot", 1), FlowRow::to_batch(&flows(0..9, START)))])
        .await
        .unwrap();
    world.store.seal().await.unwrap();
    let mut rows = 0;
    while let Some(batch) = answer.next().await {
        let batch = batch.unwrap();
        rows += batch.num_rows();
        assert_eq!(array_value_to_string(batch.column(0), 0).unwrap(), "300");
    }
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn functions_about_networks() {
    let world = World::new().await.with_flows().await;
    assert_eq!(
        world
            .rows("SELECT ip_family(server_ip), count(*) FROM flows WHERE cidr_contains('fd00::/8', server_ip) GROUP BY 1")
            .await,
        ["6|60"]
    );
    assert_eq!(world.rows("SELECT cidr_contains('10.0.0.0/8', NULL), ip_family('nonsense')").await, ["|"]);
}

#[tokio::test]
async fn percentiles_in_one_word_are_near_the_exact_ones() {
    let world = World::new().await.with_flows().await;
    let sql = "SELECT p50(rtt_us), p95(rtt_us), p99(rtt_us) FILTER (WHERE client_bytes < 100),
               percentile_cont(0.95) WITHIN GROUP (ORDER BY rtt_us) FROM flows";
    let row = world.rows(sql).await.remove(0);
    let values: Vec<f64> = row.split('|').map(|value| value.parse().unwrap()).collect();
    for (found, exact) in values.iter().zip([1149.5, 1284.05, 1098.01, 1284.05]) {
        assert!((found - exact).abs() <= 0.006 * exact, "{row}");
    }
    assert_eq!(
        world.rows("SELECT client_process, p90(rtt_us) > 1200 FROM flows GROUP BY 1 ORDER BY 1").await,
        ["curl|true", "nginx|true"]
    );
    // Groups of thirty are exact, and nothing has no percentile.
    let of_ten = "SELECT client_ip, p50(rtt_us), percentile_cont(0.5) WITHIN GROUP (ORDER BY rtt_us) FROM flows GROUP BY 1 ORDER BY 1";
    for row in world.rows(of_ten).await {
        let [_, found, exact] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        assert_eq!(found, exact);
    }
    assert_eq!(world.rows("SELECT p50(rtt_us), p99(rtt_us) FROM flows WHERE client_bytes < 0").await, ["|"]);
}

#[tokio::test]
async fn the_schema_can_be_asked_for() {
    let world = World::new().await;
    let columns = world.rows("DESCRIBE flows").await;
    assert_eq!(columns.len(), weir_model::tables::FLOWS.columns.len());
    assert!(columns[0].starts_with("time|"), "{}", columns[0]);
    let tables = world.rows("SHOW TABLES").await.join("\n");
    for table in weir_model::tables::ALL {
        assert!(tables.contains(table.name), "{tables}");
    }
}

#[tokio::test]
async fn an_answer_knows_its_own_time_range() {
    let world = World::new().await.with_flows().await;
    let range = async |sql: &str| world.engine.sql(sql).await.unwrap().range;
    assert_eq!(
        range(
            "SELECT count(client_bytes) FROM flows WHERE time >= to_timestamp_nanos(5) AND time < TIMESTAMP '1970-01-01 00:00:01'"
        )
        .await,
        TimeRange { from: 5, until: SECOND }
    );
    assert_eq!(range("SELECT client_ip FROM flows").await, TimeRange::ALL);
    let ago = range("SELECT client_ip FROM flows WHERE time > now() - INTERVAL '1 hour'").await;
    assert!(ago.from > START && ago.until == i64::MAX, "{ago:?}");
}

#[tokio::test]
async fn an_answer_says_what_is_missing_in_its_range_and_only_there() {
    let mut world = World::new().await.with_flows().await;
    let end = START + 7200 * SECOND;
    world
        .add(&[
            health(START, "node-1", "lost", 7),
            health(end - 5 * SECOND, "node-1", "gauge", 1),
            health(end - 300 * SECOND, "node-2", "gauge", 1),
            health(end - 300 * SECOND, "node-2", "shed", 2),
            health(end - 300 * SECOND, "node-2", "meant", 9),
        ])
        .await;
    let within =
        async |from, until| world.engine.completeness(TimeRange { from, until }, &["flows"]).await.unwrap();
    let all = within(i64::MIN, end).await;
    assert_eq!((all.complete, all.lost, all.shed, all.late, all.probes_silent), (false, 7, 2, 0, 1));
    let later = within(START + SECOND, end - 400 * SECOND).await;
    assert_eq!((later.lost, later.shed), (0, 0));
    let long_after = within(end + 7200 * SECOND, end + 8000 * SECOND).await;
    assert!(long_after.complete, "{long_after:?}");
}

#[tokio::test]
async fn an_answer_says_that_its_times_begin_before_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age: Some(std::time::Duration::ZERO), ..Retention::default() };
    let config = StoreConfig { dir: dir.path().join("data"), retention, ..StoreConfig::default() };
    let store = Store::open(config).await.unwrap();
    let engine = Engine::new(store.clone(), Limits::default()).unwrap();
    let mut world = World { dir, store, engine, batches: 0 }.with_flows().await;
    assert_eq!(world.store.retain().await.unwrap(), 200);
    world.add(&[health(START, "node-1", "gauge", 1)]).await;
    let of = async |from, tables: &[&str]| {
        world.engine.completeness(TimeRange { from, until: i64::MAX }, tables).await.unwrap()
    };
    let before = of(START, &["flows"]).await;
    assert_eq!(
        before.deleted_until.as_deref(),
        Some("2023-11-14T23:13:20.199Z"),
        "the last of the second file"
    );
    assert!(!before.complete && before.message.contains("are deleted"), "{before:?}");
    for (from, tables) in [(START + 3700 * SECOND, ["flows"]), (START, ["spans"]), (i64::MIN, ["flows"])] {
        let after = of(from, &tables).await;
        assert!(after.complete && after.deleted_until.is_none(), "{after:?}");
    }
}
