use proptest::prelude::*;
use weir_model::FlowRow;

use super::*;

/// An application's own span.
fn told(
    kind: &'static str,
    service: &'static str,
    id: &'static str,
    parent: Option<&'static str>,
) -> SpanRow {
    SpanRow {
        trace_id: Some("t".into()),
        span_id: Some(id.into()),
        parent_span_id: parent.map(Into::into),
        kind: Some(kind.into()),
        service: Some(service.into()),
        source: Some("otlp".into()),
        status: Some("unset".into()),
        duration_ns: 7,
        ..SpanRow::default()
    }
}

/// What the network saw at that end.
fn seen(
    kind: &'static str,
    service: &'static str,
    id: &'static str,
    parent: Option<&'static str>,
) -> SpanRow {
    SpanRow {
        source: Some("stitched".into()),
        request: Some(true),
        duration_ns: 5,
        ..told(kind, service, id, parent)
    }
}

/// The same, where the application's own span `of` tells of it, or of what it is below.
fn same_as(of: &'static str, span: SpanRow) -> SpanRow {
    let method =
        (span.kind.as_deref() == Some("client")).then(|| ("weir.link.method".into(), "trace_context".into()));
    SpanRow {
        request: Some(false),
        application_span_id: Some(of.into()),
        attributes: method.into_iter().collect(),
        ..span
    }
}

/// All four spans of one request, whose services call themselves differently than the kernel does.
fn all_four() -> [SpanRow; 4] {
    [
        told("client", "shop", "C", Some("work")),
        told("server", "cart", "S", Some("C")),
        same_as("C", seen("client", "node", "c", Some("C"))),
        same_as("S", seen("server", "java", "s", Some("c"))),
    ]
}

fn calls(spans: &[SpanRow]) -> Vec<Call> {
    let mut graph = Graph::new(Limits::default());
    for span in spans {
        graph.add(span, 0);
    }
    assert_eq!(graph.settle(Limits::default().hold_ns - 1), [], "others may come");
    let calls = graph.settle(Limits::default().hold_ns);
    assert_eq!(graph.counts().waiting, 0);
    assert!(graph.of_span.is_empty());
    calls
}

/// (client, server) of each.
fn names(spans: &[SpanRow]) -> Vec<(String, String)> {
    calls(spans).into_iter().map(|call| (call.client.to_string(), call.server.to_string())).collect()
}

fn pair(client: &str, server: &str) -> (String, String) {
    (client.to_owned(), server.to_owned())
}

#[test]
fn a_request_that_four_spans_tell_of_is_one() {
    let call = calls(&all_four()).remove(0);
    assert_eq!((call.client.as_str(), call.server.as_str()), ("shop", "cart"));
    assert_eq!((call.client_ns, call.server_ns), (Some(7), Some(7)));
    assert!(!call.is_virtual && !call.is_error && !call.is_message);
}

#[test]
fn where_only_one_service_sends_spans_the_network_s_stand_in() {
    let [asked, served, at_client, at_server] = all_four();
    let alone = |span: SpanRow| SpanRow { request: Some(true), application_span_id: None, ..span };
    assert_eq!(
        names(&[asked, at_client.clone(), alone(at_server.clone())]),
        [pair("shop", "java")],
        "the client's"
    );
    assert_eq!(names(&[served, alone(at_client), at_server]), [pair("node", "cart")], "the server's");
    let began = told("server", "cart", "S", None);
    let both =
        [began, seen("client", "node", "c", None), same_as("S", seen("server", "java", "s", Some("c")))];
    assert_eq!(names(&both), [pair("node", "cart")], "the server's, that got no context");
}

#[test]
fn without_applications_spans_the_network_s_are_the_request() {
    let spans = [seen("client", "node", "c", None), seen("server", "java", "s", Some("c"))];
    assert_eq!(names(&spans), [pair("node", "java")]);
}

/// A client that tries again, or asks two backends in one of its own spans.
#[test]
fn a_client_s_span_over_several_exchanges_is_as_many_requests() {
    let below = |id| {
        let method = ("weir.link.method".into(), "trace_context".into());
        SpanRow { attributes: vec![method], ..seen("client", "node", id, Some("C")) }
    };
    let spans = [
        told("client", "shop", "C", None),
        below("c1"),
        seen("server", "java", "s1", Some("c1")),
        below("c2"),
        seen("server", "java", "s2", Some("c2")),
    ];
    assert_eq!(names(&spans), [pair("shop", "java"), pair("shop", "java")]);
    // The first attempt's server sends its own spans.
    let served = told("server", "cart", "S", Some("C"));
    let some = names(&[spans.as_slice(), &[served]].concat());
    assert_eq!(some, [pair("shop", "cart"), pair("shop", "java")]);
}

#[test]
fn an_end_that_nobody_told_of_has_the_name_that_the_other_knows() {
    let peer = |name: &str| vec![("server.address".into(), name.into())];
    let asked = |name| SpanRow { attributes: peer(name), ..told("client", "shop", "C", None) };
    let call = calls(&[asked("api.example")]).remove(0);
    assert_eq!((call.server.as_str(), call.is_virtual, call.server_ns), ("api.example", true, None));
    let call = calls(&[told("server", "cart", "S", None)]).remove(0);
    assert_eq!((call.client.as_str(), call.is_virtual, call.client_ns), ("user", true, None));
    // Below a span of the service that asked, that is no client's.
    let work = told("internal", "shop", "work", None);
    assert_eq!(names(&[told("server", "cart", "S", Some("work")), work]), [pair("shop", "cart")]);
    // Below one that was never sent: nobody knows who asked.
    let mut graph = Graph::new(Limits::default());
    graph.add(&told("server", "cart", "S", Some("lost")), 0);
    assert_eq!(graph.settle(i64::MAX), []);
    assert_eq!(graph.counts().unpaired, 1);
}

#[test]
fn what_is_no_request_is_not_counted() {
    let connection = SpanRow { request: Some(false), ..seen("client", "node", "k", None) };
    assert_eq!(calls(&[connection, told("internal", "shop", "i", None)]), []);
    // What the network saw of a request, hours after the application's span of it was counted.
    let [_, _, late_client, late_server] = all_four();
    assert_eq!(calls(&[late_client, late_server]), []);
}

#[test]
fn no_more_wait_than_there_is_room_for_and_those_that_go_are_counted() {
    let mut graph = Graph::new(Limits { requests: 10, ..Limits::default() });
    for number in 0..25 {
        let span = SpanRow { span_id: Some(format!("{number}").into()), ..told("server", "cart", "", None) };
        graph.add(&span, 0);
    }
    assert_eq!(graph.settle(0).len(), 15);
    assert_eq!(graph.counts(), Counts { waiting: 10, hurried: 15, unpaired: 0 });
    assert_eq!(graph.settle(i64::MAX).len(), 10);
}

fn flow(observer: &str, bytes: i64) -> FlowRow {
    FlowRow {
        connection_id: Some("00000001000000ff".into()),
        observer: Some(observer.into()),
        source: Some("probe".into()),
        state: Some("only".into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        server_ip: Some("10.0.0.2".into()),
        client_bytes: bytes,
        server_bytes: 2 * bytes,
        ..FlowRow::default()
    }
}

/// The client's end knows its own process and losses, the server's its own.
fn both_ends() -> [FlowRow; 2] {
    [
        FlowRow { client_process: Some("curl".into()), client_retransmits: Some(3), ..flow("client", 10) },
        FlowRow { server_process: Some("nginx".into()), server_retransmits: Some(4), ..flow("server", 10) },
    ]
}

fn once() -> Link {
    let traffic = Traffic {
        client_bytes: 10,
        server_bytes: 20,
        client_retransmits: 3,
        server_retransmits: 4,
        connections: 1,
    };
    Link { client: "curl".into(), server: "nginx".into(), traffic, failure: None }
}

#[test]
fn bytes_that_both_ends_and_the_path_tell_of_count_once() {
    let [client, server] = both_ends();
    for order in [
        [client.clone(), server.clone(), flow("path", 11)],
        [flow("path", 11), server.clone(), client.clone()],
    ] {
        let mut links = Links::new(Limits::default());
        for flow in &order {
            links.add(flow, 0);
        }
        assert_eq!(links.settle(Limits::default().hold_ns), [once()]);
        // Late: told already.
        links.add(&server, Limits::default().hold_ns);
        assert_eq!(
            links.settle(i64::MAX)[0].traffic,
            Traffic { server_retransmits: 4, ..Traffic::default() }
        );
    }
}

#[test]
fn a_connection_that_only_the_path_sees_counts_by_it() {
    let mut links = Links::new(Limits::default());
    links.add(&FlowRow { source: Some("pcap".into()), ..flow("path", 5) }, 0);
    let link = links.settle(i64::MAX).remove(0);
    assert_eq!((link.client.as_str(), link.server.as_str()), ("user", "10.0.0.2"));
    assert_eq!((link.traffic.client_bytes, link.traffic.connections), (5, 1));
}

#[test]
fn a_connection_that_failed_says_how() {
    let mut links = Links::new(Limits::default());
    links.add(&FlowRow { close_reason: Some("refused".into()), ..flow("client", 0) }, 0);
    assert_eq!(links.settle(i64::MAX)[0].failure.as_deref(), Some("refused"));
}

#[test]
fn connections_are_forgotten_when_they_are_silent() {
    let mut links = Links::new(Limits::default());
    for number in 0..100 {
        let id = format!("{number:016x}");
        links.add(&FlowRow { connection_id: Some(id.into()), ..flow("client", 1) }, 0);
    }
    assert_eq!(links.settle(Limits::default().hold_ns).len(), 100);
    links.settle(links::REMEMBERED_NS + 2 * Limits::default().hold_ns);
    assert!(links.is_empty());
}

proptest! {
    /// Whatever order the four spans come in, and whichever of the applications' are missing.
    #[test]
    fn the_order_of_spans_changes_nothing(
        order in Just((0..4).collect::<Vec<usize>>()).prop_shuffle(),
        without in prop::option::of(0..2_usize),
    ) {
        let four = all_four();
        let spans: Vec<SpanRow> = order
            .into_iter()
            .filter(|place| Some(*place) != without)
            .map(|place| {
                let span = four[place].clone();
                // Where an application's span is missing, nothing is known to be the same as it.
                let is_alone = without.is_some_and(|gone| gone + 2 == place);
                if is_alone { SpanRow { request: Some(true), application_span_id: None, ..span } } else { span }
            })
            .collect();
        let expected = match without {
            None => pair("shop", "cart"),
            Some(0) => pair("node", "cart"),
            _ => pair("shop", "java"),
        };
        prop_assert_eq!(names(&spans), vec![expected]);
    }
}
