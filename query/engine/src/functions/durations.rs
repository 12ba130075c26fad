//! Lengths of time for people: `duration_text`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, DurationNanosecondType, Float64Type, TimeUnit};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, Signature, Volatility};

use super::{Function, text};

/// Each unit's name and its nanoseconds, as a value may have them.
const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
/// The unit of our own columns.
const USUAL: &str = "us";

pub(super) fn duration_text() -> Function {
    Function {
        signature: Signature::variadic_any(Volatility::Immutable),
        run,
        ..Function::new(
            "duration_text",
            "duration_text(duration), duration_text(number[, unit])",
            "A length of time for people, such as 850µs, 12.3ms, 4.05s, 3m20s, 2h5m, 1d4h. A number is in microseconds, as \
             columns that end in _us are, or in the unit that is said: ns, us, ms, s.",
            "SELECT duration_text(end_time - time) AS lasted, duration_text(rtt_us) AS rtt FROM flows LIMIT 10",
        )
    }
}

fn run(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let (values, units) = match arrays.as_slice() {
        [values] => (values, None),
        [values, units] if values.data_type().is_numeric() => (values, Some(text(units)?)),
        _ => {
            return plan_err!(
                "duration_text takes a duration, or a number and its unit ('ns', 'us', 'ms', 's')"
            );
        }
    };
    let nanoseconds = nanoseconds(values, units.as_ref())?;
    let texts = nanoseconds.into_iter().map(|value| value.map(duration)).collect::<StringArray>();
    Ok(ColumnarValue::Array(Arc::new(texts)))
}

fn nanoseconds(values: &ArrayRef, units: Option<&StringArray>) -> Result<Vec<Option<f64>>> {
    if matches!(values.data_type(), DataType::Duration(_)) {
        let values = cast(values, &DataType::Duration(TimeUnit::Nanosecond))?;
        let values = values.as_primitive::<DurationNanosecondType>();
        return Ok(values.iter().map(|value| value.map(|value| value as f64)).collect());
    }
    if !values.data_type().is_numeric() && !values.data_type().is_null() {
        return plan_err!(
            "duration_text takes a duration or a number, not {}",
            crate::plain::type_name(values.data_type())
        );
    }
    let values = cast(values, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let mut nanoseconds = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let unit = units.map_or(Some(USUAL), |units| units.is_valid(row).then(|| units.value(row)));
        nanoseconds.push(match (value, unit) {
            (Some(value), Some(unit)) => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => Some(value * factor),
                None => return exec_err!("duration_text: {unit:?} is no unit: ns, us, ms and s are"),
            },
            _ => None,
        });
    }
    Ok(nanoseconds)
}

fn duration(nanoseconds: f64) -> String {
    let sign = if nanoseconds < 0.0 { "-" } else { "" };
    let size = nanoseconds.abs();
    if !size.is_finite() {
        return nanoseconds.to_string();
    }
    let small = [(1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (60e9, 1e9, "s")];
    for (end, unit, name) in small {
        // What would be rounded to the next unit's 1 is said in that.
        if size == 0.0 {
            return "0s".to_owned();
        }
        if rounded(size / unit) * unit < end {
            return format!("{sign}{}{name}", rounded(size / unit));
        }
    }
    let seconds = (size / 1e9).round() as u64;
    let (large, small, names) = match seconds {
        ..3_600 => (seconds / 60, seconds % 60, ("m", "s")),
        3_600..86_400 => (seconds / 3_600, seconds % 3_600 / 60, ("h", "m")),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, ("d", "h")),
    };
    if small == 0 {
        return format!("{sign}{large}{}", names.0);
    }
    format!("{sign}{large}{}{small}{}", names.0, names.1)
}

/// To three digits.
fn rounded(value: f64) -> f64 {
    let places = match value {
        ..10.0 => 100.0,
        ..100.0 => 10.0,
        _ => 1.0,
    };
    (value * places).round() / places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_well_from_nanoseconds_to_days() {
        for (nanoseconds, text) in [
            (0.0, "0s"),
            (999.0, "999ns"),
            (850_000.0, "850µs"),
            (1_234_567.0, "1.23ms"),
            (12_345_678.0, "12.3ms"),
            (999_999.0, "1ms"),
            (4_050_000_000.0, "4.05s"),
            (59_999_999_999.0, "1m"),
            (200e9, "3m20s"),
            (7_500e9, "2h5m"),
            (100_800e9, "1d4h"),
            (86_400e9, "1d"),
            (-1_500_000.0, "-1.5ms"),
        ] {
            assert_eq!(duration(nanoseconds), text, "{nanoseconds}");
        }
    }
}
