//! Values as PostgreSQL writes them (`…out` of its types, with `DateStyle` ISO and `IntervalStyle` postgres).

use std::fmt::{Display, Write};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};
use jiff::civil::DateTime;
use jiff::{Span, Timestamp};
use weir_query::postgres::Scalar;

/// One value that is there.
pub(super) fn value(array: &ArrayRef, row: usize, kind: Scalar, to: &mut BytesMut) {
    // Writing into memory can't fail.
    let _ = match kind {
        Scalar::Bool => write!(to, "{}", if array.as_boolean().value(row) { 't' } else { 'f' }),
        Scalar::Bytea => write!(to, "\\x{}", hex::encode(array.as_binary::<i32>().value(row))),
        Scalar::Int2 => write!(to, "{}", array.as_primitive::<Int16Type>().value(row)),
        Scalar::Int4 => write!(to, "{}", array.as_primitive::<Int32Type>().value(row)),
        Scalar::Int8 | Scalar::Oid => write!(to, "{}", array.as_primitive::<Int64Type>().value(row)),
        Scalar::Float4 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(to, value, f64::from(value))
        }
        Scalar::Float8 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(to, value, value)
        }
        Scalar::Numeric | Scalar::Text | Scalar::Name | Scalar::Json => {
            to.put_slice(array.as_string::<i32>().value(row).as_bytes());
            Ok(())
        }
        Scalar::Date => date(to, array.as_primitive::<Date32Type>().value(row)),
        Scalar::Time => time(to, array.as_primitive::<Time64MicrosecondType>().value(row)),
        Scalar::Timestamp => timestamp(to, array.as_primitive::<TimestampMicrosecondType>().value(row)),
        Scalar::Timestamptz => timestamp(to, array.as_primitive::<TimestampMicrosecondType>().value(row))
            .and_then(|()| write!(to, "+00")),
        Scalar::Interval => interval(to, array.as_primitive::<IntervalMonthDayNanoType>().value(row)),
    };
}

/// `{a,"b c",NULL}`.
pub(super) fn list(items: &ArrayRef, kind: Scalar, to: &mut BytesMut) {
    to.put_u8(b'{');
    let mut item = BytesMut::new();
    for row in 0..items.len() {
        if row > 0 {
            to.put_u8(b',');
        }
        if items.is_null(row) {
            to.put_slice(b"NULL");
            continue;
        }
        item.clear();
        value(items, row, kind, &mut item);
        let is_plain = !item.is_empty()
            && !item.eq_ignore_ascii_case(b"null")
            && !item.iter().any(|c| b"{},\"\\".contains(c) || c.is_ascii_whitespace());
        if is_plain {
            to.put_slice(&item);
            continue;
        }
        to.put_u8(b'"');
        for &c in &item {
            if b"\"\\".contains(&c) {
                to.put_u8(b'\\');
            }
            to.put_u8(c);
        }
        to.put_u8(b'"');
    }
    to.put_u8(b'}');
}

/// The shortest digits that read back the same; with an exponent where PostgreSQL has one.
fn float(to: &mut BytesMut, shortest: impl Display + std::fmt::LowerExp, value: f64) -> std::fmt::Result {
    if value.is_nan() {
        return to.write_str("NaN");
    }
    if value.is_infinite() {
        return to.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    if value == 0.0 || (1e-4..1e15).contains(&value.abs()) {
        return write!(to, "{shortest}");
    }
    let text = format!("{shortest:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(to, "{digits}e{sign}{exponent:0>2}")
}

fn date(to: &mut BytesMut, days: i32) -> std::fmt::Result {
    match DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
        .checked_add(Span::new().try_days(days).unwrap_or_default())
    {
        Ok(at) => write!(to, "{:04}-{:02}-{:02}", at.year(), at.month(), at.day()),
        // Beyond the year 9999, which PostgreSQL has and we can't write.
        Err(_) => to.write_str(if days > 0 { "infinity" } else { "-infinity" }),
    }
}

fn time(to: &mut BytesMut, us: i64) -> std::fmt::Result {
    let seconds = us / 1_000_000;
    write!(to, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    fraction(to, us % 1_000_000)
}

fn timestamp(to: &mut BytesMut, us: i64) -> std::fmt::Result {
    let Ok(at) = Timestamp::from_microsecond(us) else {
        return to.write_str(if us > 0 { "infinity" } else { "-infinity" });
    };
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    write!(to, "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", at.year(), at.month(), at.day())?;
    fraction(to, i64::from(at.subsec_nanosecond() / 1_000))
}

/// `.5` of 500,000 µs; nothing of none.
fn fraction(to: &mut BytesMut, us: i64) -> std::fmt::Result {
    if us == 0 {
        return Ok(());
    }
    write!(to, ".{}", format!("{us:06}").trim_end_matches('0'))
}

/// `1 year 2 mons 3 days 04:05:06.7`.
fn interval(to: &mut BytesMut, span: IntervalMonthDayNano) -> std::fmt::Result {
    let us = span.nanoseconds / 1_000;
    let mut parts = Vec::new();
    for (number, word) in [(span.months / 12, "year"), (span.months % 12, "mon"), (span.days, "day")] {
        if number != 0 {
            parts.push(format!("{number} {word}{}", if number == 1 { "" } else { "s" }));
        }
    }
    to.write_str(&parts.join(" "))?;
    if us == 0 && !parts.is_empty() {
        return Ok(());
    }
    write!(to, "{}{}", if parts.is_empty() { "" } else { " " }, if us < 0 { "-" } else { "" })?;
    time(to, us.saturating_abs())
}
