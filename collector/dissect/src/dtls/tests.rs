//! Records and fragments as DTLS has them, in order and out of it.

use proptest::prelude::*;

use super::*;
use crate::datagrams::Datagrams;
use crate::testing::{client_hello, list16, server_hello, sni, supported_versions};
use crate::tls::{client_hello as read_client_hello, ja4_over};

const CLIENT: Side = Side::Client;
const SERVER: Side = Side::Server;

fn record(kind: u8, epoch: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xfe, 0xfd];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0; 6]);
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend(content);
    bytes
}

fn fragment(kind: u8, number: u16, body: &[u8], start: usize, end: usize) -> Vec<u8> {
    let u24 = |value: usize| value.to_be_bytes()[5..].to_vec();
    let mut bytes = vec![kind];
    bytes.extend(u24(body.len()));
    bytes.extend(number.to_be_bytes());
    bytes.extend(u24(start));
    bytes.extend(u24(end - start));
    bytes.extend(&body[start..end]);
    bytes
}

fn whole(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
    record(22, 0, &fragment(kind, number, body, 0, body.len()))
}

/// The same without a cookie, as TLS has it.
fn plain_hello() -> Vec<u8> {
    let extensions = [sni("media.example.org"), (10, list16(&[29, 23])), (13, list16(&[0x0403, 0x0804]))];
    client_hello(0xfefd, &[0xc02b, 0xc02f, 0x00ff], &extensions)
}

fn hello(cookie: &[u8]) -> Vec<u8> {
    let plain = plain_hello();
    let session_end = 35 + 32;
    [&plain[..session_end], &[cookie.len() as u8], cookie, &plain[session_end..]].concat()
}

fn answer() -> Vec<u8> {
    server_hello(0xfefd, [8; 32], 9, 0xc02b, &[(0xff01, vec![0])])
}

fn expected_ja4() -> smol_str::SmolStr {
    ja4_over(&read_client_hello(&plain_hello()).unwrap(), Carrier::Dtls)
}

#[test]
fn a_handshake_with_a_cookie_and_its_end() {
    let mut flow = Datagrams::default();
    // STUN comes first in WebRTC.
    flow.datagram(CLIENT, 0, b"\x00\x01\x00\x00\x21\x12\xa4\x42............");
    flow.datagram(CLIENT, 1_000_000, &whole(1, 0, &hello(b"")));
    flow.datagram(SERVER, 2_000_000, &whole(3, 0, &[0xfe, 0xff, 2, 7, 7]));
    flow.datagram(CLIENT, 3_000_000, &whole(1, 1, &hello(&[7, 7])));
    let certificate = [&[0, 0, 8, 0, 0, 5][..], b"certs"].concat();
    let flight = [
        whole(2, 1, &answer()),
        whole(11, 2, &certificate),
        whole(12, 3, &[3, 0, 29, 1, 5]),
        whole(13, 4, &[0]),
        whole(14, 5, &[]),
    ];
    flow.datagram(SERVER, 4_000_000, &flight.concat());
    let last = [record(20, 0, &[1]), record(22, 1, &[1; 40])].concat();
    assert_eq!(flow.datagram(CLIENT, 5_000_000, &last), None);
    let handshake = flow.datagram(SERVER, 6_000_000, &last).expect("it is over");
    assert_eq!(handshake.version.as_deref(), Some("dtls1.2"));
    assert_eq!(handshake.cipher.as_deref(), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    assert_eq!(handshake.group.as_deref(), Some("x25519"));
    assert_eq!(handshake.sni.as_deref(), Some("media.example.org"));
    assert_eq!(handshake.ja4, Some(expected_ja4()));
    assert!(handshake.ja4.as_deref().is_some_and(|ja4| ja4.starts_with("dd2d0303")), "{:?}", handshake.ja4);
    assert_eq!(handshake.address_validated, Some(true));
    assert_eq!(handshake.client_certificate_requested, Some(true));
    assert!(handshake.server_certificate.is_some());
    assert_eq!((handshake.established, handshake.resumed), (Some(true), Some(false)));
    assert_eq!(
        (handshake.time_ns, handshake.hello_us, handshake.handshake_us),
        (1_000_000, Some(3000), Some(5000))
    );
    assert_eq!(flow.datagram(CLIENT, 7_000_000, &whole(1, 0, &hello(b""))), None, "a late repetition");
    assert_eq!(flow.closed(), None);
}

#[test]
fn an_alert_ends_it() {
    let mut flow = Datagrams::default();
    flow.datagram(CLIENT, 0, &whole(1, 0, &hello(b"")));
    let handshake = flow.datagram(SERVER, 0, &record(21, 0, &[2, 40])).expect("it is over");
    assert_eq!(handshake.failure_reason.as_deref(), Some("handshake_failure"));
    assert_eq!((handshake.alert.as_deref(), handshake.established), (Some("handshake_failure"), Some(false)));
}

#[test]
fn dtls_1_3_ends_with_the_client_s_first_short_record() {
    let mut flow = Datagrams::default();
    let extensions = [sni("iot.example.org"), supported_versions(&[0xfefc, 0xfefd])];
    let plain = client_hello(0xfefd, &[0x1301], &extensions);
    let body = [&plain[..67], &[0], &plain[67..]].concat();
    flow.datagram(CLIENT, 0, &whole(1, 0, &body));
    let extensions = [(43, vec![0xfe, 0xfc]), (51, [&[0, 29, 0, 32][..], &[4; 32]].concat())];
    flow.datagram(SERVER, 0, &whole(2, 0, &server_hello(0xfefd, [8; 32], 0, 0x1301, &extensions)));
    flow.datagram(SERVER, 0, &[&[0x2e, 1, 2, 0, 40][..], &[1; 40]].concat());
    let handshake =
        flow.datagram(CLIENT, 0, &[&[0x2e, 1, 2, 0, 60][..], &[1; 60]].concat()).expect("it is over");
    assert_eq!(handshake.version.as_deref(), Some("dtls1.3"));
    assert!(handshake.ja4.as_deref().is_some_and(|ja4| ja4.starts_with("dd3d0102")), "{:?}", handshake.ja4);
    assert_eq!(handshake.established, Some(true));
}

#[test]
fn a_lost_fragment_costs_its_own_message_only() {
    let mut flow = Datagrams::default();
    flow.datagram(CLIENT, 0, &whole(1, 0, &hello(b"")));
    flow.datagram(SERVER, 0, &whole(2, 0, &answer()));
    // Message 1, the certificate, never came.
    flow.datagram(SERVER, 0, &whole(12, 2, &[3, 0, 29, 1, 5]));
    let handshake = flow.closed().unwrap();
    assert_eq!(handshake.group.as_deref(), Some("x25519"));
    assert_eq!((handshake.server_certificate, handshake.established), (None, None));
}

#[test]
fn turn_s_channels_are_looked_through() {
    let inner = whole(1, 0, &hello(b""));
    let mut channel = vec![0x40, 1];
    channel.extend((inner.len() as u16).to_be_bytes());
    channel.extend(&inner);
    channel.resize(channel.len().next_multiple_of(4), 0);
    let mut flow = Datagrams::default();
    flow.datagram(CLIENT, 0, &channel);
    assert_eq!(flow.handshake().unwrap().ja4, Some(expected_ja4()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Fragments of any size, in any order, some twice: a hello says the same.
    #[test]
    fn fragments_don_t_change_a_fingerprint(
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        doubled in any::<prop::sample::Index>(),
    ) {
        let body = hello(&[5; 20]);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        ends.extend([0, body.len()]);
        ends.sort_unstable();
        let mut pieces: Vec<Vec<u8>> =
            ends.windows(2).map(|ends| record(22, 0, &fragment(1, 0, &body, ends[0], ends[1]))).collect();
        for (at, other) in shuffle.iter().enumerate() {
            let (at, other) = (at % pieces.len(), other.index(pieces.len()));
            pieces.swap(at, other);
        }
        pieces.push(pieces[doubled.index(pieces.len())].clone());
        let mut flow = Datagrams::default();
        for piece in &pieces {
            flow.datagram(CLIENT, 0, piece);
        }
        let handshake = flow.closed().unwrap();
        prop_assert_eq!(handshake.ja4, Some(expected_ja4()));
        prop_assert_eq!(handshake.sni.as_deref(), Some("media.example.org"));
    }

    #[test]
    fn no_bytes_make_it_panic(
        datagrams in proptest::collection::vec(
            (any::<bool>(), 20_u8..27, 0_u16..2, proptest::collection::vec(any::<u8>(), 0..60)), 0..20),
        fragments in proptest::collection::vec(
            (any::<bool>(), 0_u8..26, 0_u16..20, 0_usize..70_000, proptest::collection::vec(any::<u8>(), 0..60)), 0..30),
    ) {
        let side = |client: bool| if client { CLIENT } else { SERVER };
        let mut flow = Datagrams::default();
        flow.datagram(CLIENT, 0, &whole(1, 0, &hello(b"")));
        for (client, kind, number, start, bytes) in &fragments {
            let mut body = vec![0; *start];
            body.extend(bytes);
            flow.datagram(side(*client), 0, &record(22, 0, &fragment(*kind, *number, &body, *start, body.len())));
        }
        for (client, kind, epoch, bytes) in &datagrams {
            flow.datagram(side(*client), 0, &record(*kind, *epoch, bytes));
            flow.datagram(side(*client), 0, bytes);
        }
        flow.closed();
    }
}
