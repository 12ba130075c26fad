//! One message: what it says, whole, cut and mutilated.

use proptest::prelude::*;

use super::*;

fn data(message: &Message) -> Vec<&str> {
    message.answers.iter().map(|record| record.data.as_str()).collect()
}

#[test]
fn a_chain_of_names_ends_in_addresses() {
    let message = Wire::answer(7, "WWW.Example.org", A, 0)
        .record(ITS_NAME, CNAME, 300, &labels("edge.example.net"))
        .record(&labels("edge.example.net"), A, 60, &[192, 0, 2, 1])
        .record(
            &labels("edge.example.net"),
            AAAA,
            60,
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        )
        .opt(1232, 0x8000)
        .parse();
    assert!(message.is_whole && message.is_response && message.recursion_desired);
    assert_eq!(message.questions[0].name, "www.example.org");
    assert_eq!(data(&message), ["edge.example.net", "192.0.2.1", "2001:db8::1"]);
    assert_eq!(message.answers[0].name, "www.example.org");
    assert_eq!(message.edns, Some(Edns { udp_bytes: 1232, version: 0, dnssec_ok: true }));
}

#[test]
fn edns_has_the_upper_bits_of_the_code() {
    let message = Wire::answer(7, "example.org", A, 0).opt(512, 0x0100_0000).parse();
    assert_eq!(response_code_name(message.response_code), "BADVERS");
}

#[test]
fn each_kind_of_data_reads_as_in_a_zone_file() {
    let mail = [&[0, 10][..], &labels("mx.example.org")].concat();
    let service = [&[0, 1, 0, 2, 0x13, 0xc4][..], &labels("sip.example.org")].concat();
    let https =
        [&[0, 1, 0][..], &[0, 1, 0, 6, 2, b'h', b'2', 2, b'h', b'3'], &[0, 4, 0, 4, 192, 0, 2, 9]].concat();
    for (kind, data, expected) in [
        (2, labels("ns.example.org"), "ns.example.org"),
        (15, mail, "10 mx.example.org"),
        (16, [&[5][..], b"v=\"x\"", &[2], b"\xff\\"].concat(), r#""v=\"x\"" "\255\\""#),
        (33, service, "1 2 5060 sip.example.org"),
        (65, https, "1 . alpn=h2,h3 ipv4hint=192.0.2.9"),
        (257, [&[0, 5][..], b"issue", b"ca.example"].concat(), "0 issue \"ca.example\""),
        (
            6,
            [
                labels("ns.example.org"),
                labels("root.example.org"),
                vec![0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4],
            ]
            .concat(),
            "ns.example.org root.example.org 7 1 2 3 4",
        ),
        (65_280, vec![1, 0xab], "\\# 2 01ab"),
        (16, vec![], ""),
    ] {
        let message = Wire::answer(1, "example.org", kind, 0).record(ITS_NAME, kind, 5, &data).parse();
        assert!(message.is_whole, "{expected}");
        assert_eq!(super::messages::data(&message), [expected]);
    }
}

#[test]
fn names_are_written_so_that_they_can_be_told_apart() {
    let message = |name: &[u8]| {
        let header = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 1, 0, 1]].concat();
        message(&header).map(|message| message.questions[0].name.to_string()).ok()
    };
    assert_eq!(message(&[0]).as_deref(), Some("."));
    assert_eq!(message(&[3, b'a', b'.', b'B', 0]).as_deref(), Some(r"a\.b"));
    assert_eq!(message(&[3, 0, b'\\', 0xc3, 0]).as_deref(), Some(r"\000\\\195"));
    let longest = [vec![63], vec![b'x'; 63]].concat().repeat(3);
    let fits = [&longest[..], &[61], &[b'y'; 61], &[0]].concat();
    assert_eq!(fits.len(), 255);
    assert_eq!(message(&fits).map(|name| name.len()), Some(253));
    let too_long = [&longest[..], &[62], &[b'y'; 62], &[0]].concat();
    assert_eq!(message(&too_long), None);
}

/// A name that points at itself, or ahead, or in a circle, is no name; its message ends there.
#[test]
fn compression_can_t_loop() {
    let at = Wire::answer(1, "example.org", A, 0).bytes.len() as u8;
    for pointer in [[0xc0, at], [0xc0, at + 2], [0xff, 0xff]] {
        let wire = Wire::answer(1, "example.org", A, 0).record(&pointer, A, 5, &[1, 2, 3, 4]);
        let message = wire.parse();
        assert!(!message.is_whole && message.answers.is_empty(), "{pointer:?}");
    }
    let circle = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0xc0, 12][..], &[0, 1, 0, 1]].concat();
    assert!(message(&circle).is_err());
}

#[test]
fn what_is_no_dns_is_none() {
    assert!(message(b"").is_err());
    assert!(message(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").is_err());
    assert!(message(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7, 7, 7, 7]).is_err());
}

#[test]
fn a_zone_transfer_fills_no_memory() {
    let mut wire = Wire::answer(1, "example.org", 252, 0);
    for _ in 0..1000 {
        wire = wire.record(ITS_NAME, A, 5, &[1, 2, 3, 4]);
    }
    let message = wire.parse();
    assert_eq!((message.answers.len(), message.answer_count), (256, 1000));
    assert!(message.is_whole);
}

fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let record = (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40));
    ("[a-zA-Z0-9.-]{1,60}", any::<u16>(), proptest::collection::vec(record, 0..5)).prop_map(
        |(name, kind, records)| {
            let wire = Wire::answer(1, &name, kind, 0);
            records
                .iter()
                .fold(wire, |wire, (kind, data)| wire.record(ITS_NAME, kind % 70, 5, data))
                .opt(1, 1)
                .bytes
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = message(&bytes) {
            prop_assert!(message.answers.len() <= usize::from(message.answer_count));
        }
    }

    /// Names and texts are bounded whatever pointers do.
    #[test]
    fn a_mutilated_message_says_no_more_than_it_can(
        wire in any_wire(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = wire;
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = message(&bytes) {
            for record in &message.answers {
                // An escaped byte takes four characters.
                prop_assert!(record.name.len() <= 4 * 255 && record.data.len() <= 4 * 1024);
            }
        }
    }

    /// What is read of a cut message is what the whole one begins with.
    #[test]
    fn a_cut_message_says_the_beginning(wire in any_wire(), cut in any::<prop::sample::Index>()) {
        let Ok(whole) = message(&wire) else { return Ok(()) };
        let part = &wire[..cut.index(wire.len() + 1)];
        if let Ok(part) = message(part) {
            prop_assert_eq!(&part.questions, &whole.questions);
            prop_assert_eq!(&part.answers[..], &whole.answers[..part.answers.len()]);
        }
    }
}
