//! A holder → what the tables' columns say of an end.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::claims::{Pick, part_of_pod};
use crate::history::History;
use crate::object::{Detail, Object};

/// What an end was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// As `client_identity` of `flows` has it.
    pub identity: Option<SmolStr>,
    /// The pod.
    pub pod: Option<SmolStr>,
    /// The namespace of pod, service or gateway.
    pub namespace: Option<SmolStr>,
    /// The top owner; the service; the part of the control plane.
    pub workload: Option<SmolStr>,
    /// What `workload` is.
    pub workload_kind: Option<SmolStr>,
    /// The node.
    pub node: Option<SmolStr>,
    /// The node's zone.
    pub zone: Option<SmolStr>,
    /// The name outside the cluster.
    pub name: Option<SmolStr>,
}

const CONTROL_PLANE: SmolStr = SmolStr::new_static("control-plane");

impl Answer {
    pub(crate) fn of_part(part: &'static str) -> Answer {
        Answer {
            identity: Some(CONTROL_PLANE),
            workload: Some(SmolStr::new_static(part)),
            workload_kind: Some(CONTROL_PLANE),
            ..Answer::default()
        }
    }
}

impl History {
    /// What the columns say of a holder.
    pub fn describe(&self, pick: &Pick<'_>) -> Answer {
        let answer = self.of_object(pick);
        let Some(part) = pick.part else { return answer };
        // A pod keeps its own names: they say more than the part does.
        if answer.pod.is_some() {
            return Answer { identity: Some(CONTROL_PLANE), ..answer };
        }
        Answer { namespace: answer.namespace, node: answer.node, zone: answer.zone, ..Answer::of_part(part) }
    }

    /// What the columns say of a pod.
    pub(crate) fn of_pod(&self, pod: &Arc<Object>) -> Answer {
        let (workload_kind, workload) = self.workload(pod);
        let identity = match part_of_pod(pod) {
            Some(_) => CONTROL_PLANE,
            None if is_gateway(pod) => SmolStr::new_static("gateway"),
            None => SmolStr::new_static("pod"),
        };
        Answer {
            identity: Some(identity),
            pod: Some(pod.name.clone()),
            namespace: pod.namespace.clone(),
            workload: Some(workload),
            workload_kind: Some(workload_kind),
            node: pod.node.clone(),
            zone: pod.node.as_ref().and_then(|node| self.zone_of(node)),
            name: None,
        }
    }

    fn of_object(&self, pick: &Pick<'_>) -> Answer {
        let object = pick.object;
        let named = |identity: &'static str| Answer {
            identity: Some(SmolStr::new_static(identity)),
            namespace: object.namespace.clone(),
            workload: Some(object.name.clone()),
            workload_kind: Some(SmolStr::new_static(object.kind.kind)),
            ..Answer::default()
        };
        match &object.detail {
            Detail::Pod { .. } => self.of_pod(object),
            Detail::Node { zone, .. } => Answer {
                identity: Some(SmolStr::new_static("node")),
                node: Some(object.name.clone()),
                zone: zone.clone(),
                ..Answer::default()
            },
            Detail::Egress { assigned } => {
                let node = assigned.iter().find(|(address, _)| *address == pick.address);
                let node = node.map(|(_, node)| node.clone());
                let zone = node.as_ref().and_then(|node| self.zone_of(node));
                Answer { node, zone, ..named("egress-ip") }
            }
            Detail::Entry { host } => Answer {
                identity: Some(SmolStr::new_static("external")),
                name: host.clone(),
                ..Answer::default()
            },
            Detail::None if object.is("Gateway") => named("gateway"),
            Detail::None | Detail::Endpoints { .. } => named("service"),
        }
    }

    /// Kind and name of a pod's top owner, as far as Kubernetes' own controllers go.
    fn workload(&self, pod: &Object) -> (SmolStr, SmolStr) {
        let Some(owner) = &pod.owner else { return ("Pod".into(), pod.name.clone()) };
        if let Some(above) = self.owner_of(&owner.uid) {
            return (above.kind.clone(), above.name.clone());
        }
        // The owner's own object may come after the pod's: its name tells, by the rule that its controller made it by.
        let hash = pod.label("pod-template-hash");
        if let Some(name) = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'))
            && owner.kind == "ReplicaSet"
            && !self.is_owner_known(&owner.uid)
        {
            return ("Deployment".into(), name.into());
        }
        // A static pod's owner is the node that it runs on.
        if owner.kind == "Node" {
            return ("Pod".into(), pod.name.clone());
        }
        (owner.kind.clone(), owner.name.clone())
    }
}

/// Pods that the installers of Istio and of Gateway API's implementations label as gateways.
fn is_gateway(pod: &Object) -> bool {
    let is_istio = pod.label("istio").is_some_and(|name| name.ends_with("gateway"));
    is_istio || pod.label("gateway.networking.k8s.io/gateway-name").is_some()
}
