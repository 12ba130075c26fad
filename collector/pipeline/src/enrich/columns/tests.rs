use std::collections::HashMap;

use arrow::compute::cast;
use serde_json::{Value, json};
use weir_identity::Object;
use weir_identity::kinds::KINDS;
use weir_model::{DnsRow, ExchangeRow, FlowRow, ProcessRow, Row};

use super::*;
use crate::enrich::tables;

const SECOND: i64 = 1_000_000_000;
const WEB: &str = "11111111-1111-4111-8111-111111111111";
const GONE: &str = "99999999-9999-4999-8999-999999999999";

fn history() -> History {
    let mut history = History::default();
    let node = json!({"metadata": {"name": "n1", "uid": "n1", "labels": {"topology.kubernetes.io/zone": "eu-1a"}},
        "spec": {"podCIDRs": ["10.244.1.0/24"]}, "status": {"addresses": [{"address": "192.168.0.1"}]}});
    let pod = |name: &str, uid: &str, ip: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": uid, "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-abc", "uid": "r", "controller": true}]},
            "spec": {"nodeName": "n1"}, "status": {"podIP": ip}})
    };
    let service = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "s"}, "spec": {"clusterIP": "10.96.0.7"}});
    let api = json!({"metadata": {"name": "kubernetes", "namespace": "default", "uid": "e"},
        "endpoints": [{"addresses": ["192.168.0.9"]}], "ports": [{"port": 6443}]});
    for (kind, object) in [
        ("Node", node),
        ("Pod", pod("web-abc-1", WEB, "10.244.1.5")),
        ("Pod", pod("web-abc-2", "u2", "10.244.1.6")),
        ("Service", service),
        ("EndpointSlice", api),
    ] {
        apply(&mut history, kind, &object, SECOND);
    }
    history
}

fn apply(history: &mut History, kind: &str, object: &Value, at: i64) {
    let kind = *KINDS.iter().find(|known| known.kind == kind).expect("a kind");
    history.apply(Object::read(kind, object).expect("an object"), at, false);
}

fn named<R: Row>(row: R, fixed: &Fixed, is_in_cluster: bool) -> (R, Missing) {
    let table = tables::of(R::table().name).expect("has ends");
    let batch = R::to_batch(&[row]);
    let (named, missing) = name(&batch, table, &history(), fixed, is_in_cluster);
    let mut rows = R::from_batch(&named.unwrap_or(batch)).expect("rows");
    (rows.remove(0), missing)
}

/// What a probe says of a connection of its own client's.
fn flow(pod: Option<&str>, client: &str, server: &str, port: u16) -> FlowRow {
    FlowRow {
        time: 5 * SECOND,
        client_ip: Some(client.into()),
        client_port: Some(40_000),
        client_pod: pod.map(SmolStr::new),
        client_identity: Some(if pod.is_some() { "pod" } else { "process" }.into()),
        client_node: Some("n1".into()),
        server_ip: Some(server.into()),
        server_port: Some(port),
        direction: Some("node".into()),
        ..FlowRow::default()
    }
}

#[test]
fn a_pods_uid_becomes_its_name_and_the_other_end_is_told_by_its_address() {
    let (row, missing) = named(flow(Some(WEB), "10.244.1.5", "10.244.1.6", 80), &Fixed::default(), true);
    assert_eq!(missing, Missing::default());
    assert_eq!(row.client_pod.as_deref(), Some("web-abc-1"));
    assert_eq!(row.server_pod.as_deref(), Some("web-abc-2"));
    for (namespace, workload, kind, node, zone) in [
        (
            &row.client_namespace,
            &row.client_workload,
            &row.client_workload_kind,
            &row.client_node,
            &row.client_zone,
        ),
        (
            &row.server_namespace,
            &row.server_workload,
            &row.server_workload_kind,
            &row.server_node,
            &row.server_zone,
        ),
    ] {
        let all = [namespace, workload, kind, node, zone].map(|text| text.as_deref().unwrap_or_default());
        assert_eq!(all, ["shop", "web", "Deployment", "n1", "eu-1a"]);
    }
    assert_eq!((row.server_identity.as_deref(), row.direction.as_deref()), (Some("pod"), Some("internal")));
}

#[test]
fn each_direction_and_kind_of_end_is_told() {
    for (pod, client, server, port, identity, direction) in [
        (Some(WEB), "10.244.1.5", "10.96.0.7", 5432, "service", "internal"),
        (Some(WEB), "10.244.1.5", "203.0.113.7", 443, "external", "egress"),
        (Some(WEB), "10.244.1.5", "10.244.1.99", 80, "unknown", "internal"),
        (None, "192.168.0.1", "192.168.0.9", 6443, "control-plane", "internal"),
        (None, "192.168.0.1", "10.244.1.5", 80, "pod", "internal"),
        (None, "127.0.0.1", "127.0.0.1", 80, "process", "internal"),
    ] {
        let (row, _) = named(flow(pod, client, server, port), &Fixed::default(), true);
        let told = (row.server_identity.as_deref(), row.direction.as_deref());
        assert_eq!(told, (Some(identity), Some(direction)), "{server}");
        let own = if pod.is_some() { "pod" } else { "process" };
        assert_eq!(row.client_identity.as_deref(), Some(own), "{server}: what a probe saw is kept");
    }
}

#[test]
fn an_outside_server_is_called_by_what_the_client_asked_for() {
    let asked =
        FlowRow { tls_sni: Some("bank.example".into()), ..flow(Some(WEB), "10.244.1.5", "203.0.113.7", 443) };
    let (row, _) = named(asked.clone(), &Fixed::default(), true);
    assert_eq!(row.server_name.as_deref(), Some("bank.example"));
    let looked_up = FlowRow { server_name: Some("cdn.example".into()), ..asked };
    assert_eq!(named(looked_up, &Fixed::default(), true).0.server_name.as_deref(), Some("cdn.example"));
}

#[test]
fn a_pod_that_nobody_told_of_keeps_its_uid_and_is_counted() {
    let (row, missing) = named(flow(Some(GONE), "10.244.1.7", "10.244.1.6", 80), &Fixed::default(), true);
    assert_eq!(row.client_pod.as_deref(), Some(GONE));
    assert_eq!(missing, Missing { pods: HashMap::from([(GONE.into(), 5 * SECOND)]), ends: 1 });
    let sent_with_name = flow(Some("web-abc-1"), "10.244.1.5", "10.244.1.6", 80);
    assert_eq!(named(sent_with_name, &Fixed::default(), true).1, Missing::default());
}

#[test]
fn without_kubernetes_the_map_and_the_hosts_file_name_ends() {
    let mut fixed = Fixed::default();
    fixed.read_hosts("192.168.7.7 printer\n");
    fixed.read_map("192.168.8.0/24 name=plant identity=external zone=eu-9\n").expect("a map");
    for (server, name, identity) in [
        ("192.168.7.7", Some("printer"), None),
        ("192.168.8.1", Some("plant"), Some("external")),
        ("198.51.100.1", None, Some("external")),
        ("192.168.9.9", None, None),
    ] {
        let batch = FlowRow::to_batch(&[flow(None, "192.168.0.5", server, 80)]);
        let (named, _) = name_of(&batch, &fixed);
        let row = FlowRow::from_batch(&named.unwrap_or(batch)).expect("rows").remove(0);
        assert_eq!(
            (row.server_name.as_deref(), row.server_identity.as_deref()),
            (name, identity),
            "{server}"
        );
        assert_eq!(row.direction.as_deref(), Some("node"), "unknown to Kubernetes");
    }
}

fn name_of(batch: &RecordBatch, fixed: &Fixed) -> (Option<RecordBatch>, Missing) {
    super::name(batch, tables::of("flows").expect("has ends"), &History::default(), fixed, false)
}

#[test]
fn exchanges_processes_and_dns_have_the_names_that_they_have_columns_for() {
    let none = Fixed::default();
    let exchange = ExchangeRow { time: 5 * SECOND, pod: Some(WEB.into()), ..ExchangeRow::default() };
    let (exchange, _) = named(exchange, &none, true);
    assert_eq!((exchange.pod.as_deref(), exchange.workload.as_deref()), (Some("web-abc-1"), Some("web")));
    let process = ProcessRow { time: 5 * SECOND, pod: Some(WEB.into()), ..ProcessRow::default() };
    let (process, _) = named(process, &none, true);
    assert_eq!((process.pod.as_deref(), process.pod_name.as_deref()), (Some(WEB), Some("web-abc-1")));
    let dns = DnsRow { time: 5 * SECOND, client_ip: Some("10.244.1.5".into()), ..DnsRow::default() };
    assert_eq!(named(dns, &none, true).0.client_namespace.as_deref(), Some("shop"));
}

/// A newer or older probe's batch: other encodings, columns that are missing.
#[test]
fn a_batch_of_other_encodings_is_named_alike() {
    let batch = FlowRow::to_batch(&[flow(Some(WEB), "10.244.1.5", "10.244.1.6", 80)]);
    let columns = ["time", "client_ip", "client_pod", "server_ip"];
    let plain = columns.map(|name| {
        let array = batch.column_by_name(name).expect("a column").clone();
        let is_text = name != "time";
        (name, if is_text { cast(&array, &arrow::datatypes::DataType::Utf8).expect("text") } else { array })
    });
    let plain = RecordBatch::try_from_iter(plain).expect("a batch");
    let table = tables::of("flows").expect("has ends");
    let (named, _) = name(&plain, table, &history(), &Fixed::default(), true);
    let row = FlowRow::from_batch(&named.expect("named")).expect("rows").remove(0);
    assert_eq!(
        (row.client_pod.as_deref(), row.server_pod.as_deref()),
        (Some("web-abc-1"), Some("web-abc-2"))
    );
}
