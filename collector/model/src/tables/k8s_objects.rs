//! `k8s_objects`.

use super::table;

table! {
    /// What was where, when: each version of the Kubernetes objects that give addresses their identity. A version has a
    /// row when it begins and, with `end_time`, another when it ends; one more where Weir was started while it held and did not
    /// find it in the last day's. Versions that differ in nothing that Weir keeps are one.
    K8S_OBJECTS K8sObjectRow = "k8s_objects" sorted by ["kind", "namespace", "name"];

    /// From when this version was seen to hold; of objects that were there when Weir began to watch, since they were made
    /// (pods: since their kubelet took them on).
    time: Time ["ns"] {};
    /// Until when it was seen to hold; null while it does. Of what ended while Weir was down, when Weir saw that it had.
    end_time: OptTime ["ns"] {};
    /// `Pod`, `Service`, `EndpointSlice`, `Node`, `Namespace`, `NetworkPolicy`, …; docs/identity.md has them all.
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
    /// The rest that Weir keeps of it, as JSON in Kubernetes' own form: of policies and routes the whole `spec`, of others what
    /// identity needs. Never environment, commands, or annotations but the one that names a static pod.
    object: Str [""] {};
}
