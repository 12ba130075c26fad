//! Checks an event against OCSF's own schema of its class: as much of JSON Schema as that schema uses, and an error for
//! what it doesn't know.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// OCSF's schema; where it comes from stands in its `$comment`.
const NETWORK_ACTIVITY: &str = include_str!("network_activity-1.2.0.json");

/// Every way in which `event` is no Network Activity event.
pub(crate) fn faults(event: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(NETWORK_ACTIVITY).expect("the schema is JSON");
    let mut faults = Vec::new();
    Check { root: &root, faults: &mut faults }.value(&root, event, "event");
    faults
}

struct Check<'a> {
    root: &'a Value,
    faults: &'a mut Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, wanted) in schema {
            match keyword.as_str() {
                "$ref" => {
                    let name = wanted.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                    let root = self.root;
                    let referred = &root["$defs"][name.expect("a reference to a definition")];
                    assert!(referred.is_object(), "{wanted} is defined");
                    self.value(referred, value, path);
                }
                "type" => self.kind(wanted, value, path),
                "const" if value != wanted => self.fault(format!("{path} is {value}, not {wanted}")),
                "enum" if !wanted.as_array().is_some_and(|all| all.contains(value)) => {
                    self.fault(format!("{path}: {value} is none of {wanted}"));
                }
                "minimum" if value.as_i64() < wanted.as_i64() => {
                    self.fault(format!("{path}: {value} is too small"));
                }
                "maximum" if value.as_i64() > wanted.as_i64() => {
                    self.fault(format!("{path}: {value} is too large"));
                }
                "format" => self.format(wanted, value, path),
                "required" => self.required(wanted, value, path),
                "anyOf" => {
                    let options = wanted.as_array().expect("options");
                    let fits = |option: &Value| {
                        let mut faults = Vec::new();
                        Check { root: self.root, faults: &mut faults }.value(option, value, path);
                        faults.is_empty()
                    };
                    if !options.iter().any(fits) {
                        self.fault(format!("{path} has none of {wanted}"));
                    }
                }
                "properties" => self.properties(wanted, schema, value, path),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(wanted, item, &format!("{path}[{index}]"));
                    }
                }
                "const" | "enum" | "minimum" | "maximum" | "additionalProperties" | "$defs" | "$comment" => {}
                other => panic!("the schema has {other}, which is not checked here"),
            }
        }
    }

    fn kind(&mut self, wanted: &Value, value: &Value, path: &str) {
        let is_right = match wanted.as_str().expect("one type") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            other => panic!("type {other}"),
        };
        if !is_right {
            self.fault(format!("{path}: {value} is no {wanted}"));
        }
    }

    fn format(&mut self, wanted: &Value, value: &Value, path: &str) {
        let Some(text) = value.as_str() else { return };
        let is_right = match wanted.as_str().expect("a format") {
            "ip" => text.parse::<IpAddr>().is_ok(),
            "hostname" => is_hostname(text),
            other => panic!("format {other}"),
        };
        if !is_right {
            self.fault(format!("{path}: {text:?} is no {wanted}"));
        }
    }

    fn required(&mut self, wanted: &Value, value: &Value, path: &str) {
        for name in wanted.as_array().expect("names").iter().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                self.fault(format!("{path} lacks {name}"));
            }
        }
    }

    fn properties(&mut self, known: &Value, schema: &Map<String, Value>, value: &Value, path: &str) {
        let is_open = schema.get("additionalProperties") != Some(&Value::Bool(false));
        for (name, value) in value.as_object().into_iter().flatten() {
            match known.get(name) {
                Some(schema) => self.value(schema, value, &format!("{path}.{name}")),
                None if is_open => {}
                None => self.fault(format!("{path}.{name} is not in the schema")),
            }
        }
    }
}

/// The schema's pattern: labels of letters, digits and inner hyphens.
fn is_hostname(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}
