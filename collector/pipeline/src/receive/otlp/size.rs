//! How large a request becomes as rows: each row repeats what OTLP says once of its resource and scope, so a small request
//! can become very large.

use prost::Message;
use weir_model::SpanRow;
use weir_model::tables::HttpRequestRow;
use weir_otlp::proto::logs::v1::ResourceLogs;
use weir_otlp::proto::trace::v1::ResourceSpans;

/// About how many bytes of rows the spans become.
pub(super) fn row_bytes(groups: &[ResourceSpans]) -> usize {
    let of_group = |group: &ResourceSpans| -> usize {
        let resource = group.resource.as_ref().map_or(0, Message::encoded_len) + group.schema_url.len();
        let of_scope = group.scope_spans.iter().map(|scope_group| {
            let scope =
                scope_group.scope.as_ref().map_or(0, Message::encoded_len) + scope_group.schema_url.len();
            let repeated = size_of::<SpanRow>() + resource + scope;
            let own: usize = scope_group.spans.iter().map(Message::encoded_len).sum();
            scope_group.spans.len().saturating_mul(repeated).saturating_add(own)
        });
        of_scope.fold(0, usize::saturating_add)
    };
    groups.iter().map(of_group).fold(0, usize::saturating_add)
}

/// About how many bytes of rows logs become, which are read in whole first.
pub(super) fn log_bytes(groups: &[ResourceLogs]) -> usize {
    let records = groups.iter().flat_map(|group| &group.scope_logs).map(|scope| scope.log_records.len());
    let own: usize = groups.iter().map(Message::encoded_len).sum();
    records.sum::<usize>().saturating_mul(size_of::<HttpRequestRow>()).saturating_add(own)
}

#[cfg(test)]
mod tests {
    use weir_otlp::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
    use weir_otlp::proto::resource::v1::Resource;
    use weir_otlp::proto::trace::v1::{ScopeSpans, Span};

    use super::*;

    use crate::memory::{Budget, NoRoom};

    /// 1,000 spans that share a resource of 1 MiB: 1 MiB on the wire, 1 GiB as rows.
    #[tokio::test]
    async fn a_small_request_that_becomes_large_is_refused() {
        let value = AnyValue { value: Some(Value::StringValue("x".repeat(1 << 20))) };
        let attribute = KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 };
        let mut groups = vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![attribute], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![Span::default(); 1000], ..ScopeSpans::default() }],
            schema_url: String::new(),
        }];
        assert!(row_bytes(&groups) > 1000 << 20);
        let budget = Budget::new(256 << 20);
        let err = budget.room(row_bytes(&groups)).await.map(drop).expect_err("too large");
        assert!(matches!(err, NoRoom::TooLarge { .. }), "{err}");

        groups[0].scope_spans[0].spans.truncate(10);
        assert!(budget.room(row_bytes(&groups)).await.is_ok());
    }
}
