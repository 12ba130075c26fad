use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

/// `asked` was asked by `asker` on the connection of that number, in the milliseconds `from` to `to`.
fn turn(number: u32, asker: &str, asked: &str, (from, to): (i64, i64)) -> [ExchangeRow; 2] {
    let row = |observer: &str, process: &str, from: i64, to: i64| ExchangeRow {
        time: from,
        end_time: Some(to),
        connection_id: Some(format!("{number:016x}").into()),
        request_offset: Some(17),
        observer: Some(observer.into()),
        node: Some(format!("node-of-{process}").into()),
        process: Some(process.into()),
        pid: Some(process.len() as i64),
        client_ip: Some("10.0.0.1".into()),
        client_port: Some(40_000),
        server_ip: Some("10.0.0.2".into()),
        server_port: Some(80),
        total_us: Some((to - from) / 1_000),
        application_protocol: Some("http/1.1".into()),
        ..ExchangeRow::default()
    };
    let (from, to) = (from * 1_000_000, to * 1_000_000);
    [row("client", asker, from, to), row("server", asked, from + 100_000, to - 200_000)]
}

/// The same, for the turn on the connection of number `cause`.
fn made_for(cause: u32, method: &str, mut turn: [ExchangeRow; 2]) -> [ExchangeRow; 2] {
    turn[0].cause_connection_id = Some(format!("{cause:016x}").into());
    turn[0].cause_request_offset = Some(17);
    turn[0].cause_method = Some(method.into());
    turn[0].cause_candidates = Some(1);
    turn
}

/// A client asks front, which asks api, which asks store twice.
fn shop() -> Vec<ExchangeRow> {
    let turns = [
        turn(1, "client", "front", (0, 100)),
        made_for(1, "thread", turn(2, "front", "api", (10, 90))),
        made_for(2, "goroutine", turn(3, "api", "store", (20, 40))),
        made_for(2, "goroutine", turn(4, "api", "store", (50, 80))),
    ];
    turns.into_iter().flatten().collect()
}

fn service<'a>(spans: &'a [SpanRow], id: Option<&SmolStr>) -> Option<(&'a str, &'a str)> {
    let span = spans.iter().find(|span| span.span_id.as_ref() == id)?;
    Some((span.service.as_deref()?, span.kind.as_deref()?))
}

fn attribute<'a>(span: &'a SpanRow, key: &str) -> Option<&'a str> {
    span.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn by_id(mut spans: Vec<SpanRow>) -> Vec<SpanRow> {
    spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
    spans
}

/// Nodes' clocks are half a second apart: the waterfall must not have answers before their questions.
#[test]
fn spans_of_nodes_whose_clocks_are_apart_are_by_one_clock() {
    let ahead = 500 * 1_000_000;
    let clocks: BTreeMap<SmolStr, i64> = [("node-of-api".into(), -ahead)].into();
    let skewed = |mut row: ExchangeRow| {
        if row.node.as_deref() == Some("node-of-api") {
            row.time += ahead;
            row.end_time = row.end_time.map(|end| end + ahead);
        }
        row
    };
    let mut straight = Traces::new(Limits::default());
    let mut corrected = Traces::new(Limits::default());
    for row in shop() {
        straight.add(row.clone(), 0);
        corrected.add(skewed(row), 0);
    }
    corrected.follow_clocks(clocks);
    let times = |spans: Vec<SpanRow>| -> Vec<_> {
        by_id(spans)
            .into_iter()
            .map(|span| (span.span_id, span.time, span.end_time, span.duration_ns))
            .collect()
    };
    let spans = corrected.settle(4 * SECOND);
    let moved = spans.iter().filter(|span| attribute(span, "weir.clock.correction_us") == Some("-500000"));
    assert_eq!(moved.count(), 3, "api's one end as a server, and two as a client");
    assert_eq!(times(spans), times(straight.settle(4 * SECOND)));
}

/// "Who really called the database?"
#[test]
fn each_span_says_through_whom_it_came() {
    let mut orders = [shop(), shop()];
    orders[1].reverse();
    for rows in orders {
        let mut traces = Traces::new(Limits::default());
        for row in rows {
            traces.add(row, 0);
        }
        let spans = traces.settle(4 * SECOND);
        let path = |service: &str, kind: &str| -> Vec<_> {
            let is_it = |span: &&SpanRow| {
                (span.service.as_deref(), span.kind.as_deref()) == (Some(service), Some(kind))
            };
            let of = |span| (attribute(span, "weir.path"), attribute(span, "weir.path.origin"));
            spans.iter().filter(is_it).map(of).collect()
        };
        assert_eq!(path("store", "server"), [(Some("client > front > api"), Some("client")); 2]);
        assert_eq!(path("api", "client"), [(Some("client > front > api"), Some("client")); 2]);
        assert_eq!(path("client", "client"), [(Some("client"), Some("client"))]);
    }
}

#[test]
fn a_request_is_one_trace_over_all_services() {
    let mut traces = Traces::new(Limits::default());
    for row in shop() {
        traces.add(row, 0);
    }
    let spans = traces.settle(4 * SECOND);
    assert_eq!(spans.len(), 8);
    let root = spans.iter().find(|span| span.parent_span_id.is_none()).expect("a root");
    assert_eq!((root.service.as_deref(), root.kind.as_deref()), (Some("client"), Some("client")));
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    let above = |of: (&str, &str)| {
        let of_it = spans.iter().filter(|span| service(&spans, span.span_id.as_ref()) == Some(of));
        of_it.map(|span| service(&spans, span.parent_span_id.as_ref())).collect::<Vec<_>>()
    };
    assert_eq!(above(("front", "server")), [Some(("client", "client"))]);
    assert_eq!(above(("front", "client")), [Some(("front", "server"))]);
    assert_eq!(above(("store", "server")), [Some(("api", "client")); 2]);
    assert_eq!(above(("api", "client")), [Some(("api", "server")); 2]);
}

#[test]
fn a_span_says_how_its_parent_is_known_and_what_the_network_took() {
    let mut traces = Traces::new(Limits::default());
    for row in shop() {
        traces.add(row, 0);
    }
    let spans = traces.settle(4 * SECOND);
    let find = |service: &str, kind: &str| {
        let is_it =
            |span: &&SpanRow| span.service.as_deref() == Some(service) && span.kind.as_deref() == Some(kind);
        spans.iter().find(is_it).expect("the span")
    };
    let call = find("front", "client");
    assert_eq!(attribute(call, "weir.link.method"), Some("thread"));
    assert_eq!(call.confidence, Some(1.0));
    assert_eq!(call.operation.as_deref(), Some("HTTP/1.1 exchange"));
    assert_eq!(attribute(call, "service.peer.name"), Some("api"));
    assert_eq!(attribute(call, "weir.exchange.network_us"), Some("300"));
    let served = find("api", "server");
    assert_eq!(attribute(served, "weir.link.method"), Some("sequence_numbers"));
    assert_eq!(served.duration_ns, 80_000_000 - 300_000);
    // The connection has its own trace.
    let links = call.links.as_deref().expect("a link");
    assert!(links.contains(crate::trace_of("0000000000000002").as_str()), "{links}");
}

#[test]
fn what_a_client_did_before_it_could_ask_is_below_its_call() {
    let opened = |opened_ms: i64| {
        let mut traces = Traces::new(Limits::default());
        let handshake = SpanRow {
            time: (opened_ms + 2) * 1_000_000,
            connection_id: Some("0000000000000001".into()),
            operation: Some("TLS handshake".into()),
            trace_id: Some("the connection's".into()),
            ..SpanRow::default()
        };
        traces.add_handshake(&handshake, 0);
        let [client, server] = turn(1, "client", "front", (5_000, 5_100));
        let opened_time = Some(opened_ms * 1_000_000);
        traces.add(ExchangeRow { opened_time, connect_us: Some(1_500), ..client }, 0);
        traces.add(server, 0);
        traces.settle(4 * SECOND)
    };
    let spans = opened(4_990);
    let [call, connect, tls, _served] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((call.time, call.duration_ns), (4_990_000_000, 110_000_000));
    assert_eq!((connect.operation.as_deref(), connect.duration_ns), (Some("TCP connect"), 1_500_000));
    assert_eq!(
        (connect.service.as_deref(), tls.operation.as_deref()),
        (Some("client"), Some("TLS handshake"))
    );
    for child in [connect, tls] {
        assert_eq!((&child.parent_span_id, &child.trace_id), (&call.span_id, &call.trace_id));
    }
    assert_ne!(connect.span_id, tls.span_id);
    // It was there before anybody wanted to ask.
    let spans = opened(1_000);
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].time, 5_000_000_000);
}

/// Its client has no probe, or the server is outside.
#[test]
fn one_end_alone_is_a_trace_once_the_other_had_its_time() {
    for (end, kind) in [(0, "client"), (1, "server")] {
        let mut traces = Traces::new(Limits::default());
        traces.add(turn(1, "client", "front", (0, 100))[end].clone(), 0);
        assert_eq!(traces.settle(2 * SECOND), []);
        let spans = traces.settle(4 * SECOND);
        assert_eq!(spans.len(), 1);
        assert_eq!((spans[0].kind.as_deref(), spans[0].parent_span_id.as_ref()), (Some(kind), None));
    }
}

#[test]
fn what_comes_late_still_finds_its_trace() {
    let mut traces = Traces::new(Limits::default());
    let [late, rest @ ..] = <[ExchangeRow; 8]>::try_from(shop()).expect("eight rows");
    let server = rest[0].clone();
    for row in rest.into_iter().skip(1) {
        traces.add(row, 0);
    }
    assert_eq!(traces.settle(10 * SECOND), [], "who asked front is still waited for");
    traces.add(server, 10 * SECOND);
    assert_eq!(traces.settle(14 * SECOND).len(), 7);
    traces.add(late, 20 * SECOND);
    let spans = traces.settle(20 * SECOND);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].service.as_deref(), Some("client"));
}

#[test]
fn a_cause_that_never_comes_begins_the_trace_and_is_counted() {
    let mut traces = Traces::new(Limits::default());
    for row in made_for(1, "thread", turn(2, "front", "api", (10, 90))) {
        traces.add(row, 0);
    }
    assert_eq!(traces.settle(29 * SECOND), []);
    let spans = traces.settle(31 * SECOND);
    assert_eq!(spans.len(), 2);
    // If it comes at last, and nothing was above it, it is in the same trace.
    for row in turn(1, "client", "front", (0, 100)) {
        traces.add(row, 40 * SECOND);
    }
    let later = traces.settle(44 * SECOND);
    assert_eq!(later.len(), 2);
    assert!(later.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert_eq!(traces.counts().orphaned, 1);
}

#[test]
fn a_guess_that_is_not_sure_enough_splits_the_trace() {
    let roots = |candidates| {
        let mut traces = Traces::new(Limits::default());
        // A process that answers nothing itself: timing has nothing to say.
        let mut call = made_for(1, "event_loop", turn(2, "worker", "api", (10, 90)));
        call[0].cause_candidates = Some(candidates);
        for row in turn(1, "client", "front", (0, 100)).into_iter().chain(call) {
            traces.add(row, 0);
        }
        let spans = traces.finish(0);
        let confidence = spans.iter().filter_map(|span| span.confidence).fold(1.0, f64::min);
        (spans.iter().filter(|span| span.parent_span_id.is_none()).count(), confidence)
    };
    assert_eq!(roots(2), (1, 0.5));
    assert_eq!(roots(9), (2, 1.0));
}

/// HTTP/2, and a probe that ships its batches.
#[test]
fn a_burst_of_requests_is_a_span_where_it_leads_somewhere() {
    let burst = |number| {
        turn(number, "client", "front", (0, 100)).map(|row| ExchangeRow { multiplexed: Some(true), ..row })
    };
    let mut traces = Traces::new(Limits::default());
    let asked = made_for(1, "thread", turn(3, "front", "api", (10, 90)));
    for row in burst(1).into_iter().chain(burst(2)).chain(asked) {
        traces.add(row, 0);
    }
    let spans = traces.settle(4 * SECOND);
    assert_eq!(spans.len(), 4);
    let named = |name: &str| spans.iter().filter(|span| span.operation.as_deref() == Some(name)).count();
    assert_eq!((named("HTTP/1.1 burst"), named("HTTP/1.1 exchange")), (2, 2));
}

/// Ids that are wrong, or made by somebody who wants to see us fail.
#[test]
fn turns_that_were_made_for_each_other_end_somewhere() {
    let mut traces = Traces::new(Limits::default());
    let around = [
        made_for(3, "thread", turn(1, "a", "b", (0, 9))),
        made_for(1, "thread", turn(2, "b", "c", (0, 9))),
        made_for(2, "thread", turn(3, "c", "a", (0, 9))),
        made_for(4, "thread", turn(4, "d", "d", (0, 9))),
    ];
    for row in around.into_iter().flatten() {
        traces.add(row, 0);
    }
    let spans = traces.settle(4 * SECOND);
    assert_eq!(spans.len(), 8);
    assert_eq!(spans.iter().filter(|span| span.parent_span_id.is_none()).count(), 2);
}

#[test]
fn no_more_are_kept_than_there_is_room_for() {
    let limits = Limits { turns: 10, ..Limits::default() };
    let mut traces = Traces::new(limits);
    for number in 0..25 {
        traces.add(turn(number, "client", "front", (0, 100))[0].clone(), 0);
    }
    assert_eq!(traces.settle(0).len(), 15);
    assert_eq!(traces.counts(), Counts { waiting: 10, hurried: 15, orphaned: 0 });
    assert_eq!(traces.finish(0).len(), 10);
    assert_eq!(traces.counts(), Counts { waiting: 0, hurried: 15, orphaned: 0 });
    assert_eq!(traces.settle(SECOND * 1_000), []);
    assert!(traces.turns.is_empty() && traces.told.is_empty());
    assert!(traces.causes.is_empty() && traces.handshakes.is_empty() && traces.contexts.is_empty());
}

/// An application's own span of the turns of [`turn`], in milliseconds; `port` is the one that it names as its peer's.
fn told(kind: &str, (id, parent): (&str, Option<&str>), port: u16, (from, to): (i64, i64)) -> SpanRow {
    let ip = if kind == "server" { "10.0.0.1" } else { "10.0.0.2" };
    SpanRow {
        time: from * 1_000_000,
        end_time: Some(to * 1_000_000),
        trace_id: Some("the application's".into()),
        span_id: Some(id.into()),
        parent_span_id: parent.map(Into::into),
        kind: Some(kind.into()),
        attributes: vec![
            ("network.peer.address".into(), ip.into()),
            ("network.peer.port".into(), port.to_string().into()),
        ],
        resource_attributes: vec![("process.pid".into(), "client".len().to_string().into())],
        ..SpanRow::default()
    }
}

fn joined(spans: &[SpanRow], rows: impl IntoIterator<Item = ExchangeRow>) -> Vec<SpanRow> {
    let mut traces = Traces::new(Limits::default());
    for row in rows {
        traces.add(row, 0);
    }
    // An application sends its spans some seconds later.
    assert_eq!(traces.settle(SECOND), []);
    for span in spans {
        traces.add_context(span, 5 * SECOND);
    }
    traces.settle(8 * SECOND)
}

#[test]
fn an_application_s_trace_has_what_the_network_saw_of_it_inside() {
    let asked = told("client", ("c", Some("above")), 80, (0, 100));
    let served = told("server", ("s", Some("c")), 40_000, (1, 99));
    let call = || made_for(1, "thread", turn(2, "front", "api", (10, 90)));
    for said in [vec![asked.clone(), served.clone()], vec![served], vec![asked]] {
        let spans = joined(&said, turn(1, "client", "front", (0, 100)).into_iter().chain(call()));
        assert_eq!(spans.len(), 4);
        assert!(spans.iter().all(|span| span.trace_id.as_deref() == Some("the application's")), "{spans:#?}");
        assert_eq!(spans[0].parent_span_id.as_deref(), Some("c"));
        assert_eq!(attribute(&spans[0], "weir.link.method"), Some("trace_context"));
        assert_eq!(spans[1].parent_span_id, spans[0].span_id);
        assert_eq!(spans[2].parent_span_id, spans[1].span_id, "what an uninstrumented service asked for it");
    }
}

#[test]
fn a_client_s_span_that_could_be_of_several_turns_is_none_s() {
    let asked = |id| told("client", (id, None), 80, (0, 100));
    let spans = joined(&[asked("one"), asked("other")], turn(1, "client", "front", (5, 95)));
    assert_eq!(spans.len(), 2);
    assert_ne!(spans[0].trace_id.as_deref(), Some("the application's"));
}

/// Its client sends no context.
#[test]
fn a_trace_that_the_server_began_has_the_exchange_beside_it() {
    let served = told("server", ("s", None), 40_000, (1, 99));
    let spans = joined(std::slice::from_ref(&served), turn(1, "client", "front", (0, 100)));
    assert_eq!(spans[0].trace_id.as_deref(), Some("the application's"));
    assert_eq!(spans[0].parent_span_id, None);
    // Not where it is known what asked: then that trace goes on.
    let above = turn(7, "user", "client", (0, 200));
    let asked = made_for(7, "thread", turn(1, "client", "front", (0, 100)));
    let spans = joined(&[served], above.into_iter().chain(asked));
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id), "{spans:#?}");
}

/// Requests to api that overlap, and a call for each 8 ms after it came; `guess` is what the kernel makes of the call for
/// the request of that number.
fn overlapping(guess: impl Fn(u32) -> Option<u32>) -> Vec<ExchangeRow> {
    let mut rows = Vec::new();
    for number in 0..300 {
        // Neither distances nor gaps are all the same.
        let from = i64::from(number) * 10 + i64::from(number * 7 % 5);
        rows.extend(turn(number, "front", "api", (from, from + 25 + i64::from(number % 4))));
        let called = from + 8 + i64::from(number * 3 % 2);
        let mut call = turn(1_000 + number, "api", "store", (called, called + 5));
        if let Some(guess) = guess(number) {
            call = made_for(guess, "event_loop", call);
            call[0].cause_candidates = Some(3);
        }
        rows.extend(call);
    }
    rows
}

/// Of the calls that [`overlapping`] has, how many hang below the right request; and by which methods these are known.
fn right(rows: Vec<ExchangeRow>) -> (usize, std::collections::BTreeSet<String>) {
    let mut traces = Traces::new(Limits::default());
    let mut spans = Vec::new();
    for row in rows {
        let now_ns = row.end_time.unwrap_or_default();
        traces.add(row, now_ns);
        spans.extend(traces.settle(now_ns));
    }
    spans.extend(traces.finish(60 * SECOND));
    let id = |number: u32, side| {
        let key = Key { connection_id: format!("{number:016x}").into(), request_offset: 17 };
        Some(key.span_id(side))
    };
    let (mut right, mut methods) = (0, std::collections::BTreeSet::new());
    for number in 0..300 {
        let call =
            spans.iter().find(|span| span.span_id == id(1_000 + number, Side::Client)).expect("its span");
        right += usize::from(call.parent_span_id == id(number, Side::Server));
        methods.extend(attribute(call, "weir.link.method").map(ToOwned::to_owned));
    }
    (right, methods)
}

/// Work that is handed to another thread: the kernel sees no link at all.
#[test]
fn where_the_kernel_sees_no_link_timing_tells() {
    let (right, methods) = right(overlapping(|_| None));
    assert!(right >= 285, "{right} of 300");
    assert_eq!(methods.into_iter().collect::<Vec<_>>(), ["timing"]);
}

/// An async runtime whose tasks move between threads: some of the kernel's guesses are wrong.
#[test]
fn a_wrong_guess_is_put_right_by_timing() {
    let (right, methods) =
        right(overlapping(|number| Some(if number % 10 == 9 { number - 1 } else { number })));
    assert!(right >= 285, "{right} of 300");
    assert!(methods.contains("event_loop"), "{methods:?}");
}

proptest! {
    /// Whoever sends rows may write any number.
    #[test]
    fn no_number_is_too_wild(
        times in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<Option<i64>>()), 1..12),
        now_ns in any::<i64>(),
    ) {
        let mut traces = Traces::new(Limits::default());
        for (number, (time, end, other, number_in_it)) in times.into_iter().enumerate() {
            let number = number as u32;
            let rows = made_for(number / 2, "event_loop", turn(number, "front", "api", (0, 9)));
            for mut row in rows {
                (row.time, row.end_time, row.opened_time) = (time, Some(end), Some(other));
                (row.connect_us, row.total_us, row.cause_candidates) = (number_in_it, number_in_it, number_in_it);
                traces.add(row, now_ns);
            }
            let mut span = told("server", ("s", None), 40_000, (0, 9));
            (span.time, span.end_time) = (time, Some(other));
            traces.add_context(&span, now_ns);
        }
        traces.settle(now_ns);
        traces.settle(i64::MIN);
        traces.settle(i64::MAX);
        traces.finish(now_ns);
    }

    /// Whatever order rows come in, and however often.
    #[test]
    fn the_order_of_rows_changes_nothing(order in Just((0..16).collect::<Vec<usize>>()).prop_shuffle(), settle_at in 0..16) {
        let expected = {
            let mut traces = Traces::new(Limits::default());
            for row in shop() {
                traces.add(row, 0);
            }
            by_id(traces.settle(4 * SECOND))
        };
        let mut traces = Traces::new(Limits::default());
        let mut spans = Vec::new();
        for (step, at) in order.into_iter().enumerate() {
            traces.add(shop()[at % 8].clone(), 0);
            if step as i32 == settle_at {
                spans.extend(traces.settle(0));
            }
        }
        spans.extend(traces.settle(4 * SECOND));
        prop_assert_eq!(by_id(spans), expected);
    }
}
