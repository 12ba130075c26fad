//! Names of the DNS: `dns_suffix`.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Signature, TypeSignature, Volatility};

use super::{Function, text};

/// Labels that are kept where it isn't said.
const LABELS: i64 = 2;

pub(super) fn dns_suffix() -> Function {
    Function {
        signature: Signature::one_of(
            vec![
                TypeSignature::Exact(vec![DataType::Utf8]),
                TypeSignature::Exact(vec![DataType::Utf8, DataType::Int64]),
            ],
            Volatility::Immutable,
        ),
        run,
        ..Function::new(
            "dns_suffix",
            "dns_suffix(name[, labels])",
            "The last labels of a name, 2 by default, in lower case and without a trailing dot; the whole name where it has \
             fewer. NULL where it is an address. It counts labels and knows no public suffixes: take 3 for names such as \
             shop.example.co.uk.",
            "SELECT dns_suffix(tls_sni) AS domain, sum(server_bytes) AS bytes FROM flows GROUP BY 1 ORDER BY 2 DESC",
        )
    }
}

fn run(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let names = text(&arrays[0])?;
    let labels = arrays.get(1).map(|labels| cast(labels, &DataType::Int64)).transpose()?;
    let labels = labels.as_ref().map(AsArray::as_primitive::<Int64Type>);
    let mut suffixes = Vec::with_capacity(names.len());
    for (row, name) in names.iter().enumerate() {
        let count = labels.map_or(Some(LABELS), |labels| labels.is_valid(row).then(|| labels.value(row)));
        suffixes.push(match (name, count) {
            (Some(_), Some(..1)) => {
                return exec_err!(
                    "dns_suffix: a name's suffix has at least 1 label (try dns_suffix(name, 2))"
                );
            }
            (Some(name), Some(count)) => suffix(name, count as usize),
            _ => None,
        });
    }
    Ok(ColumnarValue::Array(Arc::new(StringArray::from(suffixes))))
}

fn suffix(name: &str, labels: usize) -> Option<String> {
    let name = name.trim_end_matches('.');
    if name.is_empty() || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let start = name.rmatch_indices('.').nth(labels - 1).map_or(0, |(dot, _)| dot + 1);
    Some(name[start..].to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_the_last_labels() {
        for (name, labels, expected) in [
            ("api.shop.example.com", 2, Some("example.com")),
            ("API.Example.COM.", 2, Some("example.com")),
            ("example.com", 2, Some("example.com")),
            ("shop.example.co.uk", 3, Some("example.co.uk")),
            ("localhost", 2, Some("localhost")),
            ("a.b", 1, Some("b")),
            ("10.0.0.1", 2, None),
            ("fd00::1", 2, None),
            (".", 2, None),
            ("", 2, None),
        ] {
            assert_eq!(suffix(name, labels).as_deref(), expected, "{name}");
        }
    }
}
