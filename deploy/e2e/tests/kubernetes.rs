//! Identity against a real API server: the rights that the manifests grant, pods that come and go and hand their addresses
//! on, an API server that is restarted, and rows that come late.

use std::path::Path;

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weir_e2e::{ControlPlane, Weir, until};

const SECOND: i64 = 1_000_000_000;

#[tokio::test]
async fn rows_name_who_had_an_address_at_their_own_time() -> anyhow::Result<()> {
    let mut plane = ControlPlane::start().await?;
    prepare(&plane).await?;
    let kubeconfig = plane.kubeconfig("weir", "weir")?;
    let kubernetes = format!("--kubernetes={}", kubeconfig.display());
    let flags = ["--no-probe", &kubernetes];
    let weir = Weir::start(&flags).await?;
    state(&weir, "current").await?;

    // A workload, whose first pod's address becomes the second one's at once.
    make_workload(&plane)?;
    make_pod(&plane, "web-5f6d8c7b9-aaaaa", "10.244.1.5")?;
    let first = version(&weir, "web-5f6d8c7b9-aaaaa", "cardinality(addresses) > 0").await?;
    delete_pod(&plane, "web-5f6d8c7b9-aaaaa")?;
    make_pod(&plane, "web-5f6d8c7b9-bbbbb", "10.244.1.5")?;
    let second = version(&weir, "web-5f6d8c7b9-bbbbb", "cardinality(addresses) > 0").await?;
    let ended = version(&weir, "web-5f6d8c7b9-aaaaa", "end_time is not null").await?;
    assert!(first.0 < second.0 && ended.1 <= second.0, "{first:?} {ended:?} {second:?}");

    // The API server goes away and comes back: the view says so, goes on, and makes nothing new of what it knew.
    let known = "select count(*) from k8s_objects where name <> 'web-5f6d8c7b9-ccccc'";
    let before = weir.number(known).await?;
    plane.kill_api()?;
    state(&weir, "stale").await?;
    plane.start_api().await?;
    state(&weir, "current").await?;
    make_pod(&plane, "web-5f6d8c7b9-ccccc", "10.244.1.6")?;
    let third = version(&weir, "web-5f6d8c7b9-ccccc", "cardinality(addresses) > 0").await?;
    assert_eq!(weir.number(known).await?, before, "what went on is no new version");

    // Weir is restarted, and a pod ends while nobody watches.
    let store = weir.store().clone();
    stop(weir).await?;
    delete_pod(&plane, "web-5f6d8c7b9-bbbbb")?;
    let weir = Weir::start_on(&store, &flags).await?;
    state(&weir, "current").await?;
    version(&weir, "web-5f6d8c7b9-bbbbb", "end_time is not null").await?;

    // Rows of all these times, which come now. Each datagram is a flow of its own.
    let at_first = i64::midpoint(first.0, ended.1);
    let capture = weir.store().path("late.pcap");
    write_pcap(
        &capture,
        &[
            (at_first, "10.244.1.5:5001", "10.96.0.77:80"),
            (second.0 + SECOND / 1_000, "10.244.1.5:5002", "192.0.2.1:10250"),
            (third.0 + SECOND / 1_000, "10.244.1.6:5003", "10.244.1.5:8080"),
            (third.0 + SECOND / 1_000, "10.244.1.6:5004", "203.0.113.9:443"),
            (third.0 + SECOND / 1_000, "192.0.2.50:5005", "10.244.1.6:8080"),
        ],
    )?;
    weir.tool_with(&["import"], &capture)?;
    let rows = weir
        .sql(
            "select client_port, client_identity, client_pod, client_workload, client_workload_kind, server_identity,
                server_workload, server_pod, direction from flows order by client_port",
        )
        .await?;
    let expected = json!([
        [5001, "pod", "web-5f6d8c7b9-aaaaa", "web", "Deployment", "service", "web", null, "internal"],
        [
            5002,
            "pod",
            "web-5f6d8c7b9-bbbbb",
            "web",
            "Deployment",
            "control-plane",
            "kubelet",
            null,
            "internal"
        ],
        [
            5003,
            "pod",
            "web-5f6d8c7b9-ccccc",
            "web",
            "Deployment",
            "pod",
            "web",
            "web-5f6d8c7b9-bbbbb",
            "internal"
        ],
        [5004, "pod", "web-5f6d8c7b9-ccccc", "web", "Deployment", "external", null, null, "egress"],
        [5005, "egress-ip", null, "out", "EgressIP", "pod", "web", "web-5f6d8c7b9-ccccc", "internal"],
    ]);
    assert_eq!(json!(rows), expected);
    Ok(())
}

/// A role that lacks something costs what it lacks, and says so.
#[tokio::test]
async fn a_kind_that_may_not_be_watched_leaves_the_others_alone() -> anyhow::Result<()> {
    let plane = ControlPlane::start().await?;
    prepare(&plane).await?;
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/weir-watch";
    let pods = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]});
    plane.ask("PATCH", role, &pods)?;
    let kubeconfig = plane.kubeconfig("weir", "weir")?;
    let weir = Weir::start(&["--no-probe", &format!("--kubernetes={}", kubeconfig.display())]).await?;
    let look = || async {
        let kubernetes = weir.get("/api/v1/status", &[]).await?["kubernetes"].clone();
        let kind = |name: &str| {
            let kinds = kubernetes["kinds"].as_array().cloned().unwrap_or_default();
            kinds.into_iter().find(|kind| kind["kind"] == name).unwrap_or_default()
        };
        let is_refused = kind("Service")["error"].as_str().is_some_and(|error| error.contains("forbidden"));
        Ok((kind("Pod")["state"] == "current" && is_refused).then_some(()))
    };
    until("pods are current, and services are refused", look).await?;
    make_pod(&plane, "alone", "10.244.1.7")?;
    version(&weir, "alone", "cardinality(addresses) > 0").await?;
    Ok(())
}

/// What the cluster has before Weir comes: its role and account out of the manifests, a node, an installed kind.
async fn prepare(plane: &ControlPlane) -> anyhow::Result<()> {
    for namespace in ["weir", "weir-probe", "shop"] {
        plane.make("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))?;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes/rbac.yaml");
    let manifest = std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    for document in serde_norway::Deserializer::from_str(&manifest) {
        let object: Value = serde::Deserialize::deserialize(document)?;
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let namespace = object["metadata"]["namespace"].as_str();
        let scope = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        plane.make(&format!("{root}{scope}/{kind}s"), &object)?;
    }
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "eu-1a"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}});
    plane.make("/api/v1/nodes", &node)?;
    let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}});
    plane.ask("PATCH", "/api/v1/nodes/n1/status", &addresses)?;
    make_egress_ip(plane).await
}

/// OVN-Kubernetes' kind, as far as it matters here.
async fn make_egress_ip(plane: &ControlPlane) -> anyhow::Result<()> {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "egressips.k8s.ovn.org"},
        "spec": {
            "group": "k8s.ovn.org", "scope": "Cluster",
            "names": {"plural": "egressips", "singular": "egressip", "kind": "EgressIP"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}],
        },
    });
    plane.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)?;
    let object = json!({
        "apiVersion": "k8s.ovn.org/v1", "kind": "EgressIP", "metadata": {"name": "out"},
        "spec": {"egressIPs": ["192.0.2.50"]}, "status": {"items": [{"egressIP": "192.0.2.50", "node": "n1"}]},
    });
    // The API server serves a new kind a moment after it took its definition.
    let look = || async {
        let made = plane.make("/apis/k8s.ovn.org/v1/egressips", &object);
        Ok(made.ok().filter(|made| made["kind"] == "EgressIP").map(|_| ()))
    };
    until("the API server serves EgressIPs", look).await.map(|_| ())
}

fn make_workload(plane: &ControlPlane) -> anyhow::Result<()> {
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = json!({"metadata": {"name": "web"}, "spec": spec});
    let deployment = plane.make("/apis/apps/v1/namespaces/shop/deployments", &deployment)?;
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
        "uid": deployment["metadata"]["uid"], "controller": true}]);
    let set = json!({"metadata": {"name": "web-5f6d8c7b9", "ownerReferences": owner}, "spec": spec});
    plane.make("/apis/apps/v1/namespaces/shop/replicasets", &set)?;
    let service = json!({"metadata": {"name": "web"},
        "spec": {"clusterIP": "10.96.0.77", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    plane.make("/api/v1/namespaces/shop/services", &service)?;
    Ok(())
}

/// What controller, scheduler and kubelet would do; without the set, a pod of its own.
fn make_pod(plane: &ControlPlane, name: &str, address: &str) -> anyhow::Result<()> {
    let set = plane.ask("GET", "/apis/apps/v1/namespaces/shop/replicasets/web-5f6d8c7b9", &Value::Null).ok();
    let owners = set.filter(|_| name.starts_with("web-")).map(|set| {
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5f6d8c7b9", "uid": set["metadata"]["uid"],
            "controller": true}])
    });
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}, "ownerReferences": owners},
        "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "registry.example/web:1"}]}});
    plane.make("/api/v1/namespaces/shop/pods", &pod)?;
    let status = json!({"status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": address, "podIPs": [{"ip": address}]}});
    plane.ask("PATCH", &format!("/api/v1/namespaces/shop/pods/{name}/status"), &status)?;
    Ok(())
}

async fn stop(mut weir: Weir) -> anyhow::Result<()> {
    weir.process.signal(Signal::SIGTERM)?;
    weir.process.ended().await?;
    Ok(())
}

fn delete_pod(plane: &ControlPlane, name: &str) -> anyhow::Result<()> {
    plane.ask(
        "DELETE",
        &format!("/api/v1/namespaces/shop/pods/{name}?gracePeriodSeconds=0"),
        &Value::Null,
    )?;
    Ok(())
}

async fn state(weir: &Weir, wanted: &str) -> anyhow::Result<()> {
    let look = || async {
        let status = weir.get("/api/v1/status", &[]).await?;
        Ok((status["kubernetes"]["state"] == wanted).then_some(()))
    };
    until(&format!("the view of Kubernetes is {wanted}"), look).await.map(|_| ())
}

/// When the newest version of a pod began and ended, once there is one that fits.
async fn version(weir: &Weir, pod: &str, that: &str) -> anyhow::Result<(i64, i64)> {
    let text = format!(
        "select cast(time as bigint) as began, cast(end_time as bigint) as ended from k8s_objects
            where kind = 'Pod' and name = '{pod}' and {that} order by time desc limit 1"
    );
    let look = || async { Ok(weir.sql(&text).await?.into_iter().next()) };
    let (row, _) = until(&format!("a version of {pod} with {that}"), look).await?;
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0);
    Ok((number(&row[0]), number(&row[1])))
}

/// UDP datagrams of one byte over Ethernet, in a capture with nanoseconds.
fn write_pcap(path: &Path, datagrams: &[(i64, &str, &str)]) -> anyhow::Result<()> {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for (at, from, to) in datagrams {
        let (from, to): (std::net::SocketAddrV4, std::net::SocketAddrV4) = (from.parse()?, to.parse()?);
        let mut packet = vec![2; 12];
        packet.extend([0x08, 0x00, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(
            [from.port().to_be_bytes(), to.port().to_be_bytes(), 9_u16.to_be_bytes(), [0, 0]].concat(),
        );
        packet.push(b'x');
        file.extend(u32::try_from(at / SECOND)?.to_le_bytes());
        file.extend(u32::try_from(at % SECOND)?.to_le_bytes());
        file.extend([u32::try_from(packet.len())?.to_le_bytes(); 2].concat());
        file.extend(packet);
    }
    std::fs::write(path, file).with_context(|| format!("write {}", path.display()))
}
