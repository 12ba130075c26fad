//! What collector and probe say to each other about captures; bounds of what is believed.

use arrow_flight::{FlightData, FlightDescriptor};
use prost::Message;

/// Path of a probe's line.
pub(crate) const CONTROL: &str = "control";
/// Path of one capture's reports.
pub(crate) const CAPTURE: &str = "capture";

/// Most bytes in one message; the other side's stream ends where it sends more.
pub const MOST_REPORT_BYTES: usize = 1 << 20;
/// Most packets in one report.
pub const MOST_PACKETS_OF_REPORT: usize = 4_096;
/// Longest name of a node, and longest text about anything.
const MOST_NAME: usize = 253;
const MOST_TEXT: usize = 1_024;

/// A probe says who it is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hello {
    /// Its node.
    #[prost(string, tag = "1")]
    pub node: String,
    /// A new one each time that it starts.
    #[prost(string, tag = "2")]
    pub boot_id: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Whether its operator lets it send payload.
    #[prost(bool, tag = "4")]
    pub allows_payload: bool,
}

/// A capture is asked for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Order {
    /// Names it; the switchboard gives it.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Which packets, in the language of [`weir_model::capture::Filter`].
    #[prost(string, tag = "2")]
    pub filter: String,
    /// Bytes of payload kept of each packet.
    #[prost(uint32, tag = "3")]
    pub payload: u32,
    /// How long, in seconds.
    #[prost(uint32, tag = "4")]
    pub seconds: u32,
    /// Most packets.
    #[prost(uint64, tag = "5")]
    pub packets: u64,
    /// Most bytes of packets.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
}

/// What a capture has so far.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Report {
    /// Packets since the last report, oldest first.
    #[prost(message, repeated, tag = "1")]
    pub packets: Vec<Packet>,
    /// Who holds sockets, as words such as `pid=7 process=curl`; packets of this report name them by index.
    #[prost(string, repeated, tag = "2")]
    pub holders: Vec<String>,
    /// Packets that passed the filter, since the beginning.
    #[prost(uint64, tag = "3")]
    pub matched: u64,
    /// Of those, packets that found no room, since the beginning.
    #[prost(uint64, tag = "4")]
    pub dropped: u64,
    /// Packets whose headers could not be read, since the beginning.
    #[prost(uint64, tag = "5")]
    pub unreadable: u64,
    /// Not empty: the last report, and why.
    #[prost(string, tag = "6")]
    pub ended: String,
    /// Whether it ended because something failed.
    #[prost(bool, tag = "7")]
    pub failed: bool,
}

/// One packet.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Packet {
    /// UTC nanoseconds.
    #[prost(sfixed64, tag = "1")]
    pub time_ns: i64,
    /// Length on the wire, from the IP header on.
    #[prost(uint32, tag = "2")]
    pub wire_len: u32,
    /// Whether the socket sent it (or received it).
    #[prost(bool, tag = "3")]
    pub sent: bool,
    /// Index into the report's holders.
    #[prost(uint32, tag = "4")]
    pub holder: u32,
    /// The bytes that were kept, from the IP header on.
    #[prost(bytes = "bytes", tag = "5")]
    pub bytes: bytes::Bytes,
}

/// A capture's stream says which order it answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Opening {
    #[prost(fixed64, tag = "1")]
    pub(super) id: u64,
}

impl Hello {
    /// With a name that can stand in a file and on a terminal.
    pub(super) fn cleaned(mut self) -> Option<Hello> {
        for text in [&mut self.node, &mut self.boot_id, &mut self.version] {
            clean(text, MOST_NAME);
        }
        (!self.node.is_empty()).then_some(self)
    }
}

impl Report {
    /// A last report.
    pub fn ended(why: impl Into<String>, failed: bool) -> Report {
        Report { ended: why.into(), failed, ..Report::default() }
    }

    /// As it may be believed; `Err`: what can't be.
    pub(super) fn cleaned(mut self) -> Result<Report, &'static str> {
        if self.packets.len() > MOST_PACKETS_OF_REPORT || self.holders.len() > MOST_PACKETS_OF_REPORT {
            return Err("more packets in a report than there may be");
        }
        let is_bad = |packet: &Packet| {
            packet.holder as usize >= self.holders.len() || packet.bytes.len() > packet.wire_len as usize
        };
        if self.packets.iter().any(is_bad) {
            return Err("a packet that doesn't fit its report");
        }
        for text in self.holders.iter_mut().chain([&mut self.ended]) {
            clean(text, MOST_TEXT);
        }
        Ok(self)
    }
}

/// Texts of the other side end up in files and on terminals: no control characters, and not endless.
fn clean(text: &mut String, most: usize) {
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, "?");
    }
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
}

/// A message as it goes over Flight.
pub(super) fn encode(message: &impl Message) -> FlightData {
    FlightData::new().with_data_body(message.encode_to_vec())
}

/// A stream's first message, which says what the stream is for.
pub(super) fn opening(path: &str, message: &impl Message) -> FlightData {
    encode(message).with_descriptor(FlightDescriptor::new_path(vec![path.to_owned()]))
}

/// `None`: too long, or not that message.
pub(super) fn decode<M: Message + Default>(data: &FlightData) -> Option<M> {
    if data.data_body.len() > MOST_REPORT_BYTES {
        return None;
    }
    M::decode(data.data_body.clone()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(holder: u32, kept: usize, wire_len: u32) -> Packet {
        Packet { time_ns: 1, wire_len, sent: true, holder, bytes: vec![0; kept].into() }
    }

    #[test]
    fn a_report_that_lies_is_not_believed() {
        let holders = vec!["pid=1".to_owned()];
        let report = |packets| Report { packets, holders: holders.clone(), ..Report::default() };
        assert!(report(vec![packet(0, 40, 1_500)]).cleaned().is_ok());
        assert!(report(vec![packet(1, 40, 1_500)]).cleaned().is_err(), "a holder that is not there");
        assert!(report(vec![packet(0, 41, 40)]).cleaned().is_err(), "more bytes than the packet had");
        assert!(report(vec![packet(0, 1, 1); MOST_PACKETS_OF_REPORT + 1]).cleaned().is_err());
    }

    #[test]
    fn texts_can_t_break_a_terminal_or_a_line() {
        let hello =
            Hello { node: "a\n\u{1b}[2J".to_owned(), version: "ß".repeat(1_000), ..Hello::default() };
        let hello = hello.cleaned().expect("it has a name");
        assert_eq!(hello.node, "a??[2J");
        assert!(hello.version.len() <= MOST_NAME);
        assert!(Hello::default().cleaned().is_none(), "a probe without a name can't be asked");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let data = FlightData::new().with_data_body(bytes);
            if let Some(report) = decode::<Report>(&data) {
                let _ = report.cleaned();
            }
            let _ = decode::<Hello>(&data).and_then(Hello::cleaned);
            let _ = decode::<Order>(&data);
        }
    }
}
