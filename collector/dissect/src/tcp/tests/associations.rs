//! SCTP: the same promises as TCP's, told by chunks.

use super::*;
use crate::testing::{ipv4, ipv6};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend((4 + body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// INIT or its answer: initiate tag, window, streams, initial TSN.
fn begin(kind: u8, tag: u32, tsn: u32) -> Vec<u8> {
    let body = [&tag.to_be_bytes()[..], &[0, 1, 0, 0, 0, 10, 0, 10], &tsn.to_be_bytes()].concat();
    chunk(kind, &body)
}

fn data(tsn: u32, message: &[u8]) -> Vec<u8> {
    chunk(0, &[&tsn.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 46], message].concat())
}

fn sack(tsn: u32) -> Vec<u8> {
    chunk(SACK, &[&tsn.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat())
}

/// An association between [`CLIENT`] and [`SERVER`], packet by packet.
struct Association {
    tracker: FlowTracker,
    now_ns: i64,
}

impl Association {
    fn new() -> Association {
        Association { tracker: FlowTracker::new(Options::default()), now_ns: START_NS }
    }

    /// `ns` later, `from` sends these chunks.
    fn say(&mut self, ns: i64, from: Side, chunks: &[Vec<u8>]) -> &mut Association {
        self.now_ns += ns;
        let ports = if from == Side::Client { [40_000_u16, 38412] } else { [38412, 40_000] };
        let mut bytes: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
        bytes.extend([0; 8]);
        for chunk in chunks {
            bytes.extend(chunk);
        }
        let (src, dst) = if from == Side::Client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let bytes = ipv4(src, dst, 132, &bytes);
        self.tracker.packet(self.now_ns, &ip::packet(ip::link::RAW, &bytes).unwrap());
        self
    }

    fn open(&mut self) -> &mut Association {
        self.say(0, Side::Client, &[begin(INIT, 0xaa, 100)]);
        self.say(10 * MS, Side::Server, &[begin(INIT_ACK, 0xbb, 200)]);
        self.say(MS, Side::Client, &[chunk(COOKIE_ECHO, b"cookie")]);
        self.say(10 * MS, Side::Server, &[chunk(COOKIE_ACK, &[])])
    }

    #[track_caller]
    fn flow(&mut self) -> FlowRow {
        let mut flows = self.tracker.finish().flows;
        assert_eq!(flows.len(), 1, "{flows:#?}");
        flows.remove(0)
    }
}

#[test]
fn an_association_is_told_whole() {
    let mut talk = Association::new();
    talk.open();
    talk.say(MS, Side::Client, &[data(100, b"one"), data(101, b"second")]);
    talk.say(20 * MS, Side::Server, &[sack(101), data(200, &[7; 100])]);
    talk.say(MS, Side::Client, &[sack(200), chunk(SHUTDOWN, &[0, 0, 0, 200])]);
    talk.say(10 * MS, Side::Server, &[chunk(SHUTDOWN_ACK, &[])]);
    talk.say(MS, Side::Client, &[chunk(SHUTDOWN_COMPLETE, &[])]);
    let row = talk.flow();
    assert_eq!(row.protocol.as_deref(), Some("sctp"));
    assert_eq!((row.client_ip.as_deref(), row.client_port), (Some("10.0.0.1"), Some(40_000)));
    assert_eq!((row.server_ip.as_deref(), row.server_port), (Some("192.168.0.2"), Some(38412)));
    // Both initiate tags: every observer of it says the same.
    assert_eq!(row.connection_id.as_deref(), Some("000000aa000000bb"));
    assert_eq!(row.trace_id, None);
    assert_eq!(life(&row), ("only", Some("fin")));
    assert_eq!((bytes(&row), packets(&row), retransmits(&row)), ((9, 100), (5, 4), (0, 0)));
    assert_eq!((row.opened_time, row.end_time), (Some(START_NS), Some(START_NS + 54 * MS)));
    assert_eq!((row.connect_us, row.first_byte_us), (Some(21_000), Some(21_000)));
    assert_eq!(row.rtt_us, Some(21_000));
}

/// TSNs number chunks, not bytes.
#[test]
fn data_that_is_sent_again_is_counted_once() {
    let mut talk = Association::new();
    talk.open();
    talk.say(MS, Side::Client, &[data(100, &[1; 50])]);
    // 101 comes later.
    talk.say(MS, Side::Client, &[data(102, &[3; 70])]);
    talk.say(200 * MS, Side::Client, &[data(101, &[2; 60])]);
    talk.say(200 * MS, Side::Client, &[data(102, &[3; 70])]);
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((180, 0), (2, 0)));
}

#[test]
fn an_abort_tells_who_gave_up() {
    let ends = |from: Side, opened: bool| {
        let mut talk = Association::new();
        if opened {
            talk.open()
        } else {
            talk.say(0, Side::Client, &[begin(INIT, 0xaa, 100)])
        };
        talk.say(MS, from, &[chunk(ABORT, &[])]);
        let row = talk.flow();
        (row.close_reason.unwrap().to_string(), row.resets)
    };
    assert_eq!(ends(Side::Client, true), ("reset_by_client".to_owned(), 1));
    assert_eq!(ends(Side::Server, true), ("reset_by_server".to_owned(), 1));
    assert_eq!(ends(Side::Server, false), ("refused".to_owned(), 1));
}

#[test]
fn an_init_without_an_answer_timed_out() {
    let mut talk = Association::new();
    talk.say(0, Side::Client, &[begin(INIT, 0xaa, 100)]);
    talk.say(3000 * MS, Side::Client, &[begin(INIT, 0xaa, 100)]);
    talk.tracker.advance(talk.now_ns + 200 * SECOND_NS);
    let row = talk.flow();
    assert_eq!((life(&row), packets(&row)), (("only", Some("timed_out")), (2, 0)));
}

/// An end that lost its memory begins anew from the same port.
#[test]
fn another_tag_is_another_association() {
    let mut talk = Association::new();
    talk.open();
    talk.say(MS, Side::Client, &[begin(INIT, 0xcc, 900)]);
    let ids: Vec<_> = talk.tracker.finish().flows.into_iter().map(|row| row.connection_id.unwrap()).collect();
    assert_eq!((ids.len(), ids[0].as_str()), (2, "000000aa000000bb"));
}

/// Who is the client of an association whose opening nobody saw.
#[test]
fn the_better_known_port_is_the_server_s() {
    for from in [Side::Client, Side::Server] {
        let mut talk = Association::new();
        talk.say(0, from, &[data(5, b"late")]);
        let row = talk.flow();
        assert_eq!((row.client_port, row.server_port), (Some(40_000), Some(38412)), "{from:?}");
        assert_eq!((row.opened_time, row.state.as_deref()), (None, Some("ongoing")));
    }
}

/// `tcpdump -s`: as far as chunks' headers were kept, their data count whole.
#[test]
fn a_chunk_that_was_cut_counts_by_its_header() {
    let mut bytes = vec![0x9c, 0x40, 0x96, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(data(7, &[1; 200]));
    let bytes = ipv6(crate::testing::CLIENT6, crate::testing::SERVER6, 132, &bytes);
    for kept in 40 + 12 + 8..bytes.len() {
        let mut tracker = FlowTracker::new(Options::default());
        tracker.packet(START_NS, &ip::packet(ip::link::RAW, &bytes[..kept]).unwrap());
        assert_eq!(tracker.finish().flows[0].client_bytes, 200, "{kept} bytes kept");
    }
}
