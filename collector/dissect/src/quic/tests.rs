//! Packets as a client and a server make them, and what is read from them.

use proptest::prelude::*;

use super::*;
use crate::datagrams::Datagrams;
use crate::testing::{
    alpn, client_hello, key_shares, list16, message, server_hello, sni, supported_versions,
};
use crate::tls::{client_hello as read_client_hello, ja4_over};

pub(crate) const CLIENT: Side = Side::Client;
pub(crate) const SERVER: Side = Side::Server;
const DCID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const CLIENT_CID: [u8; 3] = [7, 7, 7];
const SERVER_CID: [u8; 4] = [9, 8, 7, 6];

/// One end of a connection, which protects packets as RFC 9001 says.
pub(crate) struct End {
    version: u32,
    key_cid: Vec<u8>,
    dcid: Vec<u8>,
    scid: Vec<u8>,
    is_server: bool,
    number: u16,
}

impl End {
    pub(crate) fn client(version: u32) -> End {
        End {
            version,
            key_cid: DCID.to_vec(),
            dcid: DCID.to_vec(),
            scid: CLIENT_CID.to_vec(),
            is_server: false,
            number: 0,
        }
    }

    fn server(version: u32) -> End {
        End { dcid: CLIENT_CID.to_vec(), scid: SERVER_CID.to_vec(), is_server: true, ..End::client(version) }
    }

    /// An Initial packet with these frames.
    pub(crate) fn initial(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut frames = frames.to_vec();
        frames.resize(frames.len().max(20), 0);
        let kind = if version::has_types_of_version_2(self.version) { 0xd1 } else { 0xc1 };
        let mut header = vec![kind];
        header.extend(self.version.to_be_bytes());
        for id in [&self.dcid, &self.scid] {
            header.push(id.len() as u8);
            header.extend(id);
        }
        header.push(0);
        header.extend((0x4000 | (2 + frames.len() + 16) as u16).to_be_bytes());
        header.extend(self.number.to_be_bytes());
        let keys = keys::derive(version::schemes(self.version)[0], &self.key_cid).unwrap();
        let packet = keys[usize::from(self.is_server)].seal(&header, self.number, &frames);
        self.number += 1;
        packet
    }

    /// A packet that only the ends can read.
    fn one_rtt(&self) -> Vec<u8> {
        [&[0x41], &self.dcid[..], &[0xaa; 30]].concat()
    }
}

pub(crate) fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend((0x8000_0000 | offset as u32).to_be_bytes());
    frame.extend((0x4000 | bytes.len() as u16).to_be_bytes());
    frame.extend(bytes);
    frame
}

/// A browser's hello, with a key share that takes two datagrams.
pub(crate) fn hello() -> Vec<u8> {
    let extensions = [
        sni("shop.example.org"),
        (10, list16(&[0x11ec, 29, 23])),
        (13, list16(&[0x0403, 0x0804, 0x0401])),
        alpn(&["h3"]),
        supported_versions(&[0x0304]),
        key_shares(&[29]),
        (57, vec![3; 60]),
        (0x1234, vec![0; 1300]),
    ];
    message(1, &client_hello(0x0303, &[0x1301, 0x1302, 0x1303], &extensions))
}

fn answer() -> Vec<u8> {
    let extensions = [(43, vec![3, 4]), (51, [&[0, 29, 0, 32][..], &[4; 32]].concat())];
    message(2, &server_hello(0x0303, [8; 32], 6, 0x1301, &extensions))
}

fn expected_ja4() -> SmolStr {
    ja4_over(&read_client_hello(&hello()[4..]).unwrap(), Carrier::Quic)
}

#[test]
fn the_examples_of_rfc_9001_and_rfc_9369_open() {
    // Appendix A.3 of each: a server's Initial, for the client's id 8394c8f03e515708.
    for (packet, version) in [
        (
            "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5\
             a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4\
             cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
            "1",
        ),
        (
            "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bbf8726301791\
             5358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2c984c707\
             f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140",
            "2",
        ),
    ] {
        let packet = hex::decode(packet).unwrap();
        let number = if version == "1" { version::VERSION_1 } else { version::VERSION_2 };
        let mut quic = Quic::new();
        quic.datagram(CLIENT, 0, &End::client(number).initial(&crypto(0, &hello())));
        quic.datagram(SERVER, 5_000, &packet);
        let handshake = quic.handshake().unwrap();
        assert_eq!(handshake.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(handshake.group.as_deref(), Some("x25519"));
        assert_eq!(handshake.version.as_deref(), Some("1.3"));
        let ids = handshake.quic.as_ref().unwrap();
        assert_eq!((ids.version.as_str(), ids.server_scid.as_deref()), (version, Some("f067a5502a4262b5")));
        assert_eq!(ids.client_initial_dcid, "8394c8f03e515708");
        assert_eq!(handshake.hello_us, Some(5));
    }
}

#[test]
fn a_client_s_first_data_ends_the_handshake() {
    let (mut client, mut server) = (End::client(1), End::server(1));
    let mut flow = Datagrams::default();
    assert_eq!(flow.datagram(CLIENT, 0, &client.initial(&crypto(0, &hello()))), None);
    // Nothing that only looks like it: no server has answered yet.
    assert_eq!(flow.datagram(CLIENT, 0, &client.one_rtt()), None);
    assert_eq!(flow.datagram(SERVER, 2_000_000, &server.initial(&crypto(0, &answer()))), None);
    assert_eq!(flow.datagram(SERVER, 2_000_000, &server.one_rtt()), None);
    client.dcid = SERVER_CID.to_vec();
    // An acknowledgement, a Handshake packet, and data in one datagram.
    let handshake_packet =
        [&[0xe0, 0, 0, 0, 1, 4][..], &SERVER_CID, &[3], &CLIENT_CID, &[20], &[1; 20]].concat();
    let last = [client.initial(&[2, 0, 0, 0, 0]), handshake_packet, client.one_rtt()].concat();
    let handshake = flow.datagram(CLIENT, 3_000_000, &last).expect("it is over");
    assert_eq!(handshake.established, Some(true));
    assert_eq!((handshake.hello_us, handshake.handshake_us), (Some(2000), Some(3000)));
    assert_eq!(handshake.address_validated, Some(false));
    assert_eq!(handshake.ja4, Some(expected_ja4()));
    assert!(
        handshake.ja4.as_deref().is_some_and(|ja4| ja4.starts_with("q13d0308h3_")),
        "{:?}",
        handshake.ja4
    );
    assert_eq!(handshake.sni.as_deref(), Some("shop.example.org"));
    assert_eq!(flow.datagram(CLIENT, 4_000_000, &last), None, "told once");
    assert_eq!(flow.closed(), None);
}

/// quic-go takes another id as soon as it may.
#[test]
fn data_for_an_id_that_nobody_saw_ends_the_handshake_too() {
    let (mut client, mut server) = (End::client(1), End::server(1));
    let mut flow = Datagrams::default();
    flow.datagram(CLIENT, 0, &client.initial(&crypto(0, &hello())));
    flow.datagram(SERVER, 2_000_000, &server.initial(&crypto(0, &answer())));
    client.dcid = vec![1, 1, 2, 3];
    assert_eq!(flow.datagram(CLIENT, 3_000_000, &client.one_rtt()), None, "it may be of another connection");
    let handshake_packet =
        [&[0xe0, 0, 0, 0, 1, 4][..], &client.dcid, &[3], &CLIENT_CID, &[20], &[1; 20]].concat();
    assert_eq!(flow.datagram(CLIENT, 3_000_000, &handshake_packet), None);
    let handshake = flow.datagram(CLIENT, 4_000_000, &client.one_rtt()).expect("it is over");
    assert_eq!((handshake.established, handshake.handshake_us), (Some(true), Some(4000)));
}

#[test]
fn a_retry_brings_new_keys_for_the_same_hello() {
    let (mut client, mut server) = (End::client(1), End::server(1));
    let mut quic = Quic::new();
    quic.datagram(CLIENT, 0, &client.initial(&crypto(0, &hello()[..900])));
    let retry =
        [&[0xf0, 0, 0, 0, 1, 3][..], &CLIENT_CID, &[5], &[1, 2, 3, 4, 5], b"token", &[0; 16]].concat();
    quic.datagram(SERVER, 0, &retry);
    client.key_cid = vec![1, 2, 3, 4, 5];
    client.dcid.clone_from(&client.key_cid);
    server.key_cid.clone_from(&client.key_cid);
    quic.datagram(CLIENT, 0, &client.initial(&crypto(0, &hello()[..900])));
    quic.datagram(CLIENT, 0, &client.initial(&crypto(900, &hello()[900..])));
    quic.datagram(SERVER, 0, &server.initial(&crypto(0, &answer())));
    let handshake = quic.handshake().unwrap();
    assert_eq!(handshake.ja4, Some(expected_ja4()));
    assert_eq!(handshake.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
    assert_eq!(handshake.address_validated, Some(true));
    assert_eq!(handshake.quic.as_ref().unwrap().client_initial_dcid, "8394c8f03e515708");
}

#[test]
fn a_version_that_the_server_refuses_is_forgotten() {
    let mut client = End::client(version::VERSION_2);
    let mut flow = Datagrams::default();
    let first = message(1, &client_hello(0x0303, &[0x1301], &[sni("first.example.org")]));
    flow.datagram(CLIENT, 0, &client.initial(&crypto(0, &first)));
    let negotiation =
        [&[0x80, 0, 0, 0, 0, 3][..], &CLIENT_CID, &[8], &DCID, &1_u32.to_be_bytes(), &[0x1a; 4]].concat();
    flow.datagram(SERVER, 0, &negotiation);
    let mut client = End::client(1);
    flow.datagram(CLIENT, 0, &client.initial(&crypto(0, &hello())));
    let handshake = flow.handshake().unwrap();
    assert_eq!(handshake.sni.as_deref(), Some("shop.example.org"));
    assert_eq!(handshake.quic.as_ref().unwrap().version, "1");
}

#[test]
fn a_server_may_answer_in_another_version() {
    let mut quic = Quic::new();
    quic.datagram(CLIENT, 0, &End::client(1).initial(&crypto(0, &hello())));
    quic.datagram(SERVER, 0, &End::server(version::VERSION_2).initial(&crypto(0, &answer())));
    let handshake = quic.handshake().unwrap();
    assert_eq!(handshake.quic.as_ref().unwrap().version, "2");
    assert_eq!(handshake.version.as_deref(), Some("1.3"));
}

#[test]
fn a_version_that_nobody_has_heard_of_is_read_if_its_keys_are_known() {
    let mut flow = Datagrams::default();
    flow.datagram(CLIENT, 0, &End::client(0xabcd_0001).initial(&crypto(0, &hello())));
    assert_eq!(flow.handshake().unwrap().ja4, Some(expected_ja4()));
    assert_eq!(flow.handshake().unwrap().quic.as_ref().unwrap().version, "0xabcd0001");
}

#[test]
fn a_close_says_why() {
    let close = |error: u16| [&[0x1c][..], &(0x4000 | error).to_be_bytes(), &[6, 2], b"no"].concat();
    for (error, alert, reason) in [
        (0x100 + 120, Some("no_application_protocol"), "no_application_protocol"),
        (0x02, None, "connection_refused"),
        (0x00, None, "closed_by_server"),
        (0x77, None, "quic_error_0x77"),
    ] {
        let mut flow = Datagrams::default();
        flow.datagram(CLIENT, 0, &End::client(1).initial(&crypto(0, &hello())));
        let frames = [&[2, 0, 0, 0, 0][..], &close(error)].concat();
        let handshake = flow.datagram(SERVER, 0, &End::server(1).initial(&frames)).expect("it is over");
        assert_eq!(handshake.established, Some(false));
        assert_eq!(handshake.alert.as_deref(), alert);
        assert_eq!(handshake.failure_reason.as_deref(), Some(reason));
    }
}

#[test]
fn connections_one_after_the_other_are_told_apart() {
    let mut flow = Datagrams::default();
    let refused = [0x1c, 0x02, 0x06, 0x00];
    let first = End::client(1).initial(&crypto(0, &hello()));
    flow.datagram(CLIENT, 0, &first);
    assert!(flow.datagram(SERVER, 0, &End::server(1).initial(&refused)).is_some());
    assert_eq!(flow.datagram(CLIENT, 1, &first), None);
    assert!(flow.handshake().is_none(), "the same one, sent again");
    let mut second = End::client(1);
    (second.dcid, second.key_cid) = (vec![5; 8], vec![5; 8]);
    flow.datagram(CLIENT, 2, &second.initial(&crypto(0, &hello())));
    assert_eq!(flow.closed().unwrap().quic.unwrap().client_initial_dcid, "0505050505050505");
}

/// Tags and values of a CHLO.
fn chlo(name: &str) -> Vec<u8> {
    let values = [("PAD\0", "-------"), ("SNI\0", name), ("UAID", "Chrome/60.0")];
    let mut message = b"CHLO".to_vec();
    message.extend([values.len() as u8, 0, 0, 0]);
    let mut end = 0_u32;
    for (tag, value) in values {
        end += value.len() as u32;
        message.extend(tag.as_bytes());
        message.extend(end.to_le_bytes());
    }
    message.extend(values.iter().flat_map(|(_, value)| value.bytes()));
    message
}

#[test]
fn google_s_own_hello_has_a_name_too() {
    let hello = chlo("www.example.org");
    // Q043: flags, connection id, version, packet number, hash, a stream frame.
    let q043 = [&[0x09][..], &[1; 8], b"Q043", &[1], &[0; 12], &[0xa0, 1, 0, 4], &hello].concat();
    // Q046: the long header of its time.
    let q046 =
        [&[0xc3][..], b"Q046", &[0x50], &[1; 8], &[0, 0, 0, 1], &[0; 12], &[0xa0, 0, 4, 0], &hello].concat();
    let mut frame = vec![8, 0];
    frame.extend((0x4000 | hello.len() as u16).to_be_bytes());
    frame.extend(&hello);
    let q050 = End::client(u32::from_be_bytes(*b"Q050")).initial(&frame);
    for (datagram, version, id) in [
        (q043, "Q043", "0101010101010101"),
        (q046, "Q046", "0101010101010101"),
        (q050, "Q050", "8394c8f03e515708"),
    ] {
        let mut flow = Datagrams::default();
        let handshake = flow.datagram(CLIENT, 7, &datagram).expect(version);
        assert_eq!(handshake.sni.as_deref(), Some("www.example.org"));
        let ids = handshake.quic.unwrap();
        assert_eq!((ids.version.as_str(), ids.client_initial_dcid.as_str()), (version, id));
        assert_eq!((handshake.version, handshake.ja4), (None, None), "it is not TLS");
        assert_eq!(flow.datagram(CLIENT, 8, &datagram), None);
    }
}

#[test]
fn a_flow_that_only_looks_like_quic_is_left_in_peace() {
    let mut packet = End::client(1).initial(&crypto(0, &hello()));
    let last = packet.len() - 1;
    packet[last] ^= 1;
    let mut flow = Datagrams::default();
    for _ in 0..100 {
        flow.datagram(CLIENT, 0, &packet);
    }
    assert!(flow.handshake().is_none());
    assert_eq!(flow.datagram(CLIENT, 0, &End::client(1).initial(&crypto(0, &hello()))), None);
    assert!(flow.handshake().is_none(), "after so many failures nothing is tried any more");
}

/// A hello in CRYPTO frames as a browser scrambles it: pieces, which packet each is in, where a PING goes.
fn scrambled(hello: &[u8], cuts: &[prop::sample::Index], shuffle: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(hello.len())).collect();
    ends.extend([0, hello.len()]);
    ends.sort_unstable();
    let mut frames: Vec<Vec<u8>> =
        ends.windows(2).map(|piece| crypto(piece[0], &hello[piece[0]..piece[1]])).collect();
    for (at, other) in shuffle.iter().enumerate() {
        let (at, other) = (at % frames.len(), other.index(frames.len()));
        frames.swap(at, other);
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Split, put out of order, doubled, with PINGs between: a hello says the same.
    #[test]
    fn any_order_of_frames_and_packets_gives_the_same_fingerprint(
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..25),
        shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 0..25),
        per_packet in 1_usize..9,
        doubled in any::<prop::sample::Index>(),
        version in prop::sample::select(vec![1, version::VERSION_2, 0xff00_001d, 0xff00_0018, 0xface_b002]),
    ) {
        let mut client = End::client(version);
        let mut packets: Vec<Vec<u8>> = scrambled(&hello(), &cuts, &shuffle)
            .chunks(per_packet)
            .map(|frames| client.initial(&frames.join(&[0, 1, 0, 0][..])))
            .collect();
        packets.push(packets[doubled.index(packets.len())].clone());
        let turn = doubled.index(packets.len());
        packets.rotate_left(turn);
        let mut flow = Datagrams::default();
        for packet in &packets {
            flow.datagram(CLIENT, 0, packet);
        }
        let handshake = flow.closed().unwrap();
        prop_assert_eq!(handshake.ja4, Some(expected_ja4()));
        prop_assert_eq!(handshake.sni.as_deref(), Some("shop.example.org"));
    }

    #[test]
    fn no_bytes_make_it_panic(
        datagrams in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..120)), 0..12),
        frames in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        version in prop::sample::select(vec![1, version::VERSION_2, 0x5130_3530, 0x5430_3531, 0xface_b00e]),
    ) {
        let mut flow = Datagrams::default();
        // Well protected nonsense, then a packet with some bytes changed, then anything.
        flow.datagram(CLIENT, 0, &End::client(version).initial(&frames));
        let mut packet = End::client(version).initial(&crypto(0, &hello()));
        for (at, value) in damage {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        flow.datagram(CLIENT, 0, &packet);
        for (client, bytes) in &datagrams {
            flow.datagram(if *client { CLIENT } else { SERVER }, 0, bytes);
            for start in [&[0xc3, 0, 0, 0, 1][..], &[0xd3, 0x6b, 0x33, 0x43, 0xcf], &[0x80, 0, 0, 0, 0], b"\x09........Q043"] {
                flow.datagram(if *client { CLIENT } else { SERVER }, 0, &[start, &bytes[..]].concat());
            }
        }
        flow.closed();
    }
}
