//! Query strings, and the error texts of Go's parsers: people paste them into searches, and tests compare them.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::Value;

/// A query string, decoded.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Infallible> {
        Ok(Params::read(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub(crate) fn read(query: &str) -> Params {
        Params(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of that name; an empty one is as good as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of that name, empty ones too.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value under the first of `names` that has one, and that name.
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<(&str, &'n str)> {
        names.iter().find_map(|name| Some((self.get(name)?, *name)))
    }

    /// Whether the answer is for people.
    pub(crate) fn is_pretty(&self) -> bool {
        self.get("prettyPrint").is_some_and(|value| value != "false")
    }

    /// A v1 parameter, read by `parse`, with v1's words where it can't be.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let wrong = |why| format!("unable to parse param '{name}': {why}");
        self.get(name).map(|text| parse(text).map_err(wrong)).transpose()
    }

    /// A v1 parameter that is a whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        self.parsed(name, int64)
    }

    /// A v1 parameter that is true or false; false where it is not there.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(self.parsed(name, boolean)?.unwrap_or_default())
    }

    /// `endTs` and `lookback`, in milliseconds: when the time ends that is asked about, and how long it is.
    pub(crate) fn looking_back(&self, now_ns: i64, usual_ms: i64) -> Result<(i64, i64), String> {
        let end = self.integer("endTs")?.unwrap_or(now_ns / 1_000_000);
        Ok((end, self.integer("lookback")?.unwrap_or(usual_ms)))
    }
}

/// Go's `strconv.ParseInt(text, 10, 64)`.
pub(crate) fn int64(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| number_error("ParseInt", text))
}

/// Go's `strconv.ParseInt(text, 10, 32)`.
pub(crate) fn int32(text: &str) -> Result<i64, String> {
    text.parse::<i32>().map(i64::from).map_err(|_| number_error("ParseInt", text))
}

/// Go's `strconv.Atoi(text)`.
pub(crate) fn int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| number_error("Atoi", text))
}

/// Go's `strconv.ParseBool(text)`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

fn number_error(function: &str, text: &str) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {text:?}: {why}")
}

/// Go's `json.Unmarshal` into a map of strings.
pub(crate) fn string_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let json: Value = serde_json::from_str(text).map_err(|err| json_error(text, &err))?;
    let Value::Object(object) = json else {
        if json.is_null() {
            return Ok(BTreeMap::new());
        }
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type map[string]string",
            kind(&json)
        ));
    };
    let texts = object.into_iter().map(|(key, value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Null => Ok((key, String::new())),
        other => Err(format!("json: cannot unmarshal {} into Go value of type string", kind(&other))),
    });
    texts.collect()
}

fn json_error(text: &str, err: &serde_json::Error) -> String {
    if err.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    match text.trim_start().chars().next() {
        Some(first) if !matches!(first, '{' | '[' | '"' | '-' | '0'..='9' | 't' | 'f' | 'n') => {
            format!("invalid character {first:?} looking for beginning of value")
        }
        _ => err.to_string(),
    }
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fail_in_go_s_words() {
        assert_eq!(int64("-12"), Ok(-12));
        for (text, error) in [
            ("string", r#"strconv.ParseInt: parsing "string": invalid syntax"#),
            ("1.5", r#"strconv.ParseInt: parsing "1.5": invalid syntax"#),
            (
                "99999999999999999999",
                r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
            ),
        ] {
            assert_eq!(int64(text), Err(error.to_owned()));
        }
        assert_eq!(
            int32("2147483648"),
            Err(r#"strconv.ParseInt: parsing "2147483648": value out of range"#.to_owned())
        );
        assert_eq!(int("x"), Err(r#"strconv.Atoi: parsing "x": invalid syntax"#.to_owned()));
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("yes"), Err(r#"strconv.ParseBool: parsing "yes": invalid syntax"#.to_owned()));
    }

    #[test]
    fn tags_are_strings_to_strings_and_nothing_else() {
        let read = string_map(r#"{"a":"b","n":null}"#).expect("reads");
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("n".into(), String::new())]
        );
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            (r#"{"x":123}"#, "json: cannot unmarshal number into Go value of type string"),
            (r#"{"x":true}"#, "json: cannot unmarshal bool into Go value of type string"),
            ("[]", "json: cannot unmarshal array into Go value of type map[string]string"),
            ("x=y", "invalid character 'x' looking for beginning of value"),
        ] {
            assert_eq!(string_map(text), Err(error.to_owned()));
        }
    }

    #[test]
    fn an_empty_value_is_none_and_the_first_counts() {
        let params = Params::read("a=&b=1&b=2&prettyPrint=false&op=GET+%2Fx");
        assert_eq!(params.get("a"), None);
        assert_eq!(params.get("b"), Some("1"));
        assert_eq!(params.all("b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(params.first(&["a", "b"]), Some(("1", "b")));
        assert_eq!(params.get("op"), Some("GET /x"));
        assert!(!params.is_pretty());
        assert!(Params::read("prettyPrint=1").is_pretty());
    }
}
