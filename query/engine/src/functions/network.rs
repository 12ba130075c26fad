//! Addresses and networks: `cidr_contains`, `ip_family`.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;

use super::{Function, text_arguments, texts};

pub(super) fn cidr_contains() -> Function {
    Function {
        signature: text_arguments(2),
        returns: DataType::Boolean,
        run: contains,
        ..Function::new(
            "cidr_contains",
            "cidr_contains(network, address)",
            "Whether a network in CIDR notation (IPv4 or IPv6) holds an address. NULL where the address is none.",
            "SELECT count(*) FROM flows WHERE cidr_contains('10.0.0.0/8', server_ip)",
        )
    }
}

pub(super) fn ip_family() -> Function {
    Function {
        signature: text_arguments(1),
        returns: DataType::Int64,
        run: family,
        ..Function::new(
            "ip_family",
            "ip_family(address)",
            "4 or 6; NULL where it is no address.",
            "SELECT ip_family(server_ip) AS family, count(*) AS flows FROM flows GROUP BY 1",
        )
    }
}

fn contains(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let [network, address] = texts(arguments)?;
    // A network is nearly always one constant: parse it when it changes, not for each row.
    let mut parsed: Option<(String, Network)> = None;
    let mut contains = Vec::with_capacity(address.len());
    for row in 0..address.len() {
        if network.is_null(row) || address.is_null(row) {
            contains.push(None);
            continue;
        }
        let text = network.value(row);
        if parsed.as_ref().is_none_or(|(known, _)| known != text) {
            let Some(found) = Network::parse(text) else {
                return exec_err!("cidr_contains: {text:?} is no network (try '10.0.0.0/8' or 'fd00::/8')");
            };
            parsed = Some((text.to_owned(), found));
        }
        let address = address.value(row).parse::<IpAddr>().ok();
        contains.push(address.zip(parsed.as_ref()).map(|(address, (_, network))| network.contains(address)));
    }
    Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(contains))))
}

fn family(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let [address] = texts(arguments)?;
    let family = address.iter().map(|text| {
        text.and_then(|text| text.parse::<IpAddr>().ok()).map(|ip| if ip.is_ipv4() { 4 } else { 6 })
    });
    Ok(ColumnarValue::Array(Arc::new(family.collect::<Int64Array>())))
}

/// A network in CIDR notation (RFC 4632, RFC 4291 §2.3).
struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { base, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (base, address, width) = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (u128::from(base.to_bits()), u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let rest = width - u32::from(self.bits);
        // A shift by the whole width is no shift in Rust: /0 holds everything.
        base.checked_shr(rest).unwrap_or(0) == address.checked_shr(rest).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
        ] {
            let network = Network::parse(network).expect("a network");
            assert_eq!(network.contains(address.parse().expect("an address")), holds, "{address}");
        }
        assert!(Network::parse("10.0.0.0/33").is_none());
    }
}
