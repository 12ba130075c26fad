use super::schema::faults;
use super::*;

fn check(event: &Value) {
    assert_eq!(faults(event), Vec::<String>::new(), "{event:#}");
    assert_eq!(
        event["type_uid"].as_i64(),
        event["class_uid"]
            .as_i64()
            .zip(event["activity_id"].as_i64())
            .map(|(class, activity)| class * 100 + activity)
    );
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
fn the_check_itself_finds_what_is_wrong() {
    let sound = flow(&a_flow("only", Some("fin")));
    check(&sound);
    let spoiled = |path: &[&str], value: Value| {
        let mut event = sound.clone();
        let (last, parents) = path.split_last().expect("a path");
        let parent = parents.iter().fold(&mut event, |event, name| &mut event[*name]);
        parent[*last] = value;
        faults(&event)
    };
    assert_eq!(spoiled(&["activity_id"], json!(42)).len(), 1);
    assert_eq!(spoiled(&["time"], json!("now")).len(), 1);
    assert_eq!(spoiled(&["colour"], json!("blue")), ["event.colour is not in the schema"]);
    assert_eq!(spoiled(&["src_endpoint"], json!({ "port": 1 })).len(), 1);
    assert_eq!(spoiled(&["src_endpoint", "ip"], json!("10.0.0.300")).len(), 1);
    assert_eq!(spoiled(&["dst_endpoint", "port"], json!(65_536)).len(), 1);
    assert_eq!(spoiled(&["metadata"], json!({ "version": "1.2.0" })), ["event.metadata lacks product"]);
    let mut event = sound.clone();
    event.as_object_mut().expect("an object").remove("severity_id");
    assert_eq!(faults(&event), ["event lacks severity_id"]);
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
fn a_name_that_no_host_may_have_is_a_name_and_not_a_hostname() {
    for (name, attribute) in [
        ("api.demo.internal", "hostname"),
        ("xn--bcher-kva.example", "hostname"),
        ("my_service.ns.svc", "name"),
        ("-lost.example", "name"),
        ("example.", "name"),
        ("bücher.example", "name"),
        ("", "name"),
    ] {
        let row = FlowRow { server_name: Some(name.into()), ..a_flow("only", None) };
        let event = flow(&row);
        check(&event);
        assert_eq!(event["dst_endpoint"][attribute], name, "{event:#}");
    }
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

#[test]
fn a_certificate_is_told_when_enough_of_it_was_seen() {
    let row = TlsHandshakeRow {
        time: 1_700_000_000_000_000_000,
        tls_version: Some("1.2".into()),
        server_certificate_subject: Some("CN=api.example".into()),
        server_certificate_issuer: Some("CN=Example CA".into()),
        server_certificate_serial: Some("0a1b".into()),
        server_certificate_sha256: Some("ab".repeat(32).into()),
        server_certificate_not_after: Some(1_800_000_000_000_000_000),
        ..TlsHandshakeRow::default()
    };
    let event = handshake(&row);
    check(&event);
    assert_eq!(event["tls"]["certificate"]["serial_number"], "0a1b");
    assert_eq!(event["tls"]["certificate"]["expiration_time"], 1_800_000_000_000_i64);
    let partial = handshake(&TlsHandshakeRow { server_certificate_serial: None, ..row });
    check(&partial);
    assert_eq!(partial["tls"].get("certificate"), None);
}
