//! `k8s_audit`.

use super::table;

table! {
    /// An audit event of the Kubernetes API server (audit.k8s.io/v1).
    K8S_AUDIT K8sAuditRow = "k8s_audit" sorted by ["username", "resource"];

    /// When the request was received.
    time: Time ["ns"] {};
    /// When this stage was reached.
    end_time: OptTime ["ns"] {};
    /// The request's id; the same in all of its stages.
    audit_id: Str [""] {};
    /// RequestReceived, ResponseStarted, ResponseComplete or Panic.
    stage: Text [""] {};
    /// get, list, watch, create, update, patch, delete, …
    verb: Text [""] {otel: "http.request.method"};
    /// Who asked.
    username: Text [""] {otel: "user.name"};
    /// The groups of who asked.
    user_groups: TextList [""] {otel: "user.roles"};
    /// As whom they asked.
    impersonated: Text [""] {};
    /// Where the request came from, proxies last.
    source_ips: TextList [""] {otel: "client.address"};
    /// First of `source_ips`: the key that joins flows.
    client_ip: Text [""] {otel: "client.address"};
    /// The client's own name.
    user_agent: Text [""] {otel: "user_agent.original"};
    /// The request's URI.
    request_uri: Str [""] {otel: "url.path"};
    /// API group of the object.
    api_group: Text [""] {};
    /// Resource of the object, such as `pods`.
    resource: Text [""] {};
    /// Subresource, such as `exec`.
    subresource: Text [""] {};
    /// Namespace of the object.
    namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Name of the object.
    name: Text [""] {};
    /// HTTP status answered.
    response_code: Int [""] {otel: "http.response.status_code"};
    /// `allow` or `forbid`.
    decision: Text [""] {};
    /// Why it was decided so.
    reason: Str [""] {};
}
