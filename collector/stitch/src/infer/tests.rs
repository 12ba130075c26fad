use proptest::prelude::*;

use super::*;

const MS: i64 = 1_000_000;

/// A workload with its truth: each exchange, and the one that it was made for.
#[derive(Clone, Debug, Default)]
struct Workload {
    exchanges: Vec<Exchange>,
    truth: HashMap<u64, u64>,
}

/// What a request to the shop does: the times at which it calls, in ns after it came, each with how long the call takes.
type Script = [(&'static str, i64, i64)];

const IN_SERIES: &Script = &[("stock", MS, 4 * MS), ("price", 6 * MS, 3 * MS)];
const TAKES: i64 = 10 * MS;

impl Workload {
    /// A request every `every` ns, give or take what `noise` says, answered after `takes`.
    fn new(inference: &mut Inference, every: i64, takes: i64, script: &Script, noise: &[i64]) -> Workload {
        let mut workload = Workload::default();
        let shop = inference.name("shop");
        for (at, noise) in noise.iter().enumerate() {
            let start = (at as i64 + 1) * every + noise;
            let id = 10 * at as u64;
            workload.exchanges.push(Exchange {
                id,
                client: None,
                server: shop,
                operation: inference.name("GET /"),
                client_time: None,
                server_time: Some(Span { start, end: start + takes + noise / 7 }),
                client_bytes: None,
                server_bytes: None,
                cause: None,
            });
            for (nth, (server, after, takes)) in script.iter().enumerate() {
                let start = start + after + noise / 11;
                let child = id + 1 + nth as u64;
                workload.exchanges.push(Exchange {
                    id: child,
                    client: Some(shop),
                    server: inference.name(server),
                    operation: inference.name("ask"),
                    client_time: Some(Span { start, end: start + takes }),
                    server_time: None,
                    client_bytes: None,
                    server_bytes: None,
                    cause: None,
                });
                workload.truth.insert(child, id);
            }
        }
        workload
    }

    fn add(
        &mut self,
        inference: &mut Inference,
        (id, parent): (u64, Option<u64>),
        (client, server, operation): (&str, &str, &str),
        (start, end): (i64, i64),
    ) {
        self.truth.extend(parent.map(|parent| (id, parent)));
        self.exchanges.push(Exchange {
            id,
            client: parent.map(|_| inference.name(client)),
            server: inference.name(server),
            operation: inference.name(operation),
            client_time: None,
            server_time: Some(Span { start, end }),
            client_bytes: None,
            server_bytes: None,
            cause: None,
        });
    }

    fn links(&self, mut inference: Inference) -> Vec<Link> {
        inference.add_all(&self.exchanges);
        inference.finish()
    }

    #[track_caller]
    fn is_found_by(&self, inference: Inference) {
        let links = self.links(inference);
        assert_eq!(links.len(), self.truth.len());
        let wrong = links.iter().filter(|link| link.parent != self.truth.get(&link.child).copied()).count();
        assert_eq!(wrong, 0, "of {}", links.len());
    }
}

/// As of a clock that runs and a machine that has other things to do, the same in each run.
fn noise(count: usize, most: i64) -> Vec<i64> {
    let mut state = 17_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64 % most
    };
    (0..count).map(|_| next()).collect()
}

fn inference() -> Inference {
    Inference::new(Config { min_confidence: 0.0, ..Config::default() })
}

#[test]
fn what_happens_one_after_the_other_is_all_found() {
    let mut inference = inference();
    Workload::new(&mut inference, 20 * MS, TAKES, IN_SERIES, &noise(200, 2 * MS)).is_found_by(inference);
}

/// Half of all calls are made while two requests are open.
#[test]
fn requests_that_overlap_are_told_apart_by_their_rhythm() {
    let mut inference = inference();
    let workload = Workload::new(&mut inference, 7 * MS, TAKES, IN_SERIES, &noise(400, 2 * MS));
    workload.is_found_by(inference);
}

#[test]
fn calls_in_parallel_are_all_found() {
    let mut inference = inference();
    let script: &Script =
        &[("stock", MS, 6 * MS), ("price", MS + 40_000, 5 * MS), ("stock", MS + 90_000, 8 * MS)];
    Workload::new(&mut inference, 15 * MS, TAKES, script, &noise(200, 2 * MS)).is_found_by(inference);
}

/// Three services each add their part to a basket, in any order; the request that brings the last part stores the whole, and is
/// answered after it. The others take as long as they like, so that by their own times any could be the one.
#[test]
fn of_the_parts_of_a_whole_the_one_that_completes_it_is_found() {
    let mut inference = inference();
    let mut workload = Workload::default();
    let mut noise = noise(600 * 16, 1_000).into_iter();
    let mut upto = |most: i64| noise.next().unwrap() * most / 1_000;
    for at in 0..600_u64 {
        let (id, start) = (at * 10, at as i64 * 10 * MS + upto(3 * MS));
        workload.add(&mut inference, (id, None), ("", "shop", "buy"), (start, start + 20 * MS));
        let came: Vec<i64> = (0..3).map(|_| start + MS + upto(4 * MS)).collect();
        let stores = came.iter().max().unwrap() + MS + upto(6 * MS);
        let stored = stores + MS + upto(MS);
        let done = stored + MS / 4 + upto(4 * MS);
        let last = upto(3) as u64;
        for (part, name) in (0..).zip(["text", "stars", "user"]) {
            let came = came[part as usize];
            let end = if part == last { done } else { came + upto(done - came) };
            let asked = came - 20_000 - upto(50_000);
            workload.add(
                &mut inference,
                (id + 1 + part, Some(id)),
                ("shop", name, "take"),
                (asked, end + MS / 8),
            );
            workload.add(
                &mut inference,
                (id + 4 + part, Some(id + 1 + part)),
                (name, "basket", "add"),
                (came, end),
            );
        }
        workload.add(
            &mut inference,
            (id + 7, Some(id + 4 + last)),
            ("basket", "disk", "write"),
            (stores, stored),
        );
    }
    let links = workload.links(inference);
    let right = |server: u64| {
        let of = links.iter().filter(|link| link.child % 10 == server);
        of.filter(|link| link.parent == workload.truth.get(&link.child).copied()).count()
    };
    assert!(right(7) >= 588, "{} of 600", right(7));
}

#[test]
fn a_call_may_outlive_its_request_or_begin_behind_its_answer() {
    let mut inference = inference();
    let script: &Script = &[("log", 9 * MS, 30 * MS), ("mail", 13 * MS, 5 * MS)];
    Workload::new(&mut inference, 40 * MS, TAKES, script, &noise(200, 2 * MS)).is_found_by(inference);
}

/// Only the called services were watched, and their clocks are 50 ms and more ahead: that is known from a few exchanges that the
/// shop was seen to make, too.
#[test]
fn clocks_that_differ_are_brought_together() {
    let mut inference = inference();
    let mut workload = Workload::new(&mut inference, 20 * MS, TAKES, IN_SERIES, &noise(200, 2 * MS));
    let stock = inference.name("stock");
    let calls = workload.exchanges.iter_mut().filter(|exchange| exchange.client.is_some());
    for (nth, exchange) in calls.enumerate() {
        let ahead = if exchange.server == stock { 50 * MS } else { 73 * MS };
        let seen = exchange.client_time.unwrap();
        exchange.server_time =
            Some(Span { start: seen.start + ahead + 200_000, end: seen.end + ahead - 200_000 });
        if nth > 40 {
            exchange.client_time = None;
        }
    }
    workload.is_found_by(inference);
}

/// Nobody saw the shop's end of its calls, so nothing says how far the clocks are apart but the calls themselves.
#[test]
fn a_clock_that_is_behind_unnoticed_makes_no_call_come_before_its_request() {
    let mut inference = inference();
    let mut workload = Workload::new(&mut inference, 40 * MS, TAKES, IN_SERIES, &noise(200, 2 * MS));
    for exchange in workload.exchanges.iter_mut().filter(|exchange| exchange.client.is_some()) {
        let seen = exchange.client_time.take().unwrap();
        exchange.server_time = Some(Span { start: seen.start - 3 * MS, end: seen.end - 3 * MS });
    }
    workload.is_found_by(inference);
}

#[test]
fn what_the_probe_knows_is_not_inferred() {
    let mut inference = inference();
    let mut workload = Workload::new(&mut inference, 20 * MS, TAKES, IN_SERIES, &noise(20, 2 * MS));
    // The request before the one that timing would choose, and one that nobody has shown.
    let calls: Vec<_> =
        workload.exchanges.iter_mut().filter(|exchange| exchange.id == 51 || exchange.id == 61).collect();
    for (exchange, parent) in calls.into_iter().zip([40, 999]) {
        exchange.cause = Some(Cause { parent, candidates: 1 });
    }
    let links = workload.links(inference);
    let link = |child| links.iter().find(|link| link.child == child).map(|link| (link.parent, link.method));
    assert_eq!(link(51), Some((Some(40), Method::Thread)));
    assert_eq!(link(61), Some((Some(999), Method::Thread)));
    assert_eq!(link(71), Some((Some(70), Method::Timing)));
}

#[test]
fn what_is_not_sure_enough_splits_the_trace() {
    let mut sure = Inference::new(Config { min_confidence: 0.99, ..Config::default() });
    let shop = sure.name("shop");
    // Two requests at the same moment, and one call: nobody can know.
    let mut workload = Workload::new(&mut sure, 20 * MS, TAKES, IN_SERIES, &[0]);
    workload.exchanges.retain(|exchange| exchange.id != 2);
    let request = workload.exchanges[0];
    assert_eq!(request.server, shop);
    workload.exchanges.push(Exchange { id: 7, ..request });
    let links = workload.links(sure);
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].parent, None);
    assert!(links[0].confidence < 0.6, "{:?}", links[0]);
}

/// As the collector does it: what was learned stays, each call is linked once, and memory stays bounded.
#[test]
fn windows_give_what_the_whole_gives() {
    let mut inference = inference();
    let workload = Workload::new(&mut inference, 9 * MS, TAKES, IN_SERIES, &noise(5_000, 2 * MS));
    let mut links = Vec::new();
    let mut most = 0;
    for (at, exchange) in workload.exchanges.iter().enumerate() {
        inference.add(*exchange);
        if at % 300 == 299 {
            most = most.max(inference.held());
            let begun = exchange.client_time.or(exchange.server_time).unwrap().start;
            links.extend(inference.settle(begun - TAKES));
        }
    }
    links.extend(inference.finish());
    assert!(most < 8_000, "{most} held");
    links.sort_by_key(|link| link.child);
    assert_eq!(links.len(), workload.truth.len());
    let right = links.iter().filter(|link| link.parent == workload.truth.get(&link.child).copied()).count();
    assert!(right * 1_000 >= links.len() * 999, "{right} of {}", links.len());
}

#[test]
fn memory_has_a_bound_and_no_link_is_lost_to_it() {
    let mut inference =
        Inference::new(Config { max_exchanges: 500, min_confidence: 0.0, ..Config::default() });
    let workload = Workload::new(&mut inference, 20 * MS, TAKES, IN_SERIES, &noise(2_000, 2 * MS));
    for exchange in &workload.exchanges {
        inference.add(*exchange);
        assert!(inference.held() <= 500);
    }
    let links = inference.finish();
    assert_eq!(links.len(), workload.truth.len());
}

#[test]
fn what_a_proxy_passes_on_goes_by_its_length_whatever_the_kernel_guesses() {
    let mut inference = inference();
    let (proxy, back, ask) = (inference.name("proxy"), inference.name("back"), inference.name(""));
    let mut workload = Workload::default();
    for pair in 0..20 {
        let came = i64::from(pair as u32) * 20 * MS;
        let ids = [10 * pair, 10 * pair + 1];
        for (at, id) in ids.into_iter().enumerate() {
            let bytes = Some([100 + 1_000 * at as i64, 300]);
            let asked = Exchange {
                id,
                client: None,
                server: proxy,
                operation: ask,
                client_time: None,
                server_time: Some(Span { start: came + at as i64 * 1_000, end: came + 10 * MS }),
                client_bytes: None,
                server_bytes: bytes,
                cause: None,
            };
            let span = Span { start: came + MS, end: came + 9 * MS };
            // The thread read both before it wrote, and the kernel's guesses are crossed.
            let cause = Some(Cause { parent: ids[1 - at], candidates: 2 });
            let passed = Exchange {
                id: id + 2,
                client: Some(proxy),
                server: back,
                client_time: Some(span),
                server_time: Some(span),
                client_bytes: bytes,
                ..asked
            };
            workload.exchanges.extend([asked, Exchange { cause, ..passed }]);
            workload.truth.insert(id + 2, id);
        }
    }
    workload.is_found_by(inference);
}

/// Client, server, operation, start and length, cause and its candidates.
type Anything = (u8, u8, u8, i64, i64, Option<(u64, u32)>);

/// Any number of exchanges among a few services at any times, with cycles between services.
fn anything() -> impl Strategy<Value = Vec<Anything>> {
    let time = 0..2_000_i64;
    let cause = prop::option::weighted(0.1, (0..80_u64, 1..4_u32));
    prop::collection::vec((0..5_u8, 0..4_u8, 0..2_u8, time.clone(), time, cause), 0..80)
}

fn exchanges_of(inference: &mut Inference, rows: &[Anything]) -> Vec<Exchange> {
    let rows = rows.iter().enumerate();
    rows.map(|(at, &(client, server, operation, start, takes, cause))| {
        let span = Span { start: start * 10_000, end: (start + takes) * 10_000 };
        let [client, server] = [client, server].map(|service| inference.name(&format!("service {service}")));
        Exchange {
            id: at as u64,
            client: (client != Name(0)).then_some(client),
            server,
            operation: inference.name(&format!("operation {operation}")),
            client_time: (at % 5 > 0).then_some(span),
            server_time: (at % 5 < 4).then_some(span),
            client_bytes: (at % 3 > 0).then_some([start % 3, takes % 2]),
            server_bytes: (at % 3 > 0).then_some([start % 3, takes % 2]),
            cause: cause.map(|(parent, candidates)| Cause { parent, candidates }),
        }
    })
    .collect()
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_links(rows in anything(), seed in any::<u64>()) {
        let mut one = inference();
        let exchanges = exchanges_of(&mut one, &rows);
        let mut shuffled = exchanges.clone();
        shuffled.sort_by_key(|exchange| (exchange.id ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut other = one_like(&one);
        one.add_all(&exchanges);
        other.add_all(&shuffled);
        prop_assert_eq!(one.finish(), other.finish());
    }

    /// Each call is linked once; to a request of the service that makes it; never to itself, nor in a circle.
    #[test]
    fn links_are_trees(rows in anything()) {
        let mut inference = inference();
        let exchanges = exchanges_of(&mut inference, &rows);
        inference.add_all(&exchanges);
        let links = inference.finish();
        let mut parents = HashMap::new();
        for link in &links {
            let child = exchanges[link.child as usize];
            prop_assert!(parents.insert(link.child, link.parent).is_none(), "two links for {}", link.child);
            prop_assert!((0.0..=1.0).contains(&link.confidence));
            if link.method == Method::Timing && let Some(parent) = link.parent {
                prop_assert_eq!(Some(exchanges[parent as usize].server), child.client);
            }
        }
        for &start in parents.keys() {
            let mut at = start;
            for _ in 0..=exchanges.len() {
                match parents.get(&at) {
                    Some(Some(parent)) => at = *parent,
                    _ => break,
                }
                prop_assert_ne!(at, start, "a circle");
            }
        }
    }
}

impl Inference {
    fn add_all(&mut self, exchanges: &[Exchange]) {
        for &exchange in exchanges {
            self.add(exchange);
        }
    }
}

/// An inference that knows the same names.
fn one_like(one: &Inference) -> Inference {
    Inference { names: one.names.clone(), ..inference() }
}
