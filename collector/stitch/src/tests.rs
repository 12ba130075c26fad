use proptest::prelude::*;
use weir_model::{Row, SmolStr};

use super::*;

/// A connection of 5 ms that the client's own node saw from its SYN to its end.
fn whole_connection() -> FlowRow {
    FlowRow {
        time: 1_000_000_000,
        end_time: Some(1_005_000_000),
        opened_time: Some(1_000_000_000),
        connection_id: Some("0000000100000002".into()),
        state: Some("only".into()),
        close_reason: Some("fin".into()),
        node: Some("node-a".into()),
        observer: Some("client".into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        client_port: Some(40_000),
        server_ip: Some("10.0.0.2".into()),
        server_port: Some(443),
        client_pid: Some(77),
        client_process: Some("curl".into()),
        connect_us: Some(900),
        client_retransmits: Some(2),
        ..FlowRow::default()
    }
}

fn handshake() -> TlsHandshakeRow {
    TlsHandshakeRow {
        time: 1_001_000_000,
        connection_id: Some("0000000100000002".into()),
        observer: Some("client".into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        server_ip: Some("10.0.0.2".into()),
        client_process: Some("curl".into()),
        tls_version: Some("1.3".into()),
        tls_sni: Some("shop.example".into()),
        tls_ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        tls_alpn_offered: vec!["h2".into(), "http/1.1".into()],
        tls_established: Some(true),
        handshake_us: Some(1_500),
        ..TlsHandshakeRow::default()
    }
}

fn attribute<'a>(span: &'a SpanRow, key: &str) -> Option<&'a str> {
    span.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

#[test]
fn a_connection_with_tls_is_one_trace_of_three_spans() {
    let mut spans = spans_of_flows(&[whole_connection()]);
    spans.extend(spans_of_handshakes(&[handshake()]));
    let [connection, connect, tls] = spans.as_slice() else { panic!("{} spans", spans.len()) };

    for span in &spans {
        assert_eq!(span.trace_id, Some(trace_of("0000000100000002")));
        assert_eq!(span.service.as_deref(), Some("curl"));
        assert_eq!(span.source.as_deref(), Some("stitched"));
    }
    assert_eq!(connection.kind.as_deref(), Some("client"));
    assert_eq!(connection.parent_span_id, None);
    assert_eq!(connection.duration_ns, 5_000_000);
    assert_eq!(attribute(connection, "server.address"), Some("10.0.0.2"));
    assert_eq!(attribute(connection, "network.type"), Some("ipv4"));
    assert_eq!(attribute(connection, "weir.client.retransmits"), Some("2"));
    assert_eq!((connect.operation.as_deref(), connect.duration_ns), (Some("TCP connect"), 900_000));
    assert_eq!((tls.operation.as_deref(), tls.duration_ns), (Some("TLS handshake"), 1_500_000));
    assert_eq!(connect.parent_span_id, connection.span_id);
    assert_eq!(tls.parent_span_id, connection.span_id);
    assert_eq!(attribute(tls, "server.address"), Some("shop.example"));
    assert_eq!(attribute(tls, "weir.tls.client.alpn"), Some("h2,http/1.1"));
}

/// Both ends on one node, or on two: the halves meet without anybody pairing them.
#[test]
fn what_the_server_saw_hangs_below_what_the_client_saw() {
    let server = FlowRow {
        observer: Some("server".into()),
        client_pid: None,
        client_process: None,
        server_process: Some("nginx".into()),
        ..whole_connection()
    };
    let spans = spans_of_flows(&[whole_connection(), server.clone()]);
    let (client_root, server_span) = (&spans[0], &spans[2]);
    assert_eq!(server_span.parent_span_id, client_root.span_id);
    assert_eq!(server_span.trace_id, client_root.trace_id);
    assert_eq!(server_span.service.as_deref(), Some("nginx"));
    assert_eq!(server_span.kind.as_deref(), Some("server"));

    let paired = FlowRow { observer: Some("both".into()), client_process: Some("curl".into()), ..server };
    let of_pair: Vec<_> = spans_of_flows(&[paired]).into_iter().map(|span| span.span_id).collect();
    assert_eq!(of_pair, spans.iter().map(|span| span.span_id.clone()).collect::<Vec<_>>());
}

/// A node on the way tells of the same connection beside its ends, whose spans it must not make twice.
#[test]
fn what_a_node_forwards_has_the_spans_of_its_ends_only() {
    let path = FlowRow {
        observer: Some("path".into()),
        source: Some("probe".into()),
        close_reason: Some("fin".into()),
        ..whole_connection()
    };
    assert_eq!(spans_of_flows(std::slice::from_ref(&path)), []);
    let denied = FlowRow { close_reason: Some("denied".into()), ..path.clone() };
    assert!(!spans_of_flows(&[denied]).is_empty(), "nobody else tells of it");
    let captured = FlowRow { source: Some("pcap".into()), ..path };
    assert!(!spans_of_flows(&[captured]).is_empty(), "a capture stands for both");
}

/// A hashed id is one observer's own, so nobody else can have made the parent.
#[test]
fn a_connection_whose_opening_nobody_saw_claims_no_parent() {
    let row = FlowRow {
        connection_id: Some("00112233445566778899aabbccddeeff".into()),
        observer: Some("server".into()),
        opened_time: None,
        connect_us: None,
        state: Some("closed".into()),
        ..whole_connection()
    };
    let spans = spans_of_flows(&[row]);
    assert_eq!(spans.len(), 1, "no opening was seen, none is told");
    assert_eq!(spans[0].parent_span_id, None);
    assert_eq!(attribute(&spans[0], "weir.opening_seen"), Some("false"));
}

#[test]
fn the_last_flow_of_a_long_connection_tells_its_whole_life() {
    let row = FlowRow {
        time: 60_000_000_000,
        end_time: Some(61_000_000_000),
        state: Some("closed".into()),
        ..whole_connection()
    };
    let spans = spans_of_flows(&[row]);
    assert_eq!((spans[0].time, spans[0].duration_ns), (1_000_000_000, 60_000_000_000));
    assert_eq!((spans[1].time, spans[1].duration_ns), (1_000_000_000, 900_000));
    assert_eq!(
        attribute(&spans[0], "weir.client.retransmits"),
        None,
        "the last interval's count is not the life's"
    );
}

#[test]
fn only_ended_tcp_connections_become_spans() {
    for state in ["opened", "ongoing"] {
        assert!(spans_of_flows(&[FlowRow { state: Some(state.into()), ..whole_connection() }]).is_empty());
    }
    assert!(spans_of_flows(&[FlowRow { protocol: Some("udp".into()), ..whole_connection() }]).is_empty());
}

#[test]
fn what_failed_says_so_and_why() {
    let refused = FlowRow { close_reason: Some("refused".into()), connect_us: None, ..whole_connection() };
    let spans = spans_of_flows(&[refused]);
    for span in &spans {
        assert_eq!(span.status.as_deref(), Some("error"));
        assert_eq!(span.status_message.as_deref(), Some("10.0.0.2:443 refused the connection"));
        assert_eq!(attribute(span, "error.type"), Some("refused"));
    }
    assert_eq!(spans[1].operation.as_deref(), Some("TCP connect"));

    let reset = FlowRow { close_reason: Some("reset_by_server".into()), ..whole_connection() };
    let spans = spans_of_flows(&[reset]);
    assert_eq!(spans[0].status.as_deref(), Some("error"));
    assert_eq!(spans[1].status.as_deref(), Some("unset"), "the opening itself went well");

    let alert = TlsHandshakeRow { failure_reason: Some("unknown_ca".into()), ..handshake() };
    let spans = spans_of_handshakes(&[alert]);
    assert_eq!(spans[0].status_message.as_deref(), Some("TLS handshake failed: unknown_ca"));
    assert_eq!(attribute(&spans[0], "error.type"), Some("unknown_ca"));
}

#[test]
fn a_pod_is_its_workload_and_a_host_process_its_name() {
    let pod = FlowRow {
        client_workload: Some("front".into()),
        client_workload_kind: Some("Deployment".into()),
        client_namespace: Some("shop".into()),
        ..whole_connection()
    };
    let spans = spans_of_flows(&[pod]);
    assert_eq!(spans[0].service.as_deref(), Some("front"));
    let resource = |key: &str| {
        spans[0].resource_attributes.iter().find(|(name, _)| name == key).map(|(_, v)| v.as_str())
    };
    assert_eq!(resource("k8s.deployment.name"), Some("front"));
    assert_eq!(resource("k8s.namespace.name"), Some("shop"));

    let unit = FlowRow {
        client_workload: Some("cron.service".into()),
        client_workload_kind: Some("unit".into()),
        ..whole_connection()
    };
    assert_eq!(spans_of_flows(&[unit])[0].service.as_deref(), Some("curl"));
}

prop_compose! {
    fn any_flow()(
        time in 0i64..1_000_000_000_000,
        length in proptest::option::of(-5_000_000_000i64..90_000_000_000),
        opened in proptest::option::of(-5_000_000_000i64..90_000_000_000),
        connect_us in proptest::option::of(0i64..120_000_000),
        state in proptest::sample::select(vec!["opened", "ongoing", "closed", "only"]),
        reason in proptest::option::of(proptest::sample::select(vec![
            "fin", "reset_by_client", "reset_by_server", "refused", "timed_out", "unreachable", "idle",
        ])),
        observer in proptest::option::of(proptest::sample::select(vec!["client", "server", "both", "path"])),
        ids in (any::<u32>(), any::<u32>()),
        process in proptest::option::of("[a-z]{1,15}"),
    ) -> FlowRow {
        FlowRow {
            time,
            end_time: length.map(|length| time + length),
            opened_time: opened.map(|before| time - before),
            connect_us,
            state: Some(state.into()),
            close_reason: reason.map(Into::into),
            observer: observer.map(Into::into),
            connection_id: Some(ids::tcp_connection_id(ids.0, ids.1)),
            client_process: process.map(Into::into),
            ..whole_connection()
        }
    }
}

proptest! {
    #[test]
    fn the_same_rows_give_the_same_spans_wherever_they_lie(flows in proptest::collection::vec(any_flow(), 0..8)) {
        let together = spans_of_flows(&flows);
        let apart: Vec<_> = flows.iter().flat_map(|flow| spans_of_flows(std::slice::from_ref(flow))).collect();
        prop_assert_eq!(&together, &apart);
        prop_assert_eq!(spans_of_flows(&flows), together);
    }

    #[test]
    fn every_span_is_sound_and_a_child_lies_within_its_parent(flow in any_flow()) {
        let spans = spans_of_flows(&[flow]);
        for span in &spans {
            prop_assert!(span.end_time.is_some_and(|end| end - span.time == span.duration_ns && span.duration_ns >= 0));
            prop_assert_eq!(span.attribute_types.as_ref().map_or(0, SmolStr::len), span.attributes.len());
            prop_assert_eq!(span.resource_attribute_types.as_ref().map_or(0, SmolStr::len), span.resource_attributes.len());
            if let Some(parent) = spans.iter().find(|other| other.span_id == span.parent_span_id) {
                prop_assert!(parent.time <= span.time && span.end_time <= parent.end_time);
            }
        }
        let mut ids: Vec<_> = spans.iter().map(|span| &span.span_id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), spans.len());
        prop_assert_eq!(SpanRow::from_batch(&SpanRow::to_batch(&spans)).expect("reads"), spans);
    }
}
