use super::*;

/// What OCSF 1.2.0 demands of a Network Activity event: required attributes, types, enumerations, and the constraints
/// between them (schema.ocsf.io/1.2.0/classes/network_activity). Unknown attributes are errors there, so they are here.
fn check(event: &Value) {
    let event = event.as_object().expect("an object");
    let known = [
        "class_uid",
        "class_name",
        "category_uid",
        "category_name",
        "activity_id",
        "activity_name",
        "type_uid",
        "type_name",
        "severity_id",
        "severity",
        "status_id",
        "status",
        "status_detail",
        "time",
        "start_time",
        "end_time",
        "duration",
        "metadata",
        "src_endpoint",
        "dst_endpoint",
        "connection_info",
        "traffic",
        "tls",
        "unmapped",
    ];
    for name in event.keys() {
        assert!(known.contains(&name.as_str()), "{name} is no attribute of the class");
    }
    let integer = |name: &str| {
        event.get(name).and_then(Value::as_i64).unwrap_or_else(|| panic!("{name} is an integer"))
    };
    assert_eq!((integer("class_uid"), integer("category_uid")), (4001, 4));
    let activity = integer("activity_id");
    assert!((1..=6).contains(&activity), "activity {activity}");
    assert_eq!(integer("type_uid"), 400_100 + activity);
    assert!((0..=6).contains(&integer("severity_id")));
    assert!((0..=2).contains(&integer("status_id")));
    assert!(integer("time") > 0);
    let metadata = &event["metadata"];
    assert_eq!(metadata["version"], "1.2.0");
    assert!(metadata["product"]["vendor_name"].is_string());
    for end in ["src_endpoint", "dst_endpoint"] {
        let end = event[end].as_object().expect("both endpoints are required");
        assert!(
            ["ip", "hostname", "name"].iter().any(|name| end.contains_key(*name)),
            "an endpoint is somebody"
        );
        for (name, value) in end {
            match name.as_str() {
                "ip" => assert!(value.as_str().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok())),
                "port" => assert!(value.as_u64().is_some_and(|port| port <= 65_535)),
                "hostname" | "name" => assert!(value.is_string()),
                _ => panic!("{name} is not of a network endpoint"),
            }
        }
    }
    let connection = event["connection_info"].as_object().expect("an object");
    assert!((0..=3).contains(&connection["direction_id"].as_i64().expect("direction_id is required")));
    if let Some(traffic) = event.get("traffic") {
        assert!(traffic.as_object().expect("an object").values().all(Value::is_i64), "counters are long_t");
    }
    if let Some(tls) = event.get("tls") {
        assert!(tls["version"].is_string(), "tls.version is required");
        for hash in ["ja3_hash", "ja3s_hash"] {
            if let Some(hash) = tls.get(hash) {
                assert!(hash["algorithm_id"].is_i64() && hash["value"].is_string(), "a fingerprint");
            }
        }
    }
    assert!(event.get("unmapped").is_none_or(Value::is_object));
}

fn a_flow(state: &str, close_reason: Option<&str>) -> FlowRow {
    FlowRow {
        time: 1_700_000_000_000_000_000,
        end_time: Some(1_700_000_001_500_000_000),
        connection_id: Some("00000001ffffffff".into()),
        state: Some(state.into()),
        close_reason: close_reason.map(Into::into),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        client_port: Some(40_000),
        server_ip: Some("fd00::2".into()),
        server_port: Some(443),
        client_bytes: 100,
        server_bytes: 2000,
        tls_version: Some("1.3".into()),
        tls_sni: Some("api.demo.internal".into()),
        ..FlowRow::default()
    }
}

#[test]
fn every_end_of_a_connection_is_a_valid_event_of_its_own_kind() {
    for (state, reason, activity) in [
        ("opened", None, 1),
        ("ongoing", None, 6),
        ("closed", Some("fin"), 2),
        ("only", Some("reset_by_server"), 3),
        ("only", Some("timed_out"), 4),
        ("only", Some("refused"), 5),
    ] {
        let event = flow(&a_flow(state, reason));
        check(&event);
        assert_eq!(event["activity_id"], activity, "{state} {reason:?}");
        assert_eq!(event["duration"], 1500);
        assert_eq!(event["traffic"]["bytes"], 2100);
    }
}

#[test]
fn a_row_of_which_little_is_known_is_still_valid() {
    check(&flow(&FlowRow { time: 1_000_000, ..FlowRow::default() }));
    check(&handshake(&TlsHandshakeRow { time: 1_000_000, ..TlsHandshakeRow::default() }));
}

#[test]
fn a_failed_handshake_is_a_failure_with_its_reason() {
    let event = handshake(&TlsHandshakeRow {
        time: 1_700_000_000_000_000_000,
        client_ip: Some("10.0.0.1".into()),
        server_ip: Some("10.0.0.2".into()),
        tls_ja3: Some("e7d705a3286e19ea42f587b344ee6865".into()),
        tls_ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        failure_reason: Some("unknown_ca".into()),
        handshake_us: Some(2500),
        ..TlsHandshakeRow::default()
    });
    check(&event);
    assert_eq!((&event["status_id"], &event["status_detail"]), (&json!(2), &json!("unknown_ca")));
    assert_eq!(event["unmapped"]["tls_ja4"], "t13d1516h2_8daaf6152771_e5627efa2ab1");
}
