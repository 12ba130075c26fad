use weir_abi::{Conn, DROP_OUT, ROLE_CLIENT};

use super::*;
use crate::btf::Types;
use crate::clock::Clock;
use crate::identity::Identities;
use crate::preflight::CgroupRoot;

const SECOND: u64 = 1_000_000_000;

struct Bench {
    drops: Drops,
    identities: Identities,
    reason: u32,
}

impl Bench {
    fn new() -> Bench {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let types = Types::read(&bytes).expect("types");
        let values = types.enumerators().expect("enums");
        let denial = values.iter().find(|(_, name, _)| *name == "SKB_DROP_REASON_NETFILTER_DROP");
        let nowhere = std::path::Path::new("/nonexistent");
        Bench {
            reason: denial.expect("a reason").2,
            drops: Drops::new(Reasons::read(&types).expect("reasons")),
            identities: Identities::new(CgroupRoot::at(nowhere)),
        }
    }

    fn cut(&mut self, second: u64) -> (Vec<DropRow>, Vec<FlowRow>) {
        let node = SmolStr::new_static("n");
        let context =
            &mut Context { node: &node, clock: Clock::at_epoch(), identities: &mut self.identities };
        let (mut rows, mut flows) = (Vec::new(), Vec::new());
        self.drops.cut((second * SECOND) as i64, context, &mut rows, &mut flows);
        (rows, flows)
    }

    /// A SYN from 10.0.0.1:40000+`nth` to 10.0.0.2:443.
    fn syn(&self, nth: u32, flags: u8) -> (DropKey, Dropped) {
        let ip = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last];
        let key = DropKey {
            from_ip: ip(1),
            to_ip: ip(2),
            from_port: 40_000_u16.wrapping_add(nth as u16),
            to_port: 443,
            reason: self.reason,
            netns: 7 + (nth >> 16),
            protocol: 6,
            flags,
            ..DropKey::default()
        };
        (
            key,
            Dropped {
                first_ns: SECOND,
                last_ns: SECOND,
                packets: 1,
                bytes: 60,
                tcp_flags: 2,
                ..Dropped::default()
            },
        )
    }
}

#[test]
fn a_denied_connection_keeps_its_id_over_intervals() {
    let mut bench = Bench::new();
    bench.drops.take(vec![bench.syn(0, 0)]);
    let (rows, flows) = bench.cut(10);
    assert_eq!((rows.len(), flows.len()), (1, 1));
    assert_eq!(flows[0].policy_verdict.as_deref(), Some("dropped"));
    assert_eq!((flows[0].client_port, flows[0].server_port), (Some(40_000), Some(443)));
    assert_eq!(rows[0].connection_id, flows[0].connection_id);
    assert_eq!(bench.cut(20), (vec![], vec![]), "each drop is told once");
    bench.drops.take(vec![bench.syn(0, 0)]);
    let (_, again) = bench.cut(30);
    assert_eq!(again[0].connection_id, flows[0].connection_id);
    assert_eq!(again[0].drops, 1);
}

#[test]
fn a_connect_that_waits_gets_its_drops_when_it_ends() {
    let mut bench = Bench::new();
    let (key, mut dropped) = bench.syn(0, DROP_OUT);
    (dropped.sender_state, dropped.seq) = (2, 77);
    bench.drops.take(vec![(key, dropped)]);
    let (rows, flows) = bench.cut(10);
    assert_eq!((rows.len(), flows.len()), (1, 0), "its flow's row is still to come");
    let told_before = rows[0].connection_id.clone();
    bench.drops.take(vec![(key, dropped)]);
    let conn = Conn {
        role: ROLE_CLIENT,
        local_ip: key.from_ip,
        remote_ip: key.to_ip,
        local_port: key.from_port,
        remote_port: key.to_port,
        netns: key.netns,
        local_isn: 77,
        ..Conn::default()
    };
    let mut end = vec![FlowRow {
        observer: Some("client".into()),
        close_reason: Some("timed_out".into()),
        client_packets: 2,
        connection_id: Some(crate::ends::tcp_id(&conn, "n", 0)),
        ..FlowRow::default()
    }];
    bench.drops.row_of(FlowKey::of_connection(&conn));
    bench.drops.fill(&mut end);
    assert_eq!((end[0].drops, end[0].drop_reason.as_deref()), (2, Some("NETFILTER_DROP")));
    assert_eq!(end[0].policy_verdict.as_deref(), Some("dropped"));
    let (rows, flows) = bench.cut(20);
    assert_eq!((rows[0].packets, flows.len()), (1, 0));
    assert_eq!(rows[0].connection_id, end[0].connection_id);
    assert_eq!(told_before, end[0].connection_id);
}

#[test]
fn a_flow_that_answers_was_not_denied() {
    let mut bench = Bench::new();
    let (key, mut dropped) = bench.syn(0, 0);
    dropped.tcp_flags = 0x10;
    bench.drops.take(vec![(key, dropped)]);
    assert!(bench.drops.has_news_of(&FlowKey::of_drop(&key)) && bench.drops.has_news_of_living());
    let mut rows = vec![FlowRow { observer: Some("server".into()), client_packets: 5, ..FlowRow::default() }];
    bench.drops.row_of(FlowKey::of_drop(&key));
    bench.drops.fill(&mut rows);
    assert_eq!((rows[0].drops, rows[0].policy_verdict.as_deref()), (1, None));
    assert!(!bench.drops.has_news_of(&FlowKey::of_drop(&key)), "each drop is in one row");
}

/// A flood of spoofed addresses must cost a bounded number of rows, and no packet may be missing in their sum.
#[test]
fn too_many_different_drops_are_told_together() {
    let mut bench = Bench::new();
    let flood = 100_000;
    let taken = (0..flood).map(|nth| bench.syn(nth, 0)).collect();
    bench.drops.take(taken);
    let (rows, flows) = bench.cut(10);
    assert!(rows.len() <= MOST_ENTRIES + 4, "{}", rows.len());
    assert!(flows.len() <= MOST_ENTRIES, "{}", flows.len());
    assert_eq!(rows.iter().map(|row| row.packets).sum::<i64>(), i64::from(flood));
    let folded: Vec<_> = rows.iter().filter(|row| row.client_ip.is_none()).collect();
    assert!(folded.iter().all(|row| row.server_port == Some(443)), "{folded:#?}");
    assert_eq!(bench.drops.folded(), u64::from(flood) - MOST_ENTRIES as u64);
}
