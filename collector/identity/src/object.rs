//! JSON of an object → what Weir keeps of it. Lenient: a field that is absent or of another type is as if it were not
//! there, since clusters are of many versions; only an object without name or UID is no use.
//!
//! What is kept is in the form that Kubernetes has it: read again (from `k8s_objects`), it gives the same object. Never kept:
//! annotations but the one that names a static pod, environment variables, commands, and whatever else may hold a secret.

use std::net::IpAddr;

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::kinds::Kind;

/// Labels of one object that are kept; Kubernetes itself has no bound but the object's size.
const MOST_LABELS: usize = 64;

/// A static pod's cgroup has the hash of its file; its mirror in the API has a UID of its own, and this.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// An object that can't be kept. The watch counts it and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} without {lacks}")]
pub struct Unreadable {
    /// Of which kind it should be.
    pub kind: &'static str,
    /// What it lacks.
    pub lacks: &'static str,
}

/// What is kept of one version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `None` for cluster-wide kinds.
    pub namespace: Option<SmolStr>,
    /// Its name.
    pub name: SmolStr,
    /// Its UID.
    pub uid: SmolStr,
    /// Kubernetes' version of it.
    pub resource_version: SmolStr,
    /// When it was made, to the second.
    pub created: Option<i64>,
    /// Its labels.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// Its controller, else its first owner.
    pub owner: Option<Owner>,
    /// Addresses that it has or gives.
    pub addresses: Vec<IpAddr>,
    /// The node it is on.
    pub node: Option<SmolStr>,
    /// What only its kind has.
    pub detail: Detail,
    /// What is kept of its JSON.
    pub rest: Value,
}

/// What `k8s_objects` has in columns of their own; the rest is its `object`.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// The namespace.
    pub namespace: Option<&'a str>,
    /// The name.
    pub name: &'a str,
    /// The UID.
    pub uid: &'a str,
    /// Kubernetes' version of it.
    pub resource_version: &'a str,
    /// The labels.
    pub labels: &'a [(SmolStr, SmolStr)],
}

/// An entry of `ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Such as `ReplicaSet`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// Its UID.
    pub uid: SmolStr,
}

/// What only one kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A pod.
    Pod {
        /// Whether it shares its node's network: then its addresses are the node's.
        host_network: bool,
        /// Whether it gave its addresses back: it succeeded, failed, or all of its containers ended for good.
        is_over: bool,
        /// When the kubelet took it on, to the second.
        started: Option<i64>,
        /// What its cgroup is called by, where that isn't its UID (static pods).
        cgroup_uid: Option<SmolStr>,
        /// Ports of the node that lead to it.
        host_ports: Vec<u16>,
        /// The node's addresses.
        host_addresses: Vec<IpAddr>,
    },
    /// An `EndpointSlice`: the service, and the ports that its addresses are reached by.
    Endpoints {
        /// The service's name.
        service: Option<SmolStr>,
        /// Empty means all.
        ports: Vec<u16>,
    },
    /// A node.
    Node {
        /// Its zone.
        zone: Option<SmolStr>,
        /// Networks that its pods get their addresses from: base address and prefix length.
        pod_networks: Vec<(IpAddr, u8)>,
        /// The kubelet's port.
        kubelet_port: u16,
    },
    /// An `EgressIP`: which node has which address now.
    Egress {
        /// Address and node.
        assigned: Vec<(IpAddr, SmolStr)>,
    },
    /// A `ServiceEntry`: the first name that it gives to its addresses.
    Entry {
        /// The name.
        host: Option<SmolStr>,
    },
    /// Nothing more.
    None,
}

impl Object {
    /// Reads what the API gave.
    ///
    /// # Errors
    /// [`Unreadable`] where it has no name or no UID.
    pub fn read(kind: Kind, json: &Value) -> Result<Object, Unreadable> {
        let lacks = |lacks| Unreadable { kind: kind.kind, lacks };
        let metadata = &json["metadata"];
        let spec = if kind.metadata_only { &Value::Null } else { &json["spec"] };
        let mut object = Object {
            kind,
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]).ok_or(lacks("a name"))?,
            uid: text(&metadata["uid"]).ok_or(lacks("a UID"))?,
            resource_version: text(&metadata["resourceVersion"]).unwrap_or_default(),
            created: time(&metadata["creationTimestamp"]),
            labels: labels(&metadata["labels"]),
            owner: owner(&metadata["ownerReferences"]),
            addresses: Vec::new(),
            node: None,
            detail: Detail::None,
            rest: kept(kind, json),
        };
        match (kind.group, kind.kind) {
            ("", "Pod") => pod(&mut object, json),
            ("", "Service") => service(&mut object, json),
            ("", "Node") => node(&mut object, json),
            ("discovery.k8s.io", "EndpointSlice") => endpoints(&mut object, json),
            ("k8s.ovn.org", "EgressIP") => egress_ip(&mut object, json),
            ("gateway.networking.k8s.io", "Gateway") => {
                object.addresses = addresses(&json["status"]["addresses"], "value");
            }
            ("networking.istio.io", "ServiceEntry") => {
                object.addresses = list(&spec["addresses"]).iter().filter_map(address).collect();
                object.detail = Detail::Entry { host: text(&spec["hosts"][0]) };
            }
            _ => {}
        }
        object.addresses.sort_unstable();
        object.addresses.dedup();
        Ok(object)
    }

    /// Reads what was kept of an object; the same as was read then.
    ///
    /// # Errors
    /// As [`Object::read`].
    pub fn restore(kind: Kind, named: &Named<'_>, rest: &Value) -> Result<Object, Unreadable> {
        let mut json = if rest.is_object() { rest.clone() } else { json!({}) };
        if !json["metadata"].is_object() {
            json["metadata"] = json!({});
        }
        let metadata = &mut json["metadata"];
        metadata["namespace"] = named.namespace.into();
        metadata["name"] = named.name.into();
        metadata["uid"] = named.uid.into();
        metadata["resourceVersion"] = named.resource_version.into();
        let labels = named.labels.iter().map(|(key, value)| (key.to_string(), value.as_str().into()));
        metadata["labels"] = Value::Object(labels.collect());
        Object::read(kind, &json)
    }

    /// Whether it differs in nothing but Kubernetes' version: a heartbeat, an annotation.
    pub(crate) fn is_the_same(&self, other: &Object) -> bool {
        self.uid == other.uid
            && self.labels == other.labels
            && self.owner == other.owner
            && self.addresses == other.addresses
            && self.node == other.node
            && self.detail == other.detail
            && self.rest == other.rest
    }

    /// The value of one label.
    pub(crate) fn label(&self, key: &str) -> Option<&SmolStr> {
        self.labels.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// Whether it is of that built-in or installed kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.kind == kind
    }
}

fn pod(object: &mut Object, json: &Value) {
    let (spec, status) = (&json["spec"], &json["status"]);
    let annotations = &json["metadata"]["annotations"];
    let phase = text(&status["phase"]);
    let is_leaving = json["metadata"]["deletionTimestamp"].is_string();
    let containers = list(&spec["containers"]);
    let ports = containers.iter().flat_map(|each| list(&each["ports"]));
    let host_network = spec["hostNetwork"].as_bool().unwrap_or(false);
    object.addresses = addresses(&status["podIPs"], "ip");
    object.addresses.extend(address(&status["podIP"]));
    object.node = text(&spec["nodeName"]);
    let mut host_addresses = addresses(&status["hostIPs"], "ip");
    host_addresses.extend(address(&status["hostIP"]));
    host_addresses.sort_unstable();
    host_addresses.dedup();
    object.detail = Detail::Pod {
        host_network,
        is_over: matches!(phase.as_deref(), Some("Succeeded" | "Failed")) || is_leaving && has_ended(status),
        started: time(&status["startTime"]),
        cgroup_uid: text(&annotations[MIRROR]),
        host_ports: ports
            .filter_map(|each| {
                port(&each["hostPort"]).or_else(|| port(&each["containerPort"]).filter(|_| host_network))
            })
            .collect(),
        host_addresses,
    };
}

fn service(object: &mut Object, json: &Value) {
    let spec = &json["spec"];
    object.addresses = list(&spec["clusterIPs"]).iter().filter_map(address).collect();
    object.addresses.extend(address(&spec["clusterIP"]));
    object.addresses.extend(list(&spec["externalIPs"]).iter().filter_map(address));
    object.addresses.extend(addresses(&json["status"]["loadBalancer"]["ingress"], "ip"));
}

fn node(object: &mut Object, json: &Value) {
    let (spec, status) = (&json["spec"], &json["status"]);
    object.addresses = addresses(&status["addresses"], "address");
    object.node = Some(object.name.clone());
    let networks = list(&spec["podCIDRs"]).iter().filter_map(network);
    object.detail = Detail::Node {
        zone: object.label("topology.kubernetes.io/zone").cloned(),
        pod_networks: networks.collect(),
        kubelet_port: port(&status["daemonEndpoints"]["kubeletEndpoint"]["Port"]).unwrap_or(10_250),
    };
}

fn endpoints(object: &mut Object, json: &Value) {
    let endpoints = list(&json["endpoints"]);
    object.addresses =
        endpoints.iter().flat_map(|each| list(&each["addresses"])).filter_map(address).collect();
    object.detail = Detail::Endpoints {
        service: object.label("kubernetes.io/service-name").cloned(),
        ports: list(&json["ports"]).iter().filter_map(|each| port(&each["port"])).collect(),
    };
}

fn egress_ip(object: &mut Object, json: &Value) {
    let items = list(&json["status"]["items"]).iter();
    let assigned: Vec<_> =
        items.filter_map(|each| Some((address(&each["egressIP"])?, text(&each["node"])?))).collect();
    object.addresses = list(&json["spec"]["egressIPs"]).iter().filter_map(address).collect();
    object.addresses.extend(assigned.iter().map(|(address, _)| *address));
    object.detail = Detail::Egress { assigned };
}

/// What is kept, in the form that Kubernetes has it.
fn kept(kind: Kind, json: &Value) -> Value {
    let (metadata, spec, status) = (&json["metadata"], &json["spec"], &json["status"]);
    let mut own = pick(metadata, &["creationTimestamp", "deletionTimestamp"]);
    if let Some(controller) = controller(&metadata["ownerReferences"]) {
        own["ownerReferences"] = json!([pick(controller, &["kind", "name", "uid", "controller"])]);
    }
    let mut rest = match (kind.group, kind.kind) {
        ("", "Pod") => {
            own["annotations"] = pick(&metadata["annotations"], &[MIRROR]);
            let containers =
                list(&spec["containers"]).iter().map(|each| pick(each, &["name", "image", "ports"]));
            let mut kept_spec = pick(spec, &["nodeName", "hostNetwork", "serviceAccountName"]);
            kept_spec["containers"] = containers.collect();
            let mut status_kept =
                pick(status, &["phase", "startTime", "hostIP", "hostIPs", "podIP", "podIPs"]);
            if has_ended(status) {
                status_kept["containerStatuses"] = json!([{"state": {"terminated": {}}}]);
            }
            json!({"spec": kept_spec, "status": status_kept})
        }
        ("", "Service") => json!({
            "spec": pick(spec, &["type", "ports", "selector", "externalName", "clusterIP", "clusterIPs", "externalIPs"]),
            "status": pick(status, &["loadBalancer"]),
        }),
        ("", "Node") => json!({
            "spec": pick(spec, &["podCIDRs", "providerID"]),
            "status": pick(status, &["addresses", "daemonEndpoints"]),
        }),
        ("discovery.k8s.io", "EndpointSlice") => {
            let endpoints = list(&json["endpoints"]).iter().map(|each| {
                let mut endpoint = pick(each, &["addresses", "conditions", "nodeName", "zone"]);
                endpoint["targetRef"] = pick(&each["targetRef"], &["kind", "name"]);
                endpoint
            });
            json!({"ports": json["ports"], "endpoints": endpoints.collect::<Value>()})
        }
        ("k8s.ovn.org", "EgressIP") => json!({"spec": spec, "status": pick(status, &["items"])}),
        ("gateway.networking.k8s.io", "Gateway") => {
            json!({"spec": spec, "status": pick(status, &["addresses"])})
        }
        _ if kind.metadata_only => json!({}),
        _ => json!({"spec": spec}),
    };
    rest["metadata"] = own;
    if !kind.group.is_empty() {
        // Some kinds of different groups have one name.
        rest["apiGroup"] = kind.group.into();
    }
    rest
}

/// The fields that are there.
fn pick(from: &Value, fields: &[&str]) -> Value {
    let there = fields.iter().filter_map(|field| Some(((*field).to_owned(), from.get(field)?.clone())));
    Value::Object(there.filter(|(_, value)| !value.is_null()).collect())
}

/// Whether no container of a pod runs any more.
fn has_ended(status: &Value) -> bool {
    let states = list(&status["containerStatuses"]);
    !states.is_empty() && states.iter().all(|each| each["state"]["terminated"].is_object())
}

fn controller(references: &Value) -> Option<&Value> {
    let references = list(references);
    references.iter().find(|each| each["controller"] == true).or(references.first())
}

fn owner(references: &Value) -> Option<Owner> {
    let controller = controller(references)?;
    let field = |name: &str| text(&controller[name]);
    Some(Owner { kind: field("kind")?, name: field("name")?, uid: field("uid")? })
}

fn labels(labels: &Value) -> Vec<(SmolStr, SmolStr)> {
    let Some(labels) = labels.as_object() else { return Vec::new() };
    labels.iter().filter_map(|(key, value)| Some((key.into(), text(value)?))).take(MOST_LABELS).collect()
}

fn addresses(entries: &Value, field: &str) -> Vec<IpAddr> {
    list(entries).iter().filter_map(|each| address(&each[field])).collect()
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `10.244.1.0/24`.
fn network(value: &Value) -> Option<(IpAddr, u8)> {
    let (base, length) = value.as_str()?.split_once('/')?;
    Some((base.parse().ok()?, length.parse().ok()?))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Option<SmolStr> {
    value.as_str().filter(|text| !text.is_empty()).map(SmolStr::new)
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// RFC 3339 → UTC nanoseconds.
fn time(value: &Value) -> Option<i64> {
    let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
#[path = "object/tests.rs"]
mod tests;
