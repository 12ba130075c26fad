//! Which addresses an object holds, and which of its holders an address had at a time.

use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::answer::Answer;
use crate::object::{Detail, Object};

/// How long an address is still its last holder's where nobody else has it: clocks of nodes and of the API server differ,
/// and a connection's last packets come after its pod.
const LINGER_NS: i64 = 2_000_000_000;

/// While it lasts.
pub(crate) const OPEN: i64 = i64::MAX;

/// Which of several claims to one address is believed, the first the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// The pod's own address.
    Pod,
    /// A port of a node that leads to a pod.
    HostPort,
    EgressIp,
    Gateway,
    Service,
    Node,
    Entry,
    /// Says what an address is for, not whose it is.
    Part,
}

/// A part of the control plane, as answers name it.
pub(crate) type Part = &'static str;

/// An object's claim to an address.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Tells this one from all others, for forgetting it.
    pub(crate) id: u64,
    pub(crate) spec: Spec,
    pub(crate) object: Arc<Object>,
    /// It could have held by then.
    pub(crate) earliest: i64,
    /// It was seen to hold.
    pub(crate) from: i64,
    /// It was seen to hold no more; [`OPEN`] while it does.
    pub(crate) to: i64,
}

/// What is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) address: IpAddr,
    /// `None` means all of them.
    pub(crate) port: Option<u16>,
    pub(crate) rank: Rank,
    pub(crate) part: Option<Part>,
}

/// The holders of one address, in some time.
#[derive(Clone, Debug)]
pub struct Holders<'a>(Vec<&'a Claim>);

/// The one that held it.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    pub(crate) object: &'a Arc<Object>,
    pub(crate) address: IpAddr,
    pub(crate) part: Option<Part>,
}

impl Pick<'_> {
    /// The same for all picks that are described alike, while the history isn't changed.
    pub fn key(&self) -> (usize, Option<&'static str>) {
        (Arc::as_ptr(self.object) as usize, self.part)
    }
}

impl<'a> Holders<'a> {
    /// Those of all that may be the answer for some time of these.
    pub(crate) fn within(all: &'a [Claim], from: i64, to: i64) -> Holders<'a> {
        let may_be = |claim: &&Claim| {
            claim.earliest.min(claim.from) <= to && claim.to.saturating_add(LINGER_NS) > from
        };
        Holders(all.iter().filter(may_be).collect())
    }

    /// Who had the address, as the end of a connection with that port, at that time.
    ///
    /// Of several, the one that was seen to have it; else the next one, if it existed by then; else the last one, if that
    /// was a moment ago.
    pub fn pick(&self, port: Option<u16>, at: i64) -> Option<Pick<'a>> {
        let fits = |claim: &&&'a Claim| claim.spec.port.is_none() || claim.spec.port == port;
        let fitting = || self.0.iter().filter(fits).filter_map(|claim| Some((nearness(claim, at)?, *claim)));
        let order = |(near, claim): &(Nearness, &'a Claim)| (near.0, claim.spec.rank, near.1);
        let (_, owner) = fitting().filter(|(_, claim)| claim.spec.rank != Rank::Part).min_by_key(order)?;
        let part = owner.spec.part.or_else(|| {
            let parts = fitting().filter(|(_, claim)| claim.spec.rank == Rank::Part);
            parts.min_by_key(order).and_then(|(_, claim)| claim.spec.part)
        });
        Some(Pick { object: &owner.object, address: owner.spec.address, part })
    }

    /// What the address was for, where nobody is known to have had it: an API server outside the cluster.
    pub fn part(&self, port: Option<u16>, at: i64) -> Option<Answer> {
        let claims = self.0.iter().filter(|claim| claim.spec.port.is_none() || claim.spec.port == port);
        let part = claims.filter(|claim| nearness(claim, at).is_some()).find_map(|claim| claim.spec.part)?;
        Some(Answer::of_part(part))
    }
}

/// How well a claim fits a time (0: seen to hold, 1: about to, 2: just ended), then how near it is, the less the better.
struct Nearness(u8, i64);

fn nearness(claim: &Claim, at: i64) -> Option<Nearness> {
    if claim.from <= at && at < claim.to {
        return Some(Nearness(0, at - claim.from));
    }
    if claim.earliest <= at && at < claim.from {
        return Some(Nearness(1, claim.from - at));
    }
    (claim.to <= at && at - claim.to < LINGER_NS).then(|| Nearness(2, at - claim.to))
}

/// What an object claims.
pub(crate) fn claims(object: &Object) -> Vec<Spec> {
    let all = |rank, part| {
        let addresses = object.addresses.iter();
        addresses.map(move |address| Spec { address: *address, port: None, rank, part }).collect()
    };
    match &object.detail {
        Detail::Pod { is_over: true, .. } => Vec::new(),
        Detail::Pod { host_network, host_ports, host_addresses, .. } => {
            let part = part_of_pod(object);
            let mut specs: Vec<Spec> = if *host_network { Vec::new() } else { all(Rank::Pod, part) };
            let hosts = if *host_network { &object.addresses } else { host_addresses };
            let known = part.map_or(&[][..], ports_of_part).iter().filter(|_| *host_network);
            for port in host_ports.iter().chain(known) {
                specs.extend(hosts.iter().map(|address| Spec {
                    address: *address,
                    port: Some(*port),
                    rank: Rank::HostPort,
                    part,
                }));
            }
            specs.dedup();
            specs
        }
        Detail::Node { kubelet_port, .. } => {
            let mut specs: Vec<Spec> = all(Rank::Node, None);
            let kubelet = |spec: &Spec| Spec {
                port: Some(*kubelet_port),
                rank: Rank::Part,
                part: Some("kubelet"),
                ..spec.clone()
            };
            specs.extend(specs.iter().map(kubelet).collect::<Vec<_>>());
            specs
        }
        Detail::Endpoints { service, ports } => {
            let service = service.as_ref().unwrap_or(&object.name);
            let Some(part) = part_of_service(object.namespace.as_ref(), service) else { return Vec::new() };
            // DNS's pods are its part whoever they speak to; the API server shares its address with its node.
            let ports: Vec<Option<u16>> =
                if part == DNS { vec![None] } else { ports.iter().map(|port| Some(*port)).collect() };
            let claim = |address: &IpAddr| {
                let address = *address;
                let spec = move |port| Spec { address, port, rank: Rank::Part, part: Some(part) };
                ports.iter().copied().map(spec).collect::<Vec<_>>()
            };
            object.addresses.iter().flat_map(claim).collect()
        }
        Detail::Egress { .. } => all(Rank::EgressIp, None),
        Detail::Entry { .. } => all(Rank::Entry, None),
        Detail::None if object.is("Service") => {
            all(Rank::Service, part_of_service(object.namespace.as_ref(), &object.name))
        }
        Detail::None if object.is("Gateway") => all(Rank::Gateway, None),
        Detail::None => Vec::new(),
    }
}

/// What DNS servers are a part of.
const DNS: Part = "dns";

/// The services that are the control plane's: the API's, and the cluster's DNS by the names that installers give it.
fn part_of_service(namespace: Option<&SmolStr>, name: &str) -> Option<Part> {
    match (namespace.map(SmolStr::as_str)?, name) {
        ("default", "kubernetes") => Some("kube-apiserver"),
        ("kube-system", "kube-dns" | "coredns") | ("openshift-dns", "dns-default") => Some(DNS),
        _ => None,
    }
}

/// Static pods of the control plane, by the labels that installers give them.
pub(crate) fn part_of_pod(object: &Object) -> Option<Part> {
    if !matches!(
        object.namespace.as_deref(),
        Some("kube-system" | "openshift-etcd" | "openshift-kube-apiserver")
    ) {
        return None;
    }
    if object.label("k8s-app").is_some_and(|app| app == "kube-dns") {
        return Some(DNS);
    }
    let name = object.label("component").or_else(|| object.label("app"))?;
    ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"]
        .into_iter()
        .find(|part| name == part)
}

/// Ports that such pods don't declare.
fn ports_of_part(part: Part) -> &'static [u16] {
    match part {
        "kube-apiserver" => &[6_443],
        "etcd" => &[2_379, 2_380, 2_381],
        "kube-controller-manager" => &[10_257],
        "kube-scheduler" => &[10_259],
        _ => &[],
    }
}
