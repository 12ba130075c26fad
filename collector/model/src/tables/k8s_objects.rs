//! `k8s_objects`.

use super::table;

table! {
    /// What was where, when: each version of the Kubernetes objects that give addresses their identity.
    K8S_OBJECTS K8sObjectRow = "k8s_objects" sorted by ["kind", "namespace", "name"];

    /// From when this version held.
    time: Time ["ns"] {};
    /// Until when; null while it holds.
    end_time: OptTime ["ns"] {};
    /// Pod, Service, EndpointSlice, Node, Namespace, NetworkPolicy, …
    kind: Text [""] {};
    /// The object's namespace; null for cluster-wide kinds.
    namespace: Text [""] {otel: "k8s.namespace.name"};
    /// The object's name.
    name: Text [""] {otel: "k8s.pod.name"};
    /// The object's UID.
    uid: Str [""] {otel: "k8s.pod.uid"};
    /// Kubernetes' version of the object.
    resource_version: Str [""] {};
    /// The addresses that it had.
    addresses: TextList [""] {otel: "k8s.pod.ip"};
    /// The node it was on.
    node: Text [""] {otel: "k8s.node.name"};
    /// Its labels.
    labels: Map [""] {};
    /// The rest that Weir keeps of it, as JSON.
    object: Str [""] {};
}
