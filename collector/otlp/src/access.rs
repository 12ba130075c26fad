//! Access logs of proxies (Envoy's OTLP logger) → rows of `http_requests`.
//!
//! A log has no fixed fields: its operator names them. Those are read that Envoy's documentation and Istio's mesh configuration
//! have in their JSON formats (`method`, `response_code`, `downstream_remote_address`, …), as attributes or as a body that is a map.

use std::net::SocketAddr;

use weir_model::SmolStr;
use weir_model::tables::HttpRequestRow;

use crate::proto::common::v1::any_value::Value;
use crate::proto::common::v1::{AnyValue, KeyValue};
use crate::proto::logs::v1::{LogRecord, ResourceLogs};
use crate::value::to_text;

/// The rows of those logs, and how many of them are no requests.
pub fn requests_of(logs: &[ResourceLogs]) -> (Vec<HttpRequestRow>, u64) {
    let (mut rows, mut others) = (Vec::new(), 0);
    for group in logs {
        let of_resource = group.resource.as_ref().map(|resource| resource.attributes.as_slice());
        let resource = Fields { attributes: of_resource.unwrap_or_default(), body: &[] };
        let proxy = ["k8s.pod.name", "node_name", "host.name"].iter().find_map(|key| resource.text(key));
        for record in group.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            match row(record) {
                Some(row) => rows.push(HttpRequestRow { proxy: proxy.clone(), ..row }),
                None => others += 1,
            }
        }
    }
    (rows, others)
}

fn row(record: &LogRecord) -> Option<HttpRequestRow> {
    let fields = Fields { attributes: &record.attributes, body: map(record.body.as_ref()) };
    let method = fields.text("method");
    let status_code = fields.number("response_code");
    // Whatever else a log says, a request has one of them.
    if method.is_none() && status_code.is_none() {
        return None;
    }
    let time = i64::try_from(record.time_unix_nano).ok().filter(|&time| time > 0)?;
    let (client, server) =
        (fields.address("downstream_remote_address"), fields.address("downstream_local_address"));
    let (local, upstream) = (fields.address("upstream_local_address"), fields.address("upstream_host"));
    let details = fields.text("response_code_details");
    let flags = fields.text("response_flags");
    let refused = details.as_deref().filter(|details| details.starts_with("rbac_access_denied"));
    let is_refused = refused.is_some()
        || flags.as_deref().is_some_and(|flags| flags.split(',').any(|flag| flag == "UAEX"));
    let ip = |address: Option<SocketAddr>| {
        address.map(|address| SmolStr::new(address.ip().to_canonical().to_string()))
    };
    let port = |address: Option<SocketAddr>| address.map(|address| address.port());
    let id = |bytes: &[u8]| (!bytes.iter().all(|&byte| byte == 0)).then(|| SmolStr::new(hex::encode(bytes)));
    Some(HttpRequestRow {
        time,
        duration_us: fields.number("duration").and_then(|ms| ms.checked_mul(1_000)),
        proxy: None,
        client_ip: ip(client),
        client_port: port(client),
        server_ip: ip(server),
        server_port: port(server),
        upstream_client_ip: ip(local),
        upstream_client_port: port(local),
        upstream_ip: ip(upstream),
        upstream_port: port(upstream),
        upstream_cluster: fields.text("upstream_cluster"),
        route: fields.text("route_name"),
        method,
        path: fields.text("path"),
        authority: fields.text("authority"),
        protocol: fields.text("protocol"),
        status_code,
        response_flags: flags,
        request_bytes: fields.number("bytes_received"),
        response_bytes: fields.number("bytes_sent"),
        request_id: fields.text("request_id"),
        user_agent: fields.text("user_agent"),
        tls_sni: fields.text("requested_server_name"),
        policy_verdict: Some(SmolStr::new_static(if is_refused { "dropped" } else { "forwarded" })),
        policy: refused.and_then(policy),
        response_details: details,
        trace_id: id(&record.trace_id),
        span_id: id(&record.span_id),
    })
}

/// `rbac_access_denied_matched_policy[ns[shop]-policy[no-guests]-rule[0]]` → what is between the outer brackets.
fn policy(details: &str) -> Option<SmolStr> {
    let (_, rest) = details.split_once('[')?;
    let (name, _) = rest.rsplit_once(']')?;
    (!name.is_empty() && name != "none").then(|| SmolStr::new(name))
}

/// What a log says, wherever it says it.
struct Fields<'a> {
    attributes: &'a [KeyValue],
    body: &'a [KeyValue],
}

impl Fields<'_> {
    /// A value as text; Envoy writes `-` for what there isn't.
    fn text(&self, key: &str) -> Option<SmolStr> {
        let field = self.attributes.iter().chain(self.body).find(|field| field.key == key)?;
        let (text, _) = to_text(field.value.as_ref());
        Some(text).filter(|text| !matches!(text.as_str(), "" | "-" | "null"))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    /// Of a unix socket, or of something internal, there is none.
    fn address(&self, key: &str) -> Option<SocketAddr> {
        self.text(key)?.parse().ok()
    }
}

fn map(body: Option<&AnyValue>) -> &[KeyValue] {
    match body.and_then(|body| body.value.as_ref()) {
        Some(Value::KvlistValue(map)) => &map.values,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::v1::KeyValueList;
    use crate::proto::logs::v1::ScopeLogs;
    use crate::proto::resource::v1::Resource;

    fn field(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
    }

    fn fields() -> Vec<KeyValue> {
        [
            ("method", "GET"),
            ("path", "/cart?id=7"),
            ("authority", "shop"),
            ("protocol", "HTTP/2"),
            ("response_code", "403"),
            ("response_flags", "-"),
            (
                "response_code_details",
                "rbac_access_denied_matched_policy[ns[shop]-policy[no-guests]-rule[0]]",
            ),
            ("duration", "12"),
            ("bytes_received", "0"),
            ("downstream_remote_address", "10.0.0.7:40000"),
            ("downstream_local_address", "[::ffff:10.0.0.9]:8080"),
            ("upstream_host", "-"),
            ("route_name", "default"),
        ]
        .map(|(key, value)| field(key, value))
        .into()
    }

    fn logs(records: Vec<LogRecord>) -> Vec<ResourceLogs> {
        let resource = Resource { attributes: vec![field("node_name", "sidecar~1")], ..Resource::default() };
        let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
        vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }]
    }

    #[test]
    fn a_refused_request_names_its_ends_and_the_policy_wherever_the_fields_are() {
        let body = AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: fields() })) };
        let record = |record| LogRecord { time_unix_nano: 7, trace_id: vec![1; 16], ..record };
        let as_body = record(LogRecord { body: Some(body), ..LogRecord::default() });
        let as_attributes = record(LogRecord { attributes: fields(), ..LogRecord::default() });
        let (rows, others) = requests_of(&logs(vec![as_body, as_attributes]));
        assert_eq!((rows.len(), others), (2, 0));
        assert_eq!(rows[0], rows[1]);
        let row = &rows[0];
        assert_eq!((row.proxy.as_deref(), row.duration_us), (Some("sidecar~1"), Some(12_000)));
        assert_eq!((row.client_ip.as_deref(), row.client_port), (Some("10.0.0.7"), Some(40_000)));
        assert_eq!((row.server_ip.as_deref(), row.server_port), (Some("10.0.0.9"), Some(8_080)));
        assert_eq!((row.upstream_ip.as_deref(), row.response_flags.as_deref()), (None, None));
        assert_eq!((row.status_code, row.method.as_deref()), (Some(403), Some("GET")));
        assert_eq!(row.policy_verdict.as_deref(), Some("dropped"));
        assert_eq!(row.policy.as_deref(), Some("ns[shop]-policy[no-guests]-rule[0]"));
    }

    #[test]
    fn other_logs_are_no_requests() {
        let hello = LogRecord {
            time_unix_nano: 7,
            attributes: vec![field("message", "hello")],
            ..LogRecord::default()
        };
        let no_time = LogRecord { attributes: fields(), ..LogRecord::default() };
        assert_eq!(requests_of(&logs(vec![hello, no_time])), (Vec::new(), 2));
        assert_eq!(policy("rbac_access_denied_matched_policy[none]"), None);
        assert_eq!(policy("via_upstream"), None);
    }
}
