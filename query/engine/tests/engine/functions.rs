//! Our functions, and what is told of all.

use super::*;

#[tokio::test]
async fn functions_for_networks_and_times() {
    let world = World::new().await.with_flows().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM flows WHERE cidr_contains('10.0.0.0/31', client_ip)", "60"),
        ("SELECT cidr_contains('fd00::/8', 'fd12::1'), cidr_contains('10.0.0.0/8', 'no address')", "true|"),
        ("SELECT ip_family('10.0.0.1'), ip_family('fd00::1'), ip_family('x'), ip_family(NULL)", "4|6||"),
        (
            "SELECT dns_suffix('api.Shop.example.com.'), dns_suffix('a.b.c', 1), dns_suffix('10.0.0.1')",
            "example.com|c|",
        ),
        ("SELECT dns_suffix(NULL), dns_suffix('a.b.c', NULL), dns_suffix('localhost')", "||localhost"),
        (
            "SELECT duration_text(850), duration_text(12345), duration_text(1500, 'ns'), duration_text(90, 's')",
            "850µs|12.3ms|1.5µs|1m30s",
        ),
        (
            "SELECT duration_text(max(time) - min(time)), duration_text(CAST(NULL AS BIGINT)) FROM flows",
            "2h|",
        ),
        ("SELECT duration_text(2.5, 'ms'), duration_text(1, NULL)", "2.5ms|"),
        ("SELECT duration_text(rtt_us) FROM flows ORDER BY rtt_us LIMIT 1", "1ms"),
        (
            "SELECT p50(client_bytes) BETWEEN 145 AND 155, p99(client_bytes) BETWEEN 290 AND 299 FROM flows",
            "true|true",
        ),
        (
            "SELECT p75(client_bytes) < p90(client_bytes), p90(client_bytes) < p95(client_bytes) FROM flows",
            "true|true",
        ),
    ] {
        assert_eq!(world.rows(sql).await, [expected], "{sql}");
    }
}

#[tokio::test]
async fn what_a_function_does_not_take_is_said() {
    let world = World::new().await.with_flows().await;
    for (sql, word) in [
        ("SELECT cidr_contains('10.0.0.0/33', client_ip) FROM flows", "network"),
        ("SELECT dns_suffix('a.b', 0)", "label"),
        ("SELECT duration_text(client_ip) FROM flows", "duration"),
        ("SELECT duration_text(1, 'fortnight')", "unit"),
        ("SELECT duration_text()", "duration_text"),
        ("SELECT p50(client_ip) FROM flows", "p50"),
    ] {
        let error = world.engine.collect(sql, 10).await.expect_err(sql);
        assert_eq!(error.code, "sql.invalid", "{sql}: {error:?}");
        assert!(error.message.contains(word), "{sql}: {error:?}");
    }
}

/// Each function that is told of exists, and each of ours has an example that works.
#[tokio::test]
async fn every_function_of_ours_is_described_and_its_example_works() {
    let world = World::new().await.with_flows().await;
    let all = world.engine.functions();
    let own: Vec<&str> =
        all.iter().filter(|function| function.own).map(|function| function.name.as_str()).collect();
    assert_eq!(
        own,
        ["cidr_contains", "dns_suffix", "duration_text", "ip_family", "p50", "p75", "p90", "p95", "p99"]
    );
    for function in all.iter().filter(|function| function.own) {
        assert!(function.signature.starts_with(&format!("{}(", function.name)), "{function:?}");
        assert!(function.description.len() > 20, "{function:?}");
        assert!(function.example.contains(&format!("{}(", function.name)), "{function:?}");
        world.rows(function.example.as_str()).await;
    }
    let kinds = |kind: &str| all.iter().filter(|function| function.kind == kind).count();
    assert!(kinds("scalar") > 150 && kinds("aggregate") > 30 && kinds("window") > 8, "{all:?}");
    let count = all.iter().find(|function| function.name == "count" && function.kind == "aggregate").unwrap();
    assert!(count.description.contains("number") && !count.own, "{count:?}");
    assert!(all.iter().any(|function| function.kind == "table" && function.name == "generate_series"));
}
