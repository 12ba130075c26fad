//! Values of `$1`, `$2` … as clients bind them, as text or binary, in the type that was agreed upon when it was parsed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use bytes::{Buf, Bytes};
use weir_query::ScalarValue;

use super::encode::numeric;
use super::refusal::Refusal;
use weir_query::postgres::{Scalar, Type};

use super::{EPOCH_DAYS, EPOCH_US};

/// Reads the values of a `Bind`; `formats` has none (all are text), one (for all), or one for each.
///
/// # Errors
/// What is no value of its type, with the number of its parameter.
pub(super) fn values(
    types: &[Type],
    formats: &[i16],
    given: &[Option<Bytes>],
) -> Result<Vec<ScalarValue>, Refusal> {
    if given.len() != types.len() {
        return Err(Refusal::protocol(format!(
            "{} values are bound, and {} wanted",
            given.len(),
            types.len()
        )));
    }
    let values = given.iter().zip(types).enumerate().map(|(index, (bytes, kind))| {
        let is_binary = match formats {
            [] => false,
            [format] => *format == 1,
            formats => formats.get(index) == Some(&1),
        };
        let wrong =
            |what: String| Refusal::new("22P02", format!("sql.parameter: ${} is no {what}", index + 1));
        let Some(bytes) = bytes else { return null(*kind).map_err(wrong) };
        if is_binary { binary(*kind, bytes) } else { text(*kind, bytes) }.map_err(wrong)
    });
    values.collect()
}

/// NULL of a type.
///
/// # Errors
/// Its name, where there is none.
pub(super) fn null(kind: Type) -> Result<ScalarValue, String> {
    if (kind.scalar, kind.is_list) == (Scalar::Numeric, false) {
        return Ok(ScalarValue::Float64(None));
    }
    ScalarValue::try_from(&kind.arrow()).map_err(|_| name(kind))
}

/// Said of a value that isn't one.
fn name(kind: Type) -> String {
    let list = if kind.is_list { " list" } else { "" };
    format!("{}{list}", format!("{:?}", kind.scalar).to_lowercase())
}

fn text(kind: Type, bytes: &[u8]) -> Result<ScalarValue, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "text in UTF-8".to_owned())?;
    if kind.is_list {
        let items = items(text).ok_or_else(|| name(kind))?;
        let one = Type { is_list: false, ..kind };
        let items = items.into_iter().map(|item| match item {
            Some(item) => self::text(one, item.as_bytes()),
            None => null(one),
        });
        return list(items.collect::<Result<_, _>>()?, kind);
    }
    let wrong = || format!("{}: {text:?}", name(kind));
    Ok(match kind.scalar {
        Scalar::Text | Scalar::Name | Scalar::Json => text.into(),
        Scalar::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true.into(),
            "f" | "false" | "n" | "no" | "off" | "0" => false.into(),
            _ => return Err(wrong()),
        },
        Scalar::Bytea => match text.strip_prefix("\\x").map(hex::decode) {
            Some(Ok(bytes)) => ScalarValue::Binary(Some(bytes)),
            _ => return Err(wrong()),
        },
        Scalar::Numeric => return number(text.trim()).ok_or_else(wrong),
        _ => ScalarValue::from(text.trim()).cast_to(&kind.arrow()).map_err(|_| wrong())?,
    })
}

/// A decimal number: an integer where it is one, else the nearest double.
fn number(text: &str) -> Option<ScalarValue> {
    if let Ok(value) = text.parse::<i64>() {
        return Some(value.into());
    }
    if let Ok(value) = text.parse::<u64>() {
        return Some(value.into());
    }
    Some(text.parse::<f64>().ok()?.into())
}

fn binary(kind: Type, bytes: &Bytes) -> Result<ScalarValue, String> {
    let wrong = || format!("{} in {} bytes", name(kind), bytes.len());
    if kind.is_list {
        return binary_list(kind, bytes.clone()).ok_or_else(wrong)?;
    }
    let mut rest = bytes.as_ref();
    let value = match (kind.scalar, bytes.len()) {
        (Scalar::Text | Scalar::Name | Scalar::Json, _) => return text(kind, bytes),
        (Scalar::Bytea, _) => return Ok(ScalarValue::Binary(Some(bytes.to_vec()))),
        (Scalar::Numeric, _) => {
            return numeric::digits(bytes).and_then(|digits| number(&digits)).ok_or_else(wrong);
        }
        (Scalar::Bool, 1) => (rest.get_u8() != 0).into(),
        (Scalar::Int2, 2) => rest.get_i16().into(),
        (Scalar::Int4, 4) => rest.get_i32().into(),
        (Scalar::Int8, 8) => rest.get_i64().into(),
        (Scalar::Oid, 4) => i64::from(rest.get_u32()).into(),
        (Scalar::Float4, 4) => rest.get_f32().into(),
        (Scalar::Float8, 8) => rest.get_f64().into(),
        (Scalar::Date, 4) => ScalarValue::Date32(Some(rest.get_i32().saturating_add(EPOCH_DAYS))),
        (Scalar::Time, 8) => ScalarValue::Time64Microsecond(Some(rest.get_i64())),
        (Scalar::Timestamp, 8) => {
            ScalarValue::TimestampMicrosecond(Some(rest.get_i64().saturating_add(EPOCH_US)), None)
        }
        (Scalar::Timestamptz, 8) => {
            let time = rest.get_i64().saturating_add(EPOCH_US);
            ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into()))
        }
        (Scalar::Interval, 16) => {
            let (us, days, months) = (rest.get_i64(), rest.get_i32(), rest.get_i32());
            let nanoseconds = us.checked_mul(1_000).ok_or_else(wrong)?;
            ScalarValue::new_interval_mdn(months, days, nanoseconds)
        }
        _ => return Err(wrong()),
    };
    Ok(value)
}

/// A list of one dimension, or of none, which is empty.
fn binary_list(kind: Type, mut bytes: Bytes) -> Option<Result<ScalarValue, String>> {
    let one = Type { is_list: false, ..kind };
    let (dimensions, _has_nulls, _kind) =
        (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?, bytes.try_get_u32().ok()?);
    let mut items = Vec::new();
    if dimensions == 1 {
        let (length, _first) = (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?);
        for _ in 0..length {
            let item = match usize::try_from(bytes.try_get_i32().ok()?) {
                Ok(size) if size <= bytes.len() => binary(one, &bytes.split_to(size)),
                Ok(_) => return None,
                Err(_) => null(one),
            };
            match item {
                Ok(item) => items.push(item),
                Err(err) => return Some(Err(err)),
            }
        }
    } else if dimensions != 0 {
        return None;
    }
    Some(list(items, kind))
}

fn list(items: Vec<ScalarValue>, kind: Type) -> Result<ScalarValue, String> {
    // A list of numbers is one of doubles where one of them is none of the integers.
    let one = Type { is_list: false, ..kind }.arrow();
    let one = if kind.scalar == Scalar::Numeric { DataType::Float64 } else { one };
    let items = items.into_iter().map(|item| item.cast_to(&one)).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|_| name(kind))?;
    let values: ArrayRef = if items.is_empty() {
        arrow::array::new_empty_array(&one)
    } else {
        ScalarValue::iter_to_array(items).map_err(|_| name(kind))?
    };
    let field = Arc::new(Field::new_list_field(one, true));
    let offsets = OffsetBuffer::<i32>::from_lengths([values.len()]);
    let list: ArrayRef = Arc::new(GenericListArray::new(field, offsets, values, None));
    Ok(ScalarValue::List(Arc::new(list.as_list::<i32>().clone())))
}

/// `{a,"b c",NULL}`; `None` where it is no such list.
fn items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut rest = inner.chars().peekable();
    if rest.peek().is_none() {
        return Some(items);
    }
    loop {
        let mut item = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next()? {
                    '"' => break,
                    '\\' => item.push(rest.next()?),
                    c => item.push(c),
                }
            }
            items.push(Some(item));
        } else {
            while let Some(c) = rest.next_if(|c| *c != ',') {
                if "{}\"".contains(c) {
                    return None;
                }
                item.push(if c == '\\' { rest.next()? } else { c });
            }
            let item = item.trim();
            items.push((!item.eq_ignore_ascii_case("null")).then(|| item.to_owned()));
        }
        match rest.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(oid: u32, bytes: &[u8], format: i16) -> Result<ScalarValue, Refusal> {
        let kind = Type::by_oid(oid).expect("a type");
        values(&[kind], &[format], &[Some(Bytes::copy_from_slice(bytes))]).map(|mut values| values.remove(0))
    }

    #[test]
    fn values_are_read_as_text_and_binary() {
        for (oid, text, bytes) in [
            (16, "true", &[1][..]),
            (21, "443", &443_i16.to_be_bytes()),
            (23, "-1", &(-1_i32).to_be_bytes()),
            (20, "9007199254740993", &9_007_199_254_740_993_i64.to_be_bytes()),
            (701, "0.5", &0.5_f64.to_be_bytes()),
            (1700, "12345", &[0, 2, 0, 1, 0, 0, 0, 0, 0, 1, 0x09, 0x29]),
            (25, "x'ä", "x'ä".as_bytes()),
            (17, "\\x00ff", &[0, 255]),
            (1082, "2000-01-02", &1_i32.to_be_bytes()),
            (1184, "2000-01-01 00:00:01+00", &1_000_000_i64.to_be_bytes()),
        ] {
            let read = [(text.as_bytes(), 0), (bytes, 1)].map(|(bytes, format)| one(oid, bytes, format));
            assert!(read[0].is_ok(), "{:?}", read[0]);
            assert_eq!(read[0], read[1], "{oid}: {text}");
        }
    }

    #[test]
    fn lists_are_read_as_text_and_binary() {
        let mut bytes = Vec::new();
        for part in [1, 1, 23, 2, 1, 4, 7, -1_i32] {
            bytes.extend(part.to_be_bytes());
        }
        assert_eq!(one(1007, &bytes, 1), one(1007, b"{7,NULL}", 0));
        assert!(one(1007, b"{7,NULL}", 0).is_ok());
        assert_eq!(
            one(1007, &[0; 12], 1).map(|list| list.to_string()),
            one(1007, b"{}", 0).map(|list| list.to_string())
        );
        assert_eq!(
            items(r#"{a,"b \"c",NULL,"null"}"#).expect("a list"),
            [Some("a".to_owned()), Some("b \"c".to_owned()), None, Some("null".to_owned())]
        );
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_number() {
        for (oid, bytes, format) in [
            (23, &b"x"[..], 0),
            (23, b"12", 1),
            (1007, b"{{1}}", 0),
            (1007, &[0, 0, 0, 1], 1),
            (25, b"\xff", 0),
            (16, b"2", 0),
        ] {
            let refusal = one(oid, bytes, format).expect_err("no value");
            assert!(refusal.state == "22P02" && refusal.message.contains("$1"), "{refusal:?}");
        }
        assert_eq!(values(&[], &[], &[None]).expect_err("too many").state, "08P01");
    }
}
