//! Whole handshakes, message by message: what they agreed on, and how they ended.

use sha2::{Digest, Sha256};

use super::*;

const TLS12: u16 = 0x0303;
const ECDHE: u16 = 0xc02b;

fn answer13(cipher: u16, group: u16) -> Vec<u8> {
    let share = [&group.to_be_bytes()[..], &crate::testing::prefixed16(&[8; 32])].concat();
    let mut bytes =
        record(22, &message(2, &server_hello(TLS12, [4; 32], 6, cipher, &[(43, vec![3, 4]), (51, share)])));
    bytes.extend(record(20, &[1]));
    bytes.extend(record(23, &[0; 700]));
    bytes
}

fn finished13() -> Vec<u8> {
    record(23, &[0; 53])
}

fn certificates(chain: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> =
        chain.iter().flat_map(|der| [&(der.len() as u32).to_be_bytes()[1..], der].concat()).collect();
    message(11, &[&(list.len() as u32).to_be_bytes()[1..], &list].concat())
}

/// A server's first flight in TLS 1.2.
fn fingerprint(certificate: Option<&Certificate>) -> Option<String> {
    certificate.map(|certificate| certificate.sha256.to_string())
}

fn answer12(asks_for_certificate: bool) -> Vec<u8> {
    let mut messages = message(2, &server_hello(TLS12, [4; 32], 7, ECDHE, &[alpn(&["h2"])]));
    messages.extend(certificates(&[b"the server's", b"its issuer's"]));
    messages.extend(message(12, &[3, 0, 29, 32, 1, 2, 3]));
    if asks_for_certificate {
        messages.extend(message(13, &[1, 64, 0, 2, 4, 3, 0, 0]));
    }
    messages.extend(message(14, &[]));
    record(22, &messages)
}

/// What a client answers to that, with or without a certificate.
fn second_flight(certificate: Option<&[&[u8]]>) -> Vec<u8> {
    let mut messages = certificate.map(certificates).unwrap_or_default();
    messages.extend(message(16, &[32; 33]));
    let mut bytes = record(22, &messages);
    bytes.extend(ending());
    bytes
}

/// `ChangeCipherSpec`, and a Finished that nobody else can read.
fn ending() -> Vec<u8> {
    [record(20, &[1]), record(22, &[0xee; 40])].concat()
}

fn sha256(der: &[u8]) -> String {
    hex::encode(Sha256::digest(der))
}

#[test]
fn tls13_tells_all_that_is_in_clear() {
    let handshake = talk([
        (CLIENT, &hello()[..]),
        (SERVER, &answer13(0x1302, 0x11ec)),
        (CLIENT, &finished13()),
        (SERVER, &record(23, &[0; 500])),
    ])
    .unwrap();
    assert_eq!(handshake.version.as_deref(), Some("1.3"));
    assert_eq!(handshake.versions_offered, ["1.3", "1.2"]);
    assert_eq!(handshake.cipher.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
    assert_eq!(handshake.ciphers_offered, Some(5));
    assert_eq!((handshake.group.as_deref(), handshake.post_quantum), (Some("X25519MLKEM768"), Some(true)));
    assert_eq!(handshake.groups_offered, ["X25519MLKEM768", "x25519", "secp256r1"]);
    assert_eq!(handshake.key_shares, ["x25519"]);
    assert_eq!(handshake.sni.as_deref(), Some("shop.example.org"));
    assert_eq!(handshake.alpn_offered, ["h2", "http/1.1"]);
    assert_eq!(handshake.alpn, None, "encrypted");
    assert_eq!((handshake.established, handshake.resumed), (Some(true), Some(false)));
    assert_eq!((handshake.hello_retry, handshake.client_certificate_requested), (Some(false), None));
    assert_eq!((handshake.hello_us, handshake.handshake_us), (Some(1000), Some(2000)));
    assert_eq!(handshake.encryption(), "tls");
}

#[test]
fn a_tls13_resumption_with_early_data_is_known_by_its_extensions() {
    let extensions = [supported_versions(&[0x0304]), (42, vec![]), key_shares(&[29]), (41, vec![0; 40])];
    let hello = record(22, &message(1, &client_hello(TLS12, &[0x1301], &extensions)));
    let taken = [(43, vec![3, 4]), (41, vec![0, 0])];
    let answer = record(22, &message(2, &server_hello(TLS12, [4; 32], 6, 0x1301, &taken)));
    let early = record(23, b"GET / in secret");
    let handshake =
        talk([(CLIENT, &hello[..]), (CLIENT, &early), (SERVER, &answer), (CLIENT, &finished13())]).unwrap();
    assert_eq!((handshake.psk_offered, handshake.early_data), (Some(true), Some(true)));
    assert_eq!((handshake.resumed, handshake.established), (Some(true), Some(true)));
    assert_eq!(handshake.client_certificate_requested, None, "the first record may be early data");
    assert_eq!(handshake.handshake_us, Some(3000), "early data is no end of a handshake");
}

/// The second hello differs; the fingerprint is the first one's, which is what the client is by itself.
#[test]
fn a_hello_retry_request_is_told_and_the_first_hello_counts() {
    let retry: [u8; 32] = Sha256::digest(b"HelloRetryRequest").into();
    let asks = server_hello(TLS12, retry, 6, 0x1301, &[(43, vec![3, 4]), (51, vec![0, 24])]);
    let second =
        message(1, &client_hello(TLS12, &[0x1301], &[key_shares(&[24]), supported_versions(&[0x0304])]));
    let handshake = talk([
        (CLIENT, &hello()[..]),
        (SERVER, &record(22, &message(2, &asks))),
        (CLIENT, &record(22, &second)),
        (SERVER, &answer13(0x1301, 24)),
        (CLIENT, &finished13()),
    ])
    .unwrap();
    let alone = talk([(CLIENT, &hello()[..])]).unwrap();
    assert_eq!((handshake.hello_retry, handshake.established), (Some(true), Some(true)));
    assert_eq!((handshake.ja3, handshake.ja4), (alone.ja3, alone.ja4));
    assert_eq!(handshake.group.as_deref(), Some("secp384r1"));
    assert_eq!(handshake.sni.as_deref(), Some("shop.example.org"));
}

#[test]
fn tls12_shows_certificates_and_group() {
    let handshake = talk([
        (CLIENT, &hello()[..]),
        (SERVER, &answer12(false)),
        (CLIENT, &second_flight(None)),
        (SERVER, &ending()),
    ])
    .unwrap();
    assert_eq!((handshake.version.as_deref(), handshake.alpn.as_deref()), (Some("1.2"), Some("h2")));
    assert_eq!((handshake.group.as_deref(), handshake.post_quantum), (Some("x25519"), Some(false)));
    assert_eq!(fingerprint(handshake.server_certificate.as_deref()), Some(sha256(b"the server's")));
    assert_eq!((handshake.resumed, handshake.established), (Some(false), Some(true)));
    assert_eq!(
        (handshake.client_certificate_requested, handshake.client_certificate.is_some()),
        (Some(false), false)
    );
    assert_eq!(handshake.handshake_us, Some(3000), "the server's Finished is the end");
}

#[test]
fn mutual_tls_is_a_client_that_shows_a_certificate() {
    let asked = |certificate: Option<&[&[u8]]>| {
        talk([
            (CLIENT, &hello()[..]),
            (SERVER, &answer12(true)),
            (CLIENT, &second_flight(certificate)),
            (SERVER, &ending()),
        ])
        .unwrap()
    };
    let shown = asked(Some(&[b"the client's"]));
    assert_eq!(shown.client_certificate_requested, Some(true));
    assert_eq!((shown.encryption(), shown.client_certificate.is_some()), ("mtls", true));
    assert_eq!(fingerprint(shown.client_certificate.as_deref()), Some(sha256(b"the client's")));
    // Asked, it may answer with an empty list.
    let declined = asked(Some(&[]));
    assert_eq!((declined.client_certificate_requested, declined.encryption()), (Some(true), "tls"));
    assert_eq!((declined.client_certificate_sent, declined.client_certificate), (Some(false), None));
    assert_eq!(
        (shown.client_certificate_sent, shown.client_certificate_known_by),
        (Some(true), Some(KnownBy::Message))
    );
}

/// The lengths are OpenSSL's and `BoringSSL`'s own: messages in a record each, or together in one.
#[test]
fn tls13_shows_a_client_certificate_by_the_length_of_records() {
    let said = |cipher, length| {
        let handshake = talk([
            (CLIENT, &hello()[..]),
            (SERVER, &answer13(cipher, 29)),
            (CLIENT, &record(23, &vec![0; length])),
        ])
        .unwrap();
        assert_eq!(handshake.established, Some(true));
        let known = handshake.client_certificate_known_by;
        assert_eq!(known.is_some(), handshake.client_certificate_requested.is_some());
        assert!(known.is_none_or(|by| by == KnownBy::RecordLength));
        assert_eq!(handshake.encryption() == "mtls", handshake.client_certificate_sent == Some(true));
        (handshake.client_certificate_requested, handshake.client_certificate_sent)
    };
    let (no, declined, shown) =
        ((Some(false), Some(false)), (Some(true), Some(false)), (Some(true), Some(true)));
    for (cipher, length, expected) in [
        (0x1301, 53, no),
        (0x1302, 69, no),
        (0x1303, 53, no),
        (0x1305, 45, no),
        (0x1301, 25, declined),
        (0x1302, 25, declined),
        (0x1301, 61, declined),
        (0x1302, 77, declined),
        (0x1301, 408, shown),
        (0x1302, 2_000, shown),
        (0x1301, 69, (None, None)),
        (0x1302, 53, (None, None)),
        (0x1301, 120, (None, None)),
        (0x1301, 3, (None, None)),
        (0x00c6, 53, (None, None)),
    ] {
        assert_eq!(said(cipher, length), expected, "{cipher:x} {length}");
    }
}

/// By the session's id that the server repeats, or by a switch without a certificate (a ticket).
#[test]
fn a_tls12_resumption_is_told_from_a_full_handshake() {
    for session in [6, 99] {
        let mut answer = record(22, &message(2, &server_hello(TLS12, [4; 32], session, ECDHE, &[])));
        answer.extend(ending());
        let handshake = talk([(CLIENT, &hello()[..]), (SERVER, &answer), (CLIENT, &ending())]).unwrap();
        assert_eq!((handshake.resumed, handshake.established), (Some(true), Some(true)), "session {session}");
    }
}

#[test]
fn an_alert_ends_a_handshake_and_names_the_reason() {
    let alert = |level, description| record(21, &[level, description]);
    let refused = talk([(CLIENT, &hello()[..]), (SERVER, &alert(2, 40))]).unwrap();
    assert_eq!((refused.established, refused.alert.as_deref()), (Some(false), Some("handshake_failure")));
    assert_eq!(refused.failure_reason.as_deref(), Some("handshake_failure"));
    assert_eq!(refused.version, None, "nothing was agreed on");

    let unknown =
        talk([(CLIENT, &hello()[..]), (SERVER, &answer12(false)), (CLIENT, &alert(2, 48))]).unwrap();
    assert_eq!((unknown.established, unknown.failure_reason.as_deref()), (Some(false), Some("unknown_ca")));

    let gone = talk([(CLIENT, &hello()[..]), (SERVER, &answer12(false)), (CLIENT, &alert(1, 0))]).unwrap();
    assert_eq!((gone.failure_reason.as_deref(), gone.alert), (Some("closed_by_client"), None));
}

/// Servers complain of a name they don't know and go on all the same.
#[test]
fn a_warning_ends_nothing() {
    let handshake = talk([
        (CLIENT, &hello()[..]),
        (SERVER, &record(21, &[1, 112])),
        (SERVER, &answer12(false)),
        (CLIENT, &second_flight(None)),
        (SERVER, &ending()),
    ])
    .unwrap();
    assert_eq!((handshake.established, handshake.alert.as_deref()), (Some(true), Some("unrecognized_name")));
    assert_eq!(handshake.failure_reason, None);
}

/// A client that doesn't like a certificate in TLS 1.3 says so in secret; the record's length gives it away.
#[test]
fn an_encrypted_alert_is_a_failure_all_the_same() {
    let tls13 =
        talk([(CLIENT, &hello()[..]), (SERVER, &answer13(0x1301, 29)), (CLIENT, &record(23, &[0; 19]))])
            .unwrap();
    assert_eq!((tls13.established, tls13.failure_reason.as_deref()), (Some(false), Some("encrypted_alert")));
    let tls12 = talk([
        (CLIENT, &hello()[..]),
        (SERVER, &answer12(false)),
        (CLIENT, &second_flight(None)),
        (SERVER, &[record(20, &[1]), record(21, &[0xee; 26])].concat()),
    ])
    .unwrap();
    assert_eq!((tls12.established, tls12.failure_reason.as_deref()), (Some(false), Some("encrypted_alert")));
}

#[test]
fn a_connection_that_ends_leaves_its_handshake_with_a_reason() {
    for (by, reset, reason) in [
        (Some(CLIENT), false, Some("closed_by_client")),
        (Some(SERVER), false, Some("closed_by_server")),
        (Some(SERVER), true, Some("reset")),
        (None, false, None),
    ] {
        let mut conversation = Conversation::new();
        conversation.push(CLIENT, 0, &hello());
        conversation.closed(by, reset, 5000);
        let handshake = conversation.handshake().unwrap();
        assert_eq!(handshake.failure_reason.as_deref(), reason);
        assert_eq!(handshake.established, reason.map(|_| false));
    }
}

#[test]
fn tls_may_begin_after_text_and_text_is_not_tls() {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.push(SERVER, 0, b"220 mail.example.org ESMTP\r\n"), Progress::NotTls);
    assert_eq!(conversation.push(CLIENT, 0, b"STARTTLS\r\n"), Progress::NotTls);
    assert_eq!(conversation.push(CLIENT, 0, b"\x16"), Progress::NeedMore, "it may be a beginning");
    assert_eq!(conversation.push(CLIENT, 0, b"not one"), Progress::NotTls);
    assert_eq!(conversation.handshake(), None);
    assert_eq!(conversation.push(CLIENT, 7, &hello()), Progress::NeedMore);
    assert_eq!(conversation.handshake().unwrap().time_ns, 7);
}

/// Old clients ask in SSL 2.0's form; there is no fingerprint of that.
#[test]
fn a_hello_in_sslv2s_form_is_understood() {
    let content = [&[1, 3, 1, 0, 6, 0, 0, 0, 16][..], &[0, 0, 47, 1, 0, 128], &[7; 16]].concat();
    let bytes = [&[0x80, content.len() as u8][..], &content].concat();
    let server = record(22, &message(2, &server_hello(0x0301, [4; 32], 6, 47, &[])));
    let handshake = talk([(CLIENT, &bytes[..]), (SERVER, &server)]).unwrap();
    assert_eq!((handshake.versions_offered[0].as_str(), handshake.ciphers_offered), ("1.0", Some(1)));
    assert_eq!((handshake.version.as_deref(), handshake.ja3, handshake.ja4), (Some("1.0"), None, None));
}

#[test]
fn what_contradicts_itself_ends_the_reading_and_is_told() {
    let mut conversation = Conversation::new();
    conversation.push(CLIENT, 0, &hello());
    let before = conversation.handshake().cloned();
    assert_eq!(conversation.push(CLIENT, 0, b"\x63\x03\x03\0\0"), Progress::Done);
    let malformed = conversation.malformed().unwrap();
    assert_eq!((malformed.offset, malformed.what), (hello().len(), "a record type"));
    assert_eq!(conversation.handshake(), before.as_ref(), "what was read before stays true");
    assert_eq!(conversation.push(SERVER, 0, &answer13(0x1301, 29)), Progress::Done);
}

/// Else it would depend on how the bytes were cut.
#[test]
fn what_follows_the_end_in_the_same_segment_is_not_read() {
    let bytes = [answer12(false), record(21, &[0; 20]), hello()].concat();
    for segment in [1, 7, bytes.len()] {
        let mut conversation = Conversation::new();
        for part in bytes.chunks(segment) {
            conversation.push(SERVER, 0, part);
        }
        let handshake = conversation.handshake().unwrap();
        assert_eq!(handshake.failure_reason.as_deref(), Some("encrypted_alert"), "cut at {segment}");
        assert!(handshake.ciphers_offered.is_none(), "cut at {segment}");
    }
}

#[test]
fn a_certificate_that_a_library_read_is_taken_only_where_it_can_be_this_handshake_s() {
    let der = include_bytes!("fixtures/shop.der");
    let begun = |client_record: usize| {
        let mut conversation = Conversation::new();
        conversation.push(CLIENT, 0, &hello());
        conversation.push(SERVER, 0, &answer13(0x1301, 29));
        if client_record > 0 {
            conversation.push(CLIENT, 0, &record(23, &vec![0; client_record]));
        }
        conversation
    };
    let mut of_server = begun(0);
    assert!(!of_server.read_by_library(SERVER, der.len(), der), "nothing came before it");
    assert!(of_server.read_by_library(SERVER, der.len() + 100, der));
    assert!(of_server.read_by_library(SERVER, 9_000, b"its issuer's"), "known, and left alone");
    let handshake = of_server.handshake().unwrap();
    assert_eq!(fingerprint(handshake.server_certificate.as_deref()), Some(sha256(der)));
    let mut row = weir_model::TlsHandshakeRow::default();
    handshake.fill(&mut row);
    assert_eq!(row.certificate_source.as_deref(), Some("library"));

    for (client_record, fits) in [(0, false), (53, false), (der.len(), false), (der.len() + 30, true)] {
        let mut of_client = begun(client_record);
        assert_eq!(of_client.read_by_library(CLIENT, 0, der), fits, "{client_record}");
        let handshake = of_client.handshake().unwrap();
        assert_eq!(handshake.client_certificate.is_some(), fits);
        assert_eq!(handshake.hides_client_certificate(), client_record > 160 && !fits);
    }

    // The wire had it, or there is none.
    let mut clear = Conversation::new();
    clear.push(CLIENT, 0, &hello());
    clear.push(SERVER, 0, &answer12(false));
    assert!(clear.read_by_library(SERVER, 9_000, der));
    let handshake = clear.handshake().unwrap();
    assert_eq!(fingerprint(handshake.server_certificate.as_deref()), Some(sha256(b"the server's")));
    handshake.fill(&mut row);
    assert_eq!(row.certificate_source.as_deref(), Some("wire"));
    assert!(!Conversation::new().read_by_library(SERVER, 9_000, der), "no handshake");
}
