//! The kinds of object that are watched: where the API has them, what for, and which may be absent.

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core's.
    pub group: &'static str,
    /// The name in singular, as in `kind:`.
    pub kind: &'static str,
    /// The name in the API's paths.
    pub plural: &'static str,
    /// Whether every cluster has it; otherwise it is watched where discovery has it.
    pub is_built_in: bool,
    /// Whether its metadata is enough (owners of pods).
    pub metadata_only: bool,
}

impl Kind {
    const fn built_in(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
        Kind { group, kind, plural, is_built_in: true, metadata_only: false }
    }

    const fn owner(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
        Kind { group, kind, plural, is_built_in: true, metadata_only: true }
    }

    const fn installed(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
        Kind { group, kind, plural, is_built_in: false, metadata_only: false }
    }
}

/// All of them. `deploy/kubernetes/rbac.yaml` grants these and nothing else.
pub const KINDS: [Kind; 21] = [
    Kind::built_in("", "Pod", "pods"),
    Kind::built_in("", "Service", "services"),
    Kind::built_in("", "Node", "nodes"),
    Kind::built_in("", "Namespace", "namespaces"),
    Kind::built_in("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    Kind::built_in("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    Kind::owner("apps", "ReplicaSet", "replicasets"),
    Kind::owner("batch", "Job", "jobs"),
    Kind::installed("k8s.ovn.org", "EgressIP", "egressips"),
    Kind::installed("k8s.ovn.org", "EgressFirewall", "egressfirewalls"),
    Kind::installed("network.openshift.io", "EgressNetworkPolicy", "egressnetworkpolicies"),
    Kind::installed("security.istio.io", "PeerAuthentication", "peerauthentications"),
    Kind::installed("security.istio.io", "AuthorizationPolicy", "authorizationpolicies"),
    // Two kinds of this name: each is told by its group.
    Kind::installed("networking.istio.io", "Gateway", "gateways"),
    Kind::installed("networking.istio.io", "ServiceEntry", "serviceentries"),
    Kind::installed("gateway.networking.k8s.io", "Gateway", "gateways"),
    Kind::installed("gateway.networking.k8s.io", "GatewayClass", "gatewayclasses"),
    Kind::installed("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
    Kind::installed("gateway.networking.k8s.io", "GRPCRoute", "grpcroutes"),
    Kind::installed("policy.networking.k8s.io", "AdminNetworkPolicy", "adminnetworkpolicies"),
    Kind::installed("policy.networking.k8s.io", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_watched_twice() {
        for (at, kind) in KINDS.iter().enumerate() {
            let again =
                KINDS[at + 1..].iter().find(|other| (other.group, other.kind) == (kind.group, kind.kind));
            assert_eq!(again, None);
        }
    }
}
