//! sFlow v5 (`sflow.org/sflow_version_5.txt`): headers of sampled packets → rows, each standing for as many packets as the agent
//! takes one of. Counter samples are passed by; so is what the agent adds beside the header (routes, VLANs).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_model::FlowRow;

use super::{Direction, Told};
use crate::ip::{self, Transport};

/// Why a datagram can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SflowError {
    /// It ends in the middle of something.
    #[error("the datagram ends at byte {0}, in the middle of something")]
    Short(usize),
    /// Another version has another form.
    #[error("version {0} of sFlow is not read: set the agent to version 5")]
    Version(u32),
    /// Neither IPv4 nor IPv6.
    #[error("the agent's address is of type {0}")]
    Agent(u32),
}

/// Flow samples, and expanded ones (enterprise 0).
const FLOW_SAMPLE: u32 = 1;
const EXPANDED_FLOW_SAMPLE: u32 = 3;
/// A record with the packet's first bytes.
const RAW_HEADER: u32 = 1;
/// Its link layers.
const ETHERNET: u32 = 1;
const IPV4: u32 = 11;
const IPV6: u32 = 12;
/// An Ethernet header; what is between it and IP counts with the packet.
const ETHERNET_BYTES: u64 = 14;

/// The rows of one datagram that came at `now_ns`: sFlow carries no time of its own.
///
/// # Errors
/// [`SflowError`]; what came before that is lost with it.
pub fn sflow(bytes: &[u8], now_ns: i64) -> Result<(Vec<FlowRow>, Told), SflowError> {
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.u32()?;
    if version != 5 {
        return Err(SflowError::Version(version));
    }
    let agent = match reader.u32()? {
        1 => IpAddr::from(Ipv4Addr::from(reader.u32()?)),
        2 => IpAddr::from(Ipv6Addr::from(reader.array::<16>()?)),
        other => return Err(SflowError::Agent(other)),
    };
    // Sub-agent, sequence number, uptime.
    reader.take(12)?;
    let samples = reader.u32()?;
    let (mut rows, mut told) = (Vec::new(), Told::default());
    for _ in 0..samples {
        let kind = reader.u32()?;
        let length = reader.u32()? as usize;
        let mut sample = Reader { bytes: reader.take(length)?, at: 0 };
        if matches!(kind, FLOW_SAMPLE | EXPANDED_FLOW_SAMPLE) {
            flow_sample(&mut sample, kind == EXPANDED_FLOW_SAMPLE, &mut told, |direction| {
                rows.push(Direction { times: (now_ns, now_ns), ..direction }.row(agent, "sflow"));
            })?;
        }
    }
    told.records = rows.len() as u64;
    Ok((rows, told))
}

fn flow_sample(
    reader: &mut Reader<'_>,
    is_expanded: bool,
    told: &mut Told,
    mut tell: impl FnMut(Direction),
) -> Result<(), SflowError> {
    // Sequence number and source, which an expanded one has in two words.
    reader.take(if is_expanded { 12 } else { 8 })?;
    let rate = u64::from(reader.u32()?.max(1));
    // Pool, drops, and both interfaces.
    reader.take(if is_expanded { 24 } else { 16 })?;
    for _ in 0..reader.u32()? {
        let kind = reader.u32()?;
        let length = reader.u32()? as usize;
        let mut record = Reader { bytes: reader.take(length)?, at: 0 };
        if kind != RAW_HEADER {
            continue;
        }
        let (link, frame, stripped) = (record.u32()?, record.u32()?, record.u32()?);
        let length = record.u32()? as usize;
        let header = record.take(length)?;
        let direction = direction(link, header, u64::from(frame.saturating_sub(stripped)), rate);
        told.unreadable_samples += u64::from(direction.is_none());
        if let Some(direction) = direction {
            tell(direction);
        }
    }
    Ok(())
}

fn direction(link: u32, header: &[u8], frame: u64, rate: u64) -> Option<Direction> {
    let (link, link_bytes) = match link {
        ETHERNET => (ip::link::ETHERNET, ETHERNET_BYTES),
        IPV4 => (ip::link::IPV4, 0),
        IPV6 => (ip::link::IPV6, 0),
        _ => return None,
    };
    let packet = ip::packet(link, header).ok()?;
    let (protocol, source, destination) = match packet.transport {
        Transport::Tcp(tcp) => (6, tcp.src_port, tcp.dst_port),
        Transport::Udp { src_port, dst_port } => (17, src_port, dst_port),
        Transport::Sctp { src_port, dst_port } => (132, src_port, dst_port),
    };
    Some(Direction {
        source: (packet.src, source),
        destination: (packet.dst, destination),
        protocol,
        bytes: frame.saturating_sub(link_bytes).saturating_mul(rate),
        packets: rate,
        reverse: None,
        times: (0, 0),
    })
}

/// A place in bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SflowError> {
        // XDR fills up to four bytes.
        let padded = length.checked_next_multiple_of(4).ok_or(SflowError::Short(self.at))?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let part = rest.get(..length).ok_or(SflowError::Short(self.bytes.len()))?;
        self.at += padded;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SflowError> {
        let part = self.take(N)?;
        part.try_into().map_err(|_| SflowError::Short(self.at))
    }

    fn u32(&mut self) -> Result<u32, SflowError> {
        self.array().map(u32::from_be_bytes)
    }
}
