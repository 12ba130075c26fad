//! Promises of the whole crate: nothing is lost on the way, and nothing that a sender writes brings it down.

mod arbitrary;
mod json;
mod refused;

use proptest::prelude::*;
use weir_model::SmolStr;

use crate::proto::common::v1::InstrumentationScope;
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::{ResourceSpans, Span, Status};
use crate::{resource_spans, rows_of};

/// A span with all that OTLP says of it: its resource and scope, and their schemas.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    resource: Resource,
    resource_schema: String,
    scope: InstrumentationScope,
    scope_schema: String,
    span: Span,
}

/// Every span with what is told of it; what OTLP can say in two ways, in one.
fn told(groups: &[ResourceSpans]) -> Vec<Told> {
    let mut all = Vec::new();
    for group in groups {
        for scope_group in &group.scope_spans {
            for span in &scope_group.spans {
                let mut span = span.clone();
                span.status = span.status.filter(|status| *status != Status::default());
                if span.parent_span_id == [0; 8] {
                    span.parent_span_id.clear();
                }
                all.push(Told {
                    resource: group.resource.clone().unwrap_or_default(),
                    resource_schema: group.schema_url.clone(),
                    scope: scope_group.scope.clone().unwrap_or_default(),
                    scope_schema: scope_group.schema_url.clone(),
                    span,
                });
            }
        }
    }
    all
}

fn node() -> SmolStr {
    SmolStr::new("node-1")
}

proptest! {
    #[test]
    fn rows_give_back_the_spans_they_were_made_of(groups in arbitrary::groups()) {
        let (rows, refused) = rows_of(&groups, &node());
        prop_assert_eq!(refused.spans(), 0, "{}", refused.first);
        prop_assert_eq!(told(&resource_spans(&rows)), told(&groups));
    }

    /// As for the above; JSON may not read the last bit of a long fraction, so doubles are short here.
    #[test]
    fn otlp_json_gives_back_the_spans_it_was_made_of(groups in arbitrary::groups_with(arbitrary::short_double())) {
        let text = crate::json::encode::traces(&groups).to_string();
        prop_assert_eq!(told(&crate::json::decode::traces(text.as_bytes()).unwrap()), told(&groups));
    }

    /// Rows come from whoever can write to the store: columns that say nothing sensible still make spans.
    #[test]
    fn rows_that_something_else_wrote_make_spans(rows in arbitrary::odd_rows()) {
        let spans: usize = told(&resource_spans(&rows)).len();
        prop_assert_eq!(spans, rows.len());
    }

    #[test]
    fn no_json_brings_the_reader_down(json in arbitrary::json()) {
        if let Ok(groups) = crate::json::decode::traces(json.to_string().as_bytes()) {
            let (rows, refused) = rows_of(&groups, &node());
            prop_assert_eq!(rows.len() as u64 + refused.spans(), told(&groups).len() as u64);
        }
    }

    #[test]
    fn no_bytes_bring_the_reader_down(bytes in any::<Vec<u8>>()) {
        let _ = crate::json::decode::traces(&bytes);
    }
}
