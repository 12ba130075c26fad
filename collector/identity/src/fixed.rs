//! What doesn't change while Weir runs: `/etc/hosts`, and a map that the operator writes.
//!
//! The map has one line an address or network, the narrowest counts: `10.1.0.0/16 name=warehouse identity=gateway zone=eu-1`.
//! Keys are those of the columns: `name`, `identity`, `namespace`, `workload`, `node`, `zone`. `#` begins a comment.

use std::net::IpAddr;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::answer::Answer;

/// The kinds of end that `client_identity` of `flows` tells apart.
const IDENTITIES: [&str; 8] =
    ["pod", "service", "node", "control-plane", "gateway", "egress-ip", "process", "external"];

/// A line of the map that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct BadLine {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub wrong: String,
}

/// Names that are fixed.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    hosts: HashMap<IpAddr, SmolStr>,
    /// By prefix length, the longest first.
    map: Vec<(u8, HashMap<IpAddr, Answer>)>,
}

impl Fixed {
    /// Reads the map.
    ///
    /// # Errors
    /// Each [`BadLine`], all at once.
    pub fn read_map(&mut self, text: &str) -> Result<(), Vec<BadLine>> {
        let mut bad = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match entry(line) {
                Ok((base, length, answer)) => self.add(base, length, answer),
                Err(wrong) => bad.push(BadLine { line: number + 1, wrong }),
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }

    /// Reads `/etc/hosts`. What isn't a host there is left out, as by everybody who reads it.
    pub fn read_hosts(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            let (Some(address), Some(name)) = (address, words.next()) else { continue };
            if !address.is_loopback() && !address.is_multicast() && !address.is_unspecified() {
                self.hosts.entry(address.to_canonical()).or_insert_with(|| SmolStr::new(name));
            }
        }
    }

    /// What the map, and for a name the hosts file, says of an address.
    pub fn who(&self, address: IpAddr) -> Option<Answer> {
        let address = address.to_canonical();
        let mut tables = self.map.iter();
        let mapped = tables.find_map(|(length, table)| table.get(&masked(address, *length)).cloned());
        let host = self.hosts.get(&address);
        match (mapped, host) {
            (None, None) => None,
            (mapped, host) => {
                let answer = mapped.unwrap_or_default();
                Some(Answer { name: answer.name.or(host.cloned()), ..answer })
            }
        }
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.map.is_empty()
    }

    fn add(&mut self, base: IpAddr, length: u8, answer: Answer) {
        let at = match self.map.binary_search_by(|(other, _)| length.cmp(other)) {
            Ok(at) => at,
            Err(at) => {
                self.map.insert(at, (length, HashMap::new()));
                at
            }
        };
        self.map[at].1.insert(masked(base, length), answer);
    }
}

/// Lengths are counted as of IPv6, so that both families sort by how narrow they are.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
    IpAddr::V6((bits & mask).into())
}

fn entry(line: &str) -> Result<(IpAddr, u8, Answer), String> {
    let mut words = line.split_whitespace();
    let network = words.next().unwrap_or_default();
    let (base, length) =
        network.split_once('/').map_or((network, None), |(base, length)| (base, Some(length)));
    let no_address = || format!("{network:?} is no address and no network (try 10.1.0.0/16)");
    let base: IpAddr = base.parse().map_err(|_| no_address())?;
    let (most, shift) = if base.is_ipv4() { (32, 96) } else { (128, 0) };
    let length = length.map_or(Ok(most), str::parse::<u8>).map_err(|_| no_address())?;
    if length > most {
        return Err(format!("{network:?}: a prefix has at most {most} bits"));
    }
    let mut answer = Answer::default();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no key=value"))?;
        let value = Some(SmolStr::new(value)).filter(|value| !value.is_empty());
        let known = value.as_deref().is_some_and(|value| IDENTITIES.contains(&value));
        match key {
            "identity" if known => answer.identity = value,
            "identity" => return Err(format!("identity is one of {}", IDENTITIES.join(", "))),
            "name" => answer.name = value,
            "namespace" => answer.namespace = value,
            "workload" => answer.workload = value,
            "node" => answer.node = value,
            "zone" => answer.zone = value,
            _ => return Err(format!("{key:?} is none of name, identity, namespace, workload, node, zone")),
        }
    }
    Ok((base, length + shift, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(map: &str, hosts: &str, address: &str) -> Option<Answer> {
        let mut fixed = Fixed::default();
        fixed.read_map(map).expect("a good map");
        fixed.read_hosts(hosts);
        fixed.who(address.parse().expect("an address"))
    }

    #[test]
    fn the_narrowest_network_counts_in_both_families() {
        let map = "10.0.0.0/8 name=all\n10.1.0.0/16 name=some # a comment\n\n2001:db8::/32 name=six\n0.0.0.0/0 name=any\n";
        for (address, name) in [
            ("10.1.2.3", Some("some")),
            ("10.2.2.3", Some("all")),
            ("::ffff:10.1.2.3", Some("some")),
            ("192.0.2.1", Some("any")),
            ("2001:db8::7", Some("six")),
            ("2001:db9::7", None),
        ] {
            assert_eq!(who(map, "", address).and_then(|answer| answer.name).as_deref(), name, "{address}");
        }
    }

    #[test]
    fn the_hosts_file_names_what_the_map_does_not() {
        let hosts =
            "127.0.0.1 localhost\n192.0.2.9 printer printer.example # upstairs\nff02::1 ip6-allnodes\n";
        assert_eq!(who("", hosts, "192.0.2.9").and_then(|answer| answer.name).as_deref(), Some("printer"));
        assert_eq!(who("", hosts, "127.0.0.1"), None);
        let both = who("192.0.2.9 identity=external", hosts, "192.0.2.9").expect("known");
        assert_eq!((both.name.as_deref(), both.identity.as_deref()), (Some("printer"), Some("external")));
    }

    #[test]
    fn every_mistake_of_a_map_is_said_with_its_line() {
        let wrong = "10.0.0.0/33 name=a\n\nnonsense\n10.0.0.1 colour=red\n10.0.0.2 identity=ghost\n";
        let bad = Fixed::default().read_map(wrong).expect_err("is wrong");
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(
            bad[2].to_string(),
            "line 4: \"colour\" is none of name, identity, namespace, workload, node, zone"
        );
    }
}
