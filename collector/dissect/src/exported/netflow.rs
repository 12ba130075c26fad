//! NetFlow v5, v7 and v9, and IPFIX (RFC 7011): templates are kept by exporter and observation domain.
//!
//! NetFlow v9's fields have IPFIX's numbers, so both are read alike.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use netflow_parser::variable_versions::ipfix::lookup::{
    IANAIPFixField as Iana, ReverseInformationElement as Back,
};
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{AutoScopedParser, DataNumber, FieldValue, IpfixField, NetflowPacket, NetflowParser};
use weir_model::FlowRow;

use super::{Direction, Told};

/// Exporters, with their observation domains, whose templates are kept; beyond, the one that was silent longest is forgotten.
const MOST_EXPORTERS: usize = 1_000;
/// Templates of each.
const MOST_TEMPLATES: usize = 1_000;

/// Reads datagrams of any of the versions.
#[derive(Debug)]
pub struct Netflow {
    parser: AutoScopedParser,
    /// When an IPFIX exporter started, ms since the epoch, where it tells that in options; by exporter and observation domain.
    started: HashMap<(SocketAddr, u32), u64>,
}

impl Default for Netflow {
    fn default() -> Netflow {
        let builder = NetflowParser::builder().with_cache_size(MOST_TEMPLATES);
        let parser = AutoScopedParser::try_with_builder(builder)
            .and_then(|parser| parser.with_max_sources(MOST_EXPORTERS))
            .unwrap_or_default();
        Netflow { parser, started: HashMap::new() }
    }
}

/// When a record's times are counted from: an exporter's start, and when it sent.
#[derive(Clone, Copy)]
struct Clock {
    /// ns since the epoch.
    sent: i64,
    /// ms since the epoch.
    started: Option<u64>,
    /// ms since its start.
    uptime: Option<u32>,
}

impl Netflow {
    /// The rows of one datagram of `exporter`'s.
    ///
    /// # Errors
    /// What is wrong with it, for a person; rows of what came before that are lost with it.
    pub fn read(&mut self, exporter: SocketAddr, bytes: &[u8]) -> Result<(Vec<FlowRow>, Told), String> {
        let result = self.parser.parse_from_source(exporter, bytes);
        if let Some(error) = result.error {
            return Err(error.to_string());
        }
        let (mut rows, mut told) = (Vec::new(), Told::default());
        let from = exporter.ip();
        for packet in &result.packets {
            match packet {
                NetflowPacket::V5(packet) => {
                    let header = packet.header;
                    let clock = Clock::new(header.unix_secs, header.unix_nsecs, header.sys_up_time);
                    // The two bits above say how it samples.
                    let rate = u64::from(header.sampling_interval & 0x3fff).max(1);
                    for flow in &packet.flowsets {
                        let ends = [(flow.src_addr, flow.src_port), (flow.dst_addr, flow.dst_port)];
                        let counts = [flow.d_octets, flow.d_pkts].map(|count| u64::from(count) * rate);
                        let times = (clock.since_start(flow.first), clock.since_start(flow.last));
                        rows.push(fixed(ends, flow.protocol_number, counts, times).row(from, "netflow"));
                    }
                }
                NetflowPacket::V7(packet) => {
                    let header = packet.header;
                    let clock = Clock::new(header.unix_secs, header.unix_nsecs, header.sys_up_time);
                    for flow in &packet.flowsets {
                        let ends = [(flow.src_addr, flow.src_port), (flow.dst_addr, flow.dst_port)];
                        let counts = [flow.d_octets, flow.d_pkts].map(u64::from);
                        let times = (clock.since_start(flow.first), clock.since_start(flow.last));
                        rows.push(fixed(ends, flow.protocol_number, counts, times).row(from, "netflow"));
                    }
                }
                NetflowPacket::V9(packet) => {
                    let clock = Clock::new(packet.header.unix_secs, 0, packet.header.sys_up_time);
                    for set in &packet.flowsets {
                        match &set.body {
                            v9::FlowSetBody::Data(data) => {
                                for record in &data.fields {
                                    let fields = record.iter().map(|(field, value)| {
                                        (IpfixField::IANA(Iana::from(u16::from(*field))), value)
                                    });
                                    rows.extend(of_record(fields, clock, &mut told, from, "netflow"));
                                }
                            }
                            v9::FlowSetBody::NoTemplate(_) => told.without_template += 1,
                            _ => {}
                        }
                    }
                }
                NetflowPacket::IPFix(packet) => {
                    let header = packet.header;
                    let sent = i64::from(header.export_time) * 1_000_000_000;
                    let domain = (exporter, header.observation_domain_id);
                    if let Some(started) = started_of(packet)
                        && (self.started.len() < MOST_EXPORTERS || self.started.contains_key(&domain))
                    {
                        self.started.insert(domain, started);
                    }
                    let clock = Clock { sent, started: self.started.get(&domain).copied(), uptime: None };
                    for set in &packet.flowsets {
                        match &set.body {
                            ipfix::FlowSetBody::Data(data) => {
                                for record in &data.fields {
                                    let fields = record.iter().map(|(field, value)| (*field, value));
                                    rows.extend(of_record(fields, clock, &mut told, from, "ipfix"));
                                }
                            }
                            ipfix::FlowSetBody::NoTemplate(_) => told.without_template += 1,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        told.records = rows.len() as u64;
        Ok((rows, told))
    }
}

/// When the exporter started, ms since the epoch, where its options tell.
fn started_of(packet: &ipfix::IPFix) -> Option<u64> {
    let options = packet.flowsets.iter().filter_map(|set| match &set.body {
        ipfix::FlowSetBody::OptionsData(data) => Some(data.fields.iter().flatten()),
        _ => None,
    });
    options.flatten().find_map(|(field, value)| {
        (*field == IpfixField::IANA(Iana::SystemInitTimeMilliseconds)).then(|| milliseconds(value)).flatten()
    })
}

impl Clock {
    fn new(seconds: u32, nanoseconds: u32, uptime: u32) -> Clock {
        let sent = i64::from(seconds) * 1_000_000_000 + i64::from(nanoseconds);
        Clock { sent, started: None, uptime: Some(uptime) }
    }

    /// A time in ms since the exporter's start, which may have gone round since.
    fn since_start(self, ms: u32) -> i64 {
        let ago = self.uptime.map_or(0, |uptime| uptime.wrapping_sub(ms));
        // What would be in the future, or weeks ago, is a clock that is set otherwise.
        self.sent - i64::from(if ago > u32::MAX / 2 { 0 } else { ago }) * 1_000_000
    }
}

fn fixed(
    [source, destination]: [(std::net::Ipv4Addr, u16); 2],
    protocol: u8,
    [bytes, packets]: [u64; 2],
    times: (i64, i64),
) -> Direction {
    Direction {
        source: (source.0.into(), source.1),
        destination: (destination.0.into(), destination.1),
        protocol,
        bytes,
        packets,
        reverse: None,
        times,
    }
}

/// A record's fields, as far as they are of use.
#[derive(Default)]
struct Read {
    addresses: [Option<IpAddr>; 2],
    ports: [u16; 2],
    protocol: u8,
    /// Bytes and packets; totals where there are no differences.
    there: [Option<u64>; 2],
    totals: [Option<u64>; 2],
    back: [Option<u64>; 2],
    /// ns since the epoch.
    times: [Option<i64>; 2],
    /// ms since the exporter's start; that, in ms since the epoch.
    uptimes: [Option<u64>; 2],
    started: Option<u64>,
    rate: Option<u64>,
}

fn of_record<'a>(
    fields: impl Iterator<Item = (IpfixField, &'a FieldValue)>,
    clock: Clock,
    told: &mut Told,
    exporter: IpAddr,
    source: &'static str,
) -> Option<FlowRow> {
    let mut read = Read::default();
    for (field, value) in fields {
        match field {
            IpfixField::IANA(Iana::Unknown(_)) | IpfixField::Enterprise { .. } => told.unknown_fields += 1,
            IpfixField::IANA(field) => read.field(field, value),
            IpfixField::ReverseInformationElement(Back::ReverseOctetDeltaCount) => {
                read.back[0] = whole(value);
            }
            IpfixField::ReverseInformationElement(Back::ReversePacketDeltaCount) => {
                read.back[1] = whole(value);
            }
            _ => {}
        }
    }
    let row = read.direction(clock).map(|direction| direction.row(exporter, source));
    told.without_addresses += u64::from(row.is_none());
    row
}

impl Read {
    fn field(&mut self, field: Iana, value: &FieldValue) {
        match field {
            Iana::SourceIpv4address | Iana::SourceIpv6address => {
                self.addresses[0] = address(value, self.addresses[0]);
            }
            Iana::DestinationIpv4address | Iana::DestinationIpv6address => {
                self.addresses[1] = address(value, self.addresses[1]);
            }
            Iana::SourceTransportPort => self.ports[0] = port(value),
            Iana::DestinationTransportPort => self.ports[1] = port(value),
            Iana::ProtocolIdentifier => {
                self.protocol = match value {
                    FieldValue::ProtocolType(protocol) => u8::from(*protocol),
                    other => whole(other).and_then(|number| u8::try_from(number).ok()).unwrap_or_default(),
                };
            }
            Iana::OctetDeltaCount => self.there[0] = whole(value),
            Iana::PacketDeltaCount => self.there[1] = whole(value),
            Iana::OctetTotalCount => self.totals[0] = whole(value),
            Iana::PacketTotalCount => self.totals[1] = whole(value),
            Iana::FlowStartSeconds
            | Iana::FlowStartMilliseconds
            | Iana::FlowStartMicroseconds
            | Iana::FlowStartNanoseconds => self.times[0] = moment(value),
            Iana::FlowEndSeconds
            | Iana::FlowEndMilliseconds
            | Iana::FlowEndMicroseconds
            | Iana::FlowEndNanoseconds => self.times[1] = moment(value),
            Iana::FlowStartSysUpTime => self.uptimes[0] = whole(value),
            Iana::FlowEndSysUpTime => self.uptimes[1] = whole(value),
            Iana::SystemInitTimeMilliseconds => {
                self.started = milliseconds(value);
            }
            Iana::SamplingInterval | Iana::SamplingPacketInterval => self.rate = whole(value),
            _ => {}
        }
    }

    fn direction(&self, clock: Clock) -> Option<Direction> {
        let [source, destination] = self.addresses;
        let rate = self.rate.unwrap_or(1).max(1);
        let count =
            |place: usize| self.there[place].or(self.totals[place]).unwrap_or_default().saturating_mul(rate);
        let time = |place: usize| {
            let uptime = || {
                let ms = self.uptimes[place]?;
                match self.started.or(clock.started) {
                    Some(started) => i64::try_from(started.checked_add(ms)?).ok()?.checked_mul(1_000_000),
                    None => Some(clock.since_start(u32::try_from(ms).ok()?)),
                }
            };
            self.times[place].or_else(uptime).unwrap_or(clock.sent)
        };
        let back = |place: usize| self.back[place].unwrap_or_default().saturating_mul(rate);
        Some(Direction {
            source: (source?, self.ports[0]),
            destination: (destination?, self.ports[1]),
            protocol: self.protocol,
            bytes: count(0),
            packets: count(1),
            reverse: self.back.iter().any(Option::is_some).then(|| (back(0), back(1))),
            times: (time(0), time(1)),
        })
    }
}

/// Of a record with both families, the one that is filled in.
fn address(value: &FieldValue, known: Option<IpAddr>) -> Option<IpAddr> {
    let found = IpAddr::try_from(value).ok();
    found.filter(|ip| !ip.is_unspecified()).or(known).or(found)
}

fn port(value: &FieldValue) -> u16 {
    whole(value).and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
}

fn whole(value: &FieldValue) -> Option<u64> {
    let FieldValue::DataNumber(number) = value else { return None };
    Some(match *number {
        DataNumber::U8(number) => number.into(),
        DataNumber::U16(number) => number.into(),
        DataNumber::U24(number) | DataNumber::U32(number) => number.into(),
        DataNumber::U64(number) => number,
        DataNumber::U128(number) => u64::try_from(number).unwrap_or(u64::MAX),
        _ => return None,
    })
}

/// ms since the epoch.
fn milliseconds(value: &FieldValue) -> Option<u64> {
    moment(value).map(|ns| (ns / 1_000_000).max(0).cast_unsigned())
}

/// ns since the epoch.
fn moment(value: &FieldValue) -> Option<i64> {
    let FieldValue::Duration(duration) = value else { return None };
    i64::try_from(duration.as_duration().as_nanos()).ok()
}
