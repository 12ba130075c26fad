mod fingerprints;
mod handshakes;

use proptest::prelude::*;

use super::*;
use crate::testing::{
    alpn, client_hello, key_shares, list16, message, record, server_hello, sni, supported_versions,
    tls_frames,
};

const CLIENT: Side = Side::Client;
const SERVER: Side = Side::Server;
/// How much later each push comes.
const STEP_NS: i64 = 1_000_000;

/// Pushes what each side says, in turn, and tells what is known then.
fn talk<'a>(said: impl IntoIterator<Item = (Side, &'a [u8])>) -> Option<Handshake> {
    let mut conversation = Conversation::new();
    let mut now_ns = 0;
    for (side, bytes) in said {
        conversation.push(side, now_ns, bytes);
        now_ns += STEP_NS;
    }
    conversation.handshake().cloned()
}

/// A modern client's hello, without its record.
fn hello_message() -> Vec<u8> {
    let extensions = [
        sni("shop.example.org"),
        (10, list16(&[0x11ec, 29, 23])),
        (11, vec![1, 0]),
        (13, list16(&[0x0403, 0x0804, 0x0401])),
        alpn(&["h2", "http/1.1"]),
        supported_versions(&[0x0304, 0x0303]),
        key_shares(&[29]),
    ];
    message(1, &client_hello(0x0303, &[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f], &extensions))
}

fn hello() -> Vec<u8> {
    record(22, &hello_message())
}

/// All that two ends said in `tls.pcap`, connection by connection: the client's bytes, the server's bytes.
fn fixture_streams() -> Vec<[Vec<u8>; 2]> {
    use crate::ip::{Transport, link, packet};
    let mut streams: Vec<(u16, [Vec<u8>; 2])> = Vec::new();
    for frame in tls_frames() {
        let Ok(found) = packet(link::ETHERNET, frame) else { continue };
        let Transport::Tcp(header) = found.transport else { continue };
        let from_client = header.src_port > header.dst_port;
        let port = header.src_port.max(header.dst_port);
        let at = streams.iter().position(|(known, _)| *known == port).unwrap_or_else(|| {
            streams.push((port, Default::default()));
            streams.len() - 1
        });
        streams[at].1[usize::from(!from_client)].extend_from_slice(found.payload);
    }
    streams.into_iter().map(|(_, sides)| sides).filter(|sides| !sides[0].is_empty()).collect()
}

/// "No handshake seen" is proof of plaintext, so a split hello must never look like none.
#[test]
fn a_hello_cut_at_any_byte_gives_the_same_facts() {
    let streams = fixture_streams();
    assert!(streams.len() >= 6, "the fixture has that many connections with TLS");
    for [client, _] in &streams {
        let whole = talk([(CLIENT, &client[..])]).unwrap();
        assert!(whole.ja3.is_some() && whole.ja4.is_some() && whole.sni.is_some());
        let length = 5 + usize::from(u16::from_be_bytes([client[3], client[4]]));
        for cut in 1..length {
            let (first, second) = client.split_at(cut);
            let mut conversation = Conversation::new();
            assert_eq!(conversation.push(CLIENT, 0, first), Progress::NeedMore, "cut at byte {cut}");
            conversation.push(CLIENT, 0, second);
            assert_eq!(conversation.handshake(), Some(&whole), "cut at byte {cut}");
        }
    }
}

/// A direction's record layer and TCP cut as they like.
fn in_records(messages: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = messages;
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(size.min(rest.len()));
        if !now.is_empty() {
            bytes.extend(record(22, now));
        }
        rest = later;
    }
    bytes
}

fn any_hello() -> impl Strategy<Value = Vec<u8>> {
    let numbers = || proptest::collection::vec(any::<u16>(), 0..30);
    let extensions = proptest::collection::vec(
        prop_oneof![
            "[a-z.]{0,40}".prop_map(|name| sni(&name)),
            numbers().prop_map(|groups| (10, list16(&groups))),
            numbers().prop_map(|algorithms| (13, list16(&algorithms))),
            numbers().prop_map(|versions| supported_versions(&versions)),
            proptest::collection::vec("[a-z0-9/]{1,9}", 0..4)
                .prop_map(|names| alpn(&names.iter().map(String::as_str).collect::<Vec<_>>())),
            (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..60)),
        ],
        0..20,
    );
    (0x0300_u16..0x0304, numbers(), extensions)
        .prop_map(|(version, ciphers, extensions)| message(1, &client_hello(version, &ciphers, &extensions)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However a hello is cut into records and segments, its fingerprints are the same.
    #[test]
    fn records_and_segments_dont_change_a_fingerprint(
        hello in any_hello(),
        records in proptest::collection::vec(1_usize..200, 0..12),
        segments in proptest::collection::vec(1_usize..200, 0..40),
    ) {
        let whole = record(22, &hello);
        let expected = talk([(CLIENT, &whole[..])]);
        let parsed = super::client_hello(&hello[4..]).unwrap();
        prop_assert_eq!(expected.clone().unwrap().ja4, Some(ja4(&parsed)));

        let bytes = in_records(&hello, &records);
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for size in segments.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            pieces.push((CLIENT, now));
            rest = later;
        }
        let mut found = talk(pieces);
        if let Some(found) = &mut found {
            found.time_ns = 0;
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..20),
        sslv2 in any::<bool>(),
    ) {
        let start = if sslv2 { &[0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16][..] } else { &[0x16, 3, 1, 0, 90, 1, 0, 0, 86, 3, 3] };
        let mut conversation = Conversation::new();
        conversation.push(CLIENT, 0, start);
        for (client, bytes) in &pieces {
            conversation.push(if *client { CLIENT } else { SERVER }, 0, bytes);
        }
        conversation.closed(Some(SERVER), false, 9);
        for (_, bytes) in &pieces {
            let _ = super::client_hello(bytes).map(|hello| (ja3(&hello), ja4(&hello)));
            let _ = super::server_hello(bytes).map(|hello| ja3s(&hello));
            let _ = sslv2_client_hello(bytes);
        }
    }

    /// Nearly good bytes reach further than noise does: real conversations with a few bytes changed, lost, doubled.
    #[test]
    fn no_damage_makes_it_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..8),
        step in 1_usize..700,
    ) {
        let streams = fixture_streams();
        let mut sides = which.get(&streams).clone();
        for (client, at, value, how) in damage {
            let side = &mut sides[usize::from(!client)];
            if side.is_empty() {
                continue;
            }
            let at = at.index(side.len());
            match how {
                0 => side[at] = value,
                1 => drop(side.drain(at..side.len().min(at + usize::from(value)))),
                _ => side.insert(at, value),
            }
        }
        let mut conversation = Conversation::new();
        let (mut client, mut server) = (sides[0].chunks(step), sides[1].chunks(step));
        loop {
            let (said, answered) = (client.next(), server.next());
            if let Some(bytes) = said {
                conversation.push(CLIENT, 0, bytes);
            }
            if let Some(bytes) = answered {
                conversation.push(SERVER, 1, bytes);
            }
            if said.is_none() && answered.is_none() {
                break;
            }
        }
        conversation.closed(None, true, 2);
        let mut row = weir_model::TlsHandshakeRow::default();
        if let Some(handshake) = conversation.handshake() {
            handshake.fill(&mut row);
        }
    }
}
