//! A tag of a search → an SQL condition on one span: its own attributes, its scope's, its resource's, its events' and
//! its links'. Searches carry strings only, so a value equals an attribute whose text it is, whatever its type.

use serde_json::{Value as Json, json};
use weir_otlp::json::encode::any_value;
use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use weir_otlp::value::to_text;

use super::params::boolean;
use crate::filter::quoted;

const ATTRIBUTES: [&str; 3] = ["attributes", "resource_attributes", "scope_attributes"];
/// Columns that hold OTLP/JSON, with attributes inside.
const LISTS: [&str; 2] = ["events", "links"];
const KINDS: [&str; 5] = ["client", "server", "producer", "consumer", "internal"];

/// `key` = `value` as a condition. Some keys are Jaeger's own words for columns.
pub(crate) fn condition(key: &str, value: &str) -> String {
    match key {
        "error" => match boolean(value) {
            Ok(true) => "status = 'error'".to_owned(),
            Ok(false) => "status = 'ok'".to_owned(),
            Err(_) => "FALSE".to_owned(),
        },
        "span.status" => {
            let upper = value.to_uppercase();
            let status = ["ok", "error"].into_iter().find(|word| word.to_uppercase() == upper);
            format!("coalesce(status, 'unset') = '{}'", status.unwrap_or("unset"))
        }
        "span.kind" => {
            let kind = KINDS.into_iter().find(|word| word.eq_ignore_ascii_case(value));
            format!("coalesce(kind, 'unspecified') = '{}'", kind.unwrap_or("unspecified"))
        }
        "scope.name" => format!("coalesce(scope_name, '') = {}", quoted(value)),
        "scope.version" => format!("coalesce(scope_version, '') = {}", quoted(value)),
        _ => {
            let meant = meanings(value);
            if let Some(key) = key.strip_prefix("resource.") {
                return has_attribute("resource_attributes", key, &meant);
            }
            let own = ATTRIBUTES.iter().map(|column| has_attribute(column, key, &meant));
            let listed =
                LISTS.iter().flat_map(|column| meant.iter().map(move |value| has_listed(column, key, value)));
            format!("({})", own.chain(listed).collect::<Vec<_>>().join(" OR "))
        }
    }
}

fn has_attribute(column: &str, key: &str, meant: &[AnyValue]) -> String {
    if key.is_empty() {
        return "FALSE".to_owned();
    }
    let mut texts: Vec<String> = Vec::new();
    for value in meant {
        let text = quoted(&to_text(Some(value)).0);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    format!("get_field({column}, {}) IN ({})", quoted(key), texts.join(", "))
}

/// Text inside of a JSON string has its quotes escaped, so this finds attributes only.
fn has_listed(column: &str, key: &str, value: &AnyValue) -> String {
    let attribute = json!({"key": key, "value": any_value(value)}).to_string();
    format!("strpos({column}, {}) > 0", quoted(&attribute))
}

/// The attribute values whose text is `text`.
fn meanings(text: &str) -> Vec<AnyValue> {
    let mut meant = vec![Value::StringValue(text.to_owned())];
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        meant.push(Value::IntValue(number));
    }
    if let Ok(number) = text.parse::<f64>()
        && go_text(number) == text
    {
        meant.push(Value::DoubleValue(number));
    }
    if let Ok(claim) = text.parse::<bool>() {
        meant.push(Value::BoolValue(claim));
    }
    if text.starts_with(['[', '{'])
        && let Ok(json) = serde_json::from_str::<Json>(text)
        && let Some(value) = of_json(&json)
    {
        meant.push(value);
    }
    meant.into_iter().map(|value| AnyValue { value: Some(value) }).collect()
}

/// A double as Go writes it, where that differs: exponents have a sign.
fn go_text(number: f64) -> String {
    let text = to_text(Some(&AnyValue { value: Some(Value::DoubleValue(number)) })).0;
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text.to_string(),
    }
}

/// An array or a map that a search writes as JSON.
fn of_json(json: &Json) -> Option<Value> {
    let whole = |json: &Json| of_json(json).map(|value| AnyValue { value: Some(value) });
    Some(match json {
        Json::Null => return None,
        Json::Bool(claim) => Value::BoolValue(*claim),
        Json::String(text) => Value::StringValue(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::IntValue(number),
            None => Value::DoubleValue(number.as_f64()?),
        },
        Json::Array(items) => {
            Value::ArrayValue(ArrayValue { values: items.iter().map(whole).collect::<Option<_>>()? })
        }
        Json::Object(object) => {
            let entry = |(key, value): (&String, &Json)| {
                Some(KeyValue { key: key.clone(), value: Some(whole(value)?), key_strindex: 0 })
            };
            Value::KvlistValue(KeyValueList { values: object.iter().map(entry).collect::<Option<_>>()? })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jaeger_s_own_words_are_columns() {
        for (key, value, sql) in [
            ("error", "true", "status = 'error'"),
            ("error", "false", "status = 'ok'"),
            ("error", "maybe", "FALSE"),
            ("span.status", "Error", "coalesce(status, 'unset') = 'error'"),
            ("span.status", "whatever", "coalesce(status, 'unset') = 'unset'"),
            ("span.kind", "SERVER", "coalesce(kind, 'unspecified') = 'server'"),
            ("scope.name", "it's", "coalesce(scope_name, '') = 'it''s'"),
            ("resource.k8s.pod.name", "a", "get_field(resource_attributes, 'k8s.pod.name') IN ('a')"),
        ] {
            assert_eq!(condition(key, value), sql);
        }
    }

    /// What people type must not become SQL.
    #[test]
    fn quotes_stay_inside_of_their_literals() {
        let sql = condition("k'1", "v') OR TRUE --");
        assert!(sql.starts_with("(get_field(attributes, 'k''1') IN ('v'') OR TRUE --') OR "), "{sql}");
        assert!(
            sql.contains(r#"strpos(events, '{"key":"k''1","value":{"stringValue":"v'') OR TRUE --"}}') > 0"#),
            "{sql}"
        );
    }

    #[test]
    fn a_text_means_every_value_that_reads_so() {
        let meant = |text| meanings(text).iter().map(|value| to_text(Some(value))).collect::<Vec<_>>();
        let letters = |text| meant(text).into_iter().map(|(_, letter)| letter).collect::<String>();
        assert_eq!(letters("200"), "sid");
        assert_eq!(letters("0.5"), "sd");
        assert_eq!(letters("007"), "s");
        assert_eq!(letters("3.0"), "s", "no attribute is shown so");
        assert_eq!(letters("1e+21"), "sd");
        assert_eq!(letters("true"), "sb");
        assert_eq!(
            meant(r#"["a","b"]"#)[1].0,
            r#"{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}"#
        );
    }
}
