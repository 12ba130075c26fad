use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::KINDS;

const SECOND: i64 = 1_000_000_000;
/// 2026-11-30T04:00:00Z.
const START: i64 = 1_796_011_200 * SECOND;

fn kind(group: &str, name: &str) -> Kind {
    *KINDS.iter().find(|kind| (kind.group, kind.kind) == (group, name)).expect("a kind that is watched")
}

fn object(kind: Kind, json: &Value) -> Object {
    Object::read(kind, json).expect("an object")
}

fn at(second: f64) -> i64 {
    START + (second * SECOND as f64) as i64
}

fn timestamp(second: i64) -> String {
    jiff::Timestamp::from_second(START / SECOND + second).expect("in range").to_string()
}

/// A pod that the kubelet took on in that second.
fn pod(name: &str, addresses: &[&str], started: i64) -> Object {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    object(
        kind("", "Pod"),
        &json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
                "creationTimestamp": timestamp(started)},
            "spec": {"nodeName": "n1"},
            "status": {"podIPs": ips, "startTime": timestamp(started), "hostIP": "192.0.2.1"},
        }),
    )
}

fn node(name: &str, address: &str) -> Object {
    object(
        kind("", "Node"),
        &json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": timestamp(0),
                "labels": {"topology.kubernetes.io/zone": "eu-1a"}},
            "spec": {"podCIDRs": ["10.244.1.0/24", "fd00:244::/64"]},
            "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]},
        }),
    )
}

fn pod_at(history: &History, address: &str, second: f64) -> Option<String> {
    let address = address.parse().expect("an address");
    history.who(address, Some(40_000), at(second))?.pod.map(Into::into)
}

fn who(history: &History, address: &str, port: u16) -> Answer {
    let address = address.parse().expect("an address");
    history.who(address, Some(port), at(10.0)).unwrap_or_default()
}

fn gone(history: &mut History, name: &str, second: f64) {
    let version = history.remove(kind("", "Pod"), Some("shop"), name, at(second));
    assert!(version.is_some_and(|version| version.to.is_some()), "{name} was there");
}

#[test]
fn an_address_that_is_reused_within_a_second_is_each_pods_in_its_time() {
    let mut history = History::default();
    history.apply(pod("first", &["10.244.1.5"], 0), at(0.2), false);
    gone(&mut history, "first", 5.3);
    history.apply(pod("second", &["10.244.1.5"], 5), at(5.8), false);
    for (second, name) in [
        (-0.1, None),
        // Its address was told at 0.2, but it sent before.
        (0.1, Some("first")),
        (5.29, Some("first")),
        (5.5, Some("second")),
        (5.9, Some("second")),
        (3_600.0, Some("second")),
    ] {
        assert_eq!(pod_at(&history, "10.244.1.5", second).as_deref(), name, "at {second}");
    }
    gone(&mut history, "second", 7_000.0);
    // Rows of then, which come now.
    assert_eq!(pod_at(&history, "10.244.1.5", 3.0).as_deref(), Some("first"));
    assert_eq!(pod_at(&history, "10.244.1.5", 7_001.0).as_deref(), Some("second"), "its last packets");
    assert_eq!(pod_at(&history, "10.244.1.5", 7_003.0), None);
}

#[test]
fn both_families_of_a_pod_are_the_pod() {
    let mut history = History::default();
    history.apply(pod("dual", &["10.244.1.5", "fd00:244::5"], 0), at(0.2), false);
    for address in ["10.244.1.5", "::ffff:10.244.1.5", "fd00:244::5"] {
        assert_eq!(pod_at(&history, address, 1.0).as_deref(), Some("dual"), "{address}");
    }
    assert!(!history.is_of_pods("10.244.1.9".parse().expect("an address")), "no node yet");
    history.apply(node("n1", "192.0.2.1"), at(0.1), true);
    for (address, is_of_pods) in
        [("10.244.1.9", true), ("10.244.2.9", false), ("fd00:244::9", true), ("fd01::9", false)]
    {
        assert_eq!(history.is_of_pods(address.parse().expect("an address")), is_of_pods, "{address}");
    }
    assert_eq!(pod_at(&history, "10.244.1.9", 1.0), None);
}

/// Several pods have one node's address: a port that one declares tells, otherwise only the cgroup does.
#[test]
fn pods_on_the_nodes_network_are_told_by_cgroup_or_port() {
    let mut history = History::default();
    history.apply(node("n1", "192.0.2.1"), at(0.0), true);
    for (name, port) in [("exporter", json!([{"containerPort": 9100}])), ("proxy", json!([]))] {
        let json = json!({
            "metadata": {"name": name, "namespace": "ops", "uid": format!("uid-{name}")},
            "spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"ports": port}]},
            "status": {"podIP": "192.0.2.1", "hostIP": "192.0.2.1"},
        });
        history.apply(object(kind("", "Pod"), &json), at(1.0), false);
    }
    assert_eq!(who(&history, "192.0.2.1", 40_000).identity.as_deref(), Some("node"));
    assert_eq!(who(&history, "192.0.2.1", 9_100).pod.as_deref(), Some("exporter"));
    assert_eq!(who(&history, "192.0.2.1", 10_250).workload.as_deref(), Some("kubelet"));
    let proxy = history.pod_by_uid("uid-proxy", at(2.0)).expect("known");
    assert_eq!((proxy.pod.as_deref(), proxy.zone.as_deref()), (Some("proxy"), Some("eu-1a")));
}

#[test]
fn a_static_pod_is_found_by_what_its_cgroup_is_called() {
    let mut history = History::default();
    let json = json!({
        "metadata": {"name": "etcd-n1", "namespace": "kube-system", "uid": "mirror", "labels": {"component": "etcd"},
            "annotations": {"kubernetes.io/config.mirror": "hash", "kubernetes.io/config.hash": "hash"},
            "ownerReferences": [{"kind": "Node", "name": "n1", "uid": "n", "controller": true}]},
        "spec": {"nodeName": "n1", "hostNetwork": true}, "status": {"podIP": "192.0.2.1"},
    });
    history.apply(object(kind("", "Pod"), &json), at(1.0), false);
    let etcd = history.pod_by_uid("hash", at(2.0)).expect("known");
    assert_eq!((etcd.pod.as_deref(), etcd.identity.as_deref()), (Some("etcd-n1"), Some("control-plane")));
    assert_eq!(etcd.workload_kind.as_deref(), Some("Pod"));
    assert_eq!(who(&history, "192.0.2.1", 2_379).pod.as_deref(), Some("etcd-n1"));
}

#[test]
fn a_pods_workload_is_its_top_owner_in_whichever_order_they_come() {
    let owned = |kind: &str, name: &str, labels: Value| {
        json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "p", "labels": labels,
                "ownerReferences": [{"kind": kind, "name": name, "uid": "owner", "controller": true}]},
            "status": {"podIP": "10.244.1.5"},
        })
    };
    let above = |group: &str, name: &str, owner: Value| {
        let json =
            json!({"metadata": {"name": "x", "namespace": "shop", "uid": "owner", "ownerReferences": owner}});
        object(kind(group, name), &json)
    };
    let of = |pod: &Value, owner: Option<Object>| {
        let mut history = History::default();
        history.apply(object(kind("", "Pod"), pod), at(1.0), false);
        if let Some(owner) = owner {
            history.apply(owner, at(2.0), false);
        }
        let answer = who(&history, "10.244.1.5", 80);
        (answer.workload_kind.unwrap_or_default(), answer.workload.unwrap_or_default())
    };
    let hashed = owned("ReplicaSet", "web-5f6d8c7b9", json!({"pod-template-hash": "5f6d8c7b9"}));
    let plain = owned("ReplicaSet", "web-5f6d8c7b9", json!({}));
    let deployment = json!([{"kind": "Deployment", "name": "web", "uid": "d", "controller": true}]);
    let rollout = json!([{"kind": "Rollout", "name": "web", "uid": "d", "controller": true}]);
    let cron = json!([{"kind": "CronJob", "name": "nightly", "uid": "c", "controller": true}]);
    for (pod, owner, expected) in [
        (&hashed, None, ("Deployment", "web")),
        (&hashed, Some(above("apps", "ReplicaSet", deployment)), ("Deployment", "web")),
        (&hashed, Some(above("apps", "ReplicaSet", rollout)), ("Rollout", "web")),
        (&hashed, Some(above("apps", "ReplicaSet", json!([]))), ("ReplicaSet", "web-5f6d8c7b9")),
        (&plain, None, ("ReplicaSet", "web-5f6d8c7b9")),
        (&owned("Job", "nightly-29", json!({})), Some(above("batch", "Job", cron)), ("CronJob", "nightly")),
        (&owned("Job", "once", json!({})), Some(above("batch", "Job", json!([]))), ("Job", "once")),
        (&owned("StatefulSet", "db", json!({})), None, ("StatefulSet", "db")),
        (&owned("DaemonSet", "agent", json!({})), None, ("DaemonSet", "agent")),
    ] {
        assert_eq!(of(pod, owner), (expected.0.into(), expected.1.into()), "{pod}");
    }
    assert_eq!(who(&History::default(), "10.244.1.5", 80), Answer::default());
}

#[test]
fn each_kind_of_address_is_what_it_is() {
    let mut history = History::default();
    let objects = [
        (
            "",
            "Service",
            json!({"metadata": {"name": "kubernetes", "namespace": "default", "uid": "1"},
            "spec": {"clusterIPs": ["10.96.0.1"]}}),
        ),
        (
            "",
            "Service",
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "2"},
            "spec": {"clusterIPs": ["10.96.0.7", "fd00:96::7"], "externalIPs": ["192.0.2.70"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}}}),
        ),
        (
            "",
            "Service",
            json!({"metadata": {"name": "headless", "namespace": "shop", "uid": "3"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        ),
        (
            "",
            "Service",
            json!({"metadata": {"name": "kube-dns", "namespace": "kube-system", "uid": "4"},
            "spec": {"clusterIP": "10.96.0.10"}}),
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"metadata": {"name": "kubernetes", "namespace": "default", "uid": "5",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": ["192.0.2.9"]}], "ports": [{"port": 6443}]}),
        ),
        (
            "k8s.ovn.org",
            "EgressIP",
            json!({"metadata": {"name": "out", "uid": "6"},
            "spec": {"egressIPs": ["192.0.2.50", "192.0.2.51"]},
            "status": {"items": [{"egressIP": "192.0.2.50", "node": "n1"}]}}),
        ),
        (
            "gateway.networking.k8s.io",
            "Gateway",
            json!({"metadata": {"name": "edge", "namespace": "net", "uid": "7"},
            "status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.60"}]}}),
        ),
        (
            "networking.istio.io",
            "ServiceEntry",
            json!({"metadata": {"name": "bank", "namespace": "shop", "uid": "8"},
            "spec": {"hosts": ["bank.example"], "addresses": ["203.0.113.7"]}}),
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"name": "gw", "namespace": "net", "uid": "9",
            "labels": {"gateway.networking.k8s.io/gateway-name": "edge"}}, "status": {"podIP": "10.244.1.60"}}),
        ),
    ];
    history.apply(node("n1", "192.0.2.1"), at(0.0), true);
    for (group, name, json) in objects {
        history.apply(object(kind(group, name), &json), at(1.0), false);
    }
    for (address, port, identity, workload) in [
        ("10.96.0.1", 443, "control-plane", "kube-apiserver"),
        ("192.0.2.9", 6_443, "control-plane", "kube-apiserver"),
        ("10.96.0.10", 53, "control-plane", "dns"),
        ("10.96.0.7", 80, "service", "web"),
        ("fd00:96::7", 80, "service", "web"),
        ("192.0.2.70", 80, "service", "web"),
        ("192.0.2.80", 80, "service", "web"),
        ("192.0.2.1", 22, "node", ""),
        ("192.0.2.1", 10_250, "control-plane", "kubelet"),
        ("192.0.2.50", 40_000, "egress-ip", "out"),
        ("192.0.2.60", 443, "gateway", "edge"),
        ("10.244.1.60", 443, "gateway", "gw"),
        ("203.0.113.7", 443, "external", ""),
        ("198.51.100.1", 443, "", ""),
    ] {
        let answer = who(&history, address, port);
        let found = (answer.identity.unwrap_or_default(), answer.workload.unwrap_or_default());
        assert_eq!(found, (identity.into(), workload.into()), "{address}:{port}");
    }
    assert_eq!(who(&history, "192.0.2.50", 1).zone.as_deref(), Some("eu-1a"));
    assert_eq!(who(&history, "203.0.113.7", 443).name.as_deref(), Some("bank.example"));
}

#[test]
fn a_pod_that_succeeded_gives_its_address_back_and_keeps_its_name() {
    let mut history = History::default();
    let mut done = pod("job", &["10.244.1.5"], 0);
    history.apply(done.clone(), at(0.5), false);
    if let Detail::Pod { is_over, .. } = &mut done.detail {
        *is_over = true;
    }
    history.apply(done, at(4.0), false);
    history.apply(pod("next", &["10.244.1.5"], 4), at(4.1), false);
    assert_eq!(pod_at(&history, "10.244.1.5", 3.9).as_deref(), Some("job"));
    assert_eq!(pod_at(&history, "10.244.1.5", 4.05).as_deref(), Some("next"));
    gone(&mut history, "job", 60.0);
    assert_eq!(pod_at(&history, "10.244.1.5", 70.0).as_deref(), Some("next"));
    assert!(history.pod_by_uid("uid-job", at(70.0)).is_some());
}

#[test]
fn what_a_new_list_lacks_has_ended_and_what_is_unchanged_makes_no_version() {
    let mut history = History::default();
    let pods = kind("", "Pod");
    for name in ["a", "b"] {
        let versions = history.apply(pod(name, &[], 0), at(1.0), true);
        assert_eq!(versions.len(), 1);
        assert_eq!(versions[0].from, START, "it is as old as it says");
    }
    history.begin_list(pods);
    let mut again = pod("a", &[], 0);
    again.resource_version = "heartbeat".into();
    assert!(history.apply(again, at(20.0), true).is_empty());
    let ended = history.finish_list(pods, at(20.5));
    assert_eq!(ended.iter().map(|version| version.object.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(ended[0].to, Some(at(20.5)));

    // Another of the same name, whose predecessor's end nobody saw.
    let mut successor = pod("a", &[], 30);
    successor.uid = "other".into();
    let versions = history.apply(successor, at(31.0), false);
    let ends: Vec<Option<i64>> = versions.iter().map(|version| version.to).collect();
    assert_eq!(ends, [Some(at(31.0)), None]);
}

#[test]
fn memory_is_bounded_and_what_is_given_up_is_counted() {
    let mut history = History::new(Limits { ended: 10, live: 3, ..Limits::default() });
    for number in 0..100 {
        let name = format!("p{number}");
        history.apply(pod(&name, &["10.244.1.5"], number), at(number as f64 + 0.5), false);
        gone(&mut history, &name, number as f64 + 0.9);
    }
    // Each leaves a claim and itself.
    assert_eq!(history.losses(), Losses { evicted: 190, refused: 0 });
    assert_eq!(pod_at(&history, "10.244.1.5", 99.6).as_deref(), Some("p99"));
    assert_eq!(pod_at(&history, "10.244.1.5", 50.6), None);
    assert_eq!(history.by_address.values().map(Vec::len).sum::<usize>(), 5);
    for name in ["a", "b", "c", "d"] {
        history.apply(pod(name, &[], 100), at(100.5), false);
    }
    assert_eq!((history.current.len(), history.losses().refused), (3, 1));
    for name in ["a", "b", "c"] {
        gone(&mut history, name, 101.0);
    }
    history.forget(at(101.0) + Limits::default().keep_ns + 1);
    assert!(history.is_empty() && history.by_address.is_empty() && history.pods.is_empty());
}

/// A life in whole seconds: which address, when it begins, how long it lasts.
fn lives() -> impl Strategy<Value = Vec<(u8, i64, i64)>> {
    // (address, pause before, length), turned into lives that don't overlap on an address.
    prop::collection::vec((0u8..4, 0i64..3, 1i64..5), 1..40).prop_map(|steps| {
        let mut next = [0i64; 4];
        let lives = steps.into_iter().map(|(address, pause, length)| {
            let from = next[usize::from(address)] + pause;
            next[usize::from(address)] = from + length;
            (address, from, length)
        });
        lives.collect()
    })
}

proptest! {
    /// Whenever a row comes and however often an address changes hands, it is told who had it at the row's own time.
    #[test]
    fn every_moment_of_every_life_is_its_owners(lives in lives()) {
        let mut events: Vec<(i64, bool, usize)> = Vec::new();
        for (number, (_, from, length)) in lives.iter().enumerate() {
            events.push((*from, true, number));
            events.push((from + length, false, number));
        }
        // Ends before beginnings: one address is never two pods'.
        events.sort_unstable();
        let mut history = History::default();
        for (second, begins, number) in events {
            let (address, ..) = lives[number];
            let name = format!("p{number}");
            if begins {
                history.apply(pod(&name, &[&format!("10.244.1.{address}"), &format!("fd00:244::{address}")], second), at(second as f64 + 0.3), false);
            } else {
                gone(&mut history, &name, second as f64 - 0.1);
            }
        }
        for (number, (address, from, length)) in lives.iter().enumerate() {
            let name = format!("p{number}");
            for second in [*from as f64 + 0.01, *from as f64 + 0.3, (from + length) as f64 - 0.11] {
                for address in [format!("10.244.1.{address}"), format!("fd00:244::{address}")] {
                    let held_by = pod_at(&history, &address, second);
                    prop_assert_eq!(held_by.as_deref(), Some(name.as_str()), "{} at {}", address, second);
                }
            }
        }
    }

    /// Networks are what their masks say, whatever the bits below.
    #[test]
    fn addresses_of_one_network_share_its_prefix(bits: u128, other: u128, length in 0u8..=128) {
        let [base, address] = [bits, other].map(|bits| masked(IpAddr::V6(bits.into()), length));
        let same = length == 0 || (bits ^ other) >> (128 - length) == 0;
        prop_assert_eq!(base == address, same);
        let [base, address] = [bits, other].map(|bits| masked(IpAddr::V4((bits as u32).into()), length.min(32)));
        let same = length == 0 || (bits as u32 ^ other as u32).checked_shr(32 - u32::from(length.min(32))).unwrap_or(0) == 0;
        prop_assert_eq!(base == address, same);
    }
}
