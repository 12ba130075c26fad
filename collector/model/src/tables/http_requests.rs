//! `http_requests`.

use super::table;

table! {
    /// A request as a proxy's access log tells of it (Envoy's over OTLP): what the network's view can't see, beside the flows of the
    /// connections that it came and went by. docs/intake.md says how they are joined.
    HTTP_REQUESTS HttpRequestRow = "http_requests" sorted by ["authority", "path"];

    /// When the proxy had the request's first byte.
    time: Time ["ns"] {};
    /// From then until the last byte of the answer was sent.
    duration_us: Int ["us"] {};
    /// Who reported it: the log's resource's `k8s.pod.name`, `node_name` or `host.name`.
    proxy: Text [""] {otel: "k8s.pod.name"};
    /// Address of who asked, as the proxy had the connection.
    client_ip: Text [""] {otel: "client.address"};
    /// Port of who asked.
    client_port: Port [""] {otel: "client.port"};
    /// Address that the proxy was reached at: with `client_ip` and both ports the flow that the request came by.
    server_ip: Text [""] {otel: "server.address"};
    /// Port that the proxy was reached at.
    server_port: Port [""] {otel: "server.port"};
    /// Address by which the proxy asked on; null where it answered itself.
    upstream_client_ip: Text [""] {};
    /// Port by which the proxy asked on.
    upstream_client_port: Port [""] {};
    /// Address of whom the proxy asked: with `upstream_client_ip` and both ports the flow that the request went on by.
    upstream_ip: Text [""] {otel: "network.peer.address"};
    /// Port of whom the proxy asked.
    upstream_port: Port [""] {otel: "network.peer.port"};
    /// The proxy's name for a group of those.
    upstream_cluster: Text [""] {};
    /// The route that was taken.
    route: Text [""] {otel: "http.route"};
    /// What is asked to be done: `GET`, `POST`, ….
    method: Text [""] {otel: "http.request.method"};
    /// Path and query, as asked.
    path: Str [""] {otel: "url.path"};
    /// Whom the client asked for (`:authority`, `Host`).
    authority: Text [""] {otel: "server.address"};
    /// `HTTP/1.1`, `HTTP/2`, `HTTP/3`.
    protocol: Text [""] {otel: "network.protocol.version"};
    /// Status that was answered; 0 where none was.
    status_code: Int [""] {otel: "http.response.status_code"};
    /// Why the proxy answered as it did, in its letters (`UF`, `UH`, `NR`, `URX`, `UAEX`, …); null for nothing special.
    response_flags: Text [""] {};
    /// The same in words, such as `via_upstream` or `rbac_access_denied_matched_policy[…]`.
    response_details: Text [""] {};
    /// Bytes of the request's body.
    request_bytes: Int ["bytes"] {otel: "http.request.body.size"};
    /// Bytes of the answer's body.
    response_bytes: Int ["bytes"] {otel: "http.response.body.size"};
    /// The proxy's id of it (`x-request-id`).
    request_id: Str [""] {};
    /// What the client calls itself.
    user_agent: Text [""] {otel: "user_agent.original"};
    /// Server name that the client asked for in TLS.
    tls_sni: Text [""] {otel: "server.address"};
    /// `dropped` where the proxy's authorization refused it, else `forwarded`. The flow that it came by has it too.
    policy_verdict: Text [""] {};
    /// The policy that refused it, as the proxy names it; null where none allowed it.
    policy: Text [""] {otel: "security_rule.name"};
    /// The trace that it is part of, where the proxy tells.
    trace_id: Str [""] {otel: "trace_id"};
    /// The proxy's span of it.
    span_id: Str [""] {otel: "span_id"};
}
