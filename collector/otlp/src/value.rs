//! One attribute's value as the `spans` table keeps it: text that SQL can compare, and a letter for its type
//! (s string, i int, d double, b bool, y bytes in base64, j the rest as OTLP/JSON).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_model::{SmolStr, ToSmolStr};

use crate::json;
use crate::proto::common::v1::{AnyValue, KeyValue, any_value::Value};

/// Attributes as a map and its letters; no letters where there are no attributes.
pub fn to_columns(attributes: &[KeyValue]) -> (Vec<(SmolStr, SmolStr)>, Option<SmolStr>) {
    let mut letters = String::with_capacity(attributes.len());
    let entries = attributes
        .iter()
        .map(|attribute| {
            let (text, letter) = to_text(attribute.value.as_ref());
            letters.push(letter);
            (SmolStr::new(&attribute.key), text)
        })
        .collect();
    (entries, (!letters.is_empty()).then(|| SmolStr::new(letters)))
}

/// The inverse of [`to_columns`]; a value without a letter is a string.
pub fn from_columns(entries: &[(SmolStr, SmolStr)], letters: Option<&SmolStr>) -> Vec<KeyValue> {
    typed(entries, letters)
        .map(|(key, text, letter)| KeyValue {
            key: key.to_string(),
            value: from_text(text, letter),
            key_strindex: 0,
        })
        .collect()
}

/// Key, text and letter of each attribute.
pub fn typed<'a>(
    entries: &'a [(SmolStr, SmolStr)],
    letters: Option<&'a SmolStr>,
) -> impl Iterator<Item = (&'a SmolStr, &'a SmolStr, char)> {
    let mut letters = letters.map_or("", SmolStr::as_str).chars();
    entries.iter().map(move |(key, text)| (key, text, letters.next().unwrap_or('s')))
}

/// A value's text and letter.
pub fn to_text(value: Option<&AnyValue>) -> (SmolStr, char) {
    match value.map(|value| &value.value) {
        Some(Some(Value::StringValue(text))) => (SmolStr::new(text), 's'),
        Some(Some(Value::IntValue(number))) => (number.to_smolstr(), 'i'),
        Some(Some(Value::DoubleValue(number))) => (double_text(*number), 'd'),
        Some(Some(Value::BoolValue(claim))) => {
            (SmolStr::new_static(if *claim { "true" } else { "false" }), 'b')
        }
        Some(Some(Value::BytesValue(bytes))) => (SmolStr::new(STANDARD.encode(bytes)), 'y'),
        Some(_) => {
            let json = json::encode::any_value(value.unwrap_or(&AnyValue { value: None }));
            (SmolStr::new(json::encode::exact_text(json)), 'j')
        }
        None => (SmolStr::new_static("null"), 'j'),
    }
}

/// The value that [`to_text`] made the text of. What doesn't read as its letter says stays as a string: better
/// than nothing, for a row that something else wrote.
pub fn from_text(text: &str, letter: char) -> Option<AnyValue> {
    let value = match letter {
        'i' => text.parse().ok().map(Value::IntValue),
        'd' => text.parse().ok().map(Value::DoubleValue),
        'b' => text.parse().ok().map(Value::BoolValue),
        'y' => STANDARD.decode(text).ok().map(Value::BytesValue),
        'j' if text == "null" => return None,
        'j' => {
            let parsed =
                serde_json::from_str(text).ok().and_then(|value| json::decode::any_value(&value).ok());
            match parsed {
                Some(value) => return Some(value),
                None => None,
            }
        }
        _ => None,
    };
    Some(AnyValue { value: Some(value.unwrap_or_else(|| Value::StringValue(text.to_owned()))) })
}

/// The shortest text that reads back as the same number; `3` for 3.0, so that a search for 3 finds it.
fn double_text(number: f64) -> SmolStr {
    if number.is_infinite() {
        return SmolStr::new_static(if number > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) && !number.is_nan() {
        return weir_model::format_smolstr!("{number:e}");
    }
    number.to_smolstr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, text: &str, letter: char) {
        let value = AnyValue { value: Some(value) };
        assert_eq!(to_text(Some(&value)), (SmolStr::new(text), letter));
        assert_eq!(from_text(text, letter), Some(value));
    }

    #[test]
    fn values_are_readable_and_come_back() {
        check(Value::StringValue("GET".into()), "GET", 's');
        check(Value::IntValue(i64::MIN), "-9223372036854775808", 'i');
        check(Value::DoubleValue(3.0), "3", 'd');
        check(Value::DoubleValue(0.1), "0.1", 'd');
        check(Value::DoubleValue(1.5e300), "1.5e300", 'd');
        check(Value::DoubleValue(f64::NEG_INFINITY), "-Infinity", 'd');
        check(Value::BoolValue(true), "true", 'b');
        check(Value::BytesValue(vec![0xff, 0]), "/wA=", 'y');
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let (text, letter) = to_text(Some(&AnyValue { value: Some(Value::DoubleValue(f64::NAN)) }));
        let back = from_text(&text, letter).and_then(|value| value.value);
        assert!(matches!(back, Some(Value::DoubleValue(number)) if number.is_nan()));
    }

    #[test]
    fn no_value_and_an_empty_value_are_told_apart() {
        assert_eq!(from_text(&to_text(None).0, 'j'), None);
        let empty = AnyValue { value: None };
        assert_eq!(from_text(&to_text(Some(&empty)).0, 'j'), Some(empty));
    }
}
