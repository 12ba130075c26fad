//! Any bytes of both directions: no panic, and how a direction was cut into segments changes nothing of what its hello
//! says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_dissect::tls::{Conversation, Progress, Side};
use weir_model::{SmolStr, TlsHandshakeRow};

/// SNI, JA3, JA3S and JA4 of what both directions say, each in segments of that length.
fn hellos(directions: &[(Side, &[u8])], segment: usize) -> [Option<SmolStr>; 4] {
    let mut conversation = Conversation::new();
    for (side, bytes) in directions {
        for part in bytes.chunks(segment) {
            if conversation.push(*side, 0, part) == Progress::Done {
                break;
            }
        }
    }
    conversation.closed(Some(Side::Client), false, 1);
    let mut row = TlsHandshakeRow::default();
    if let Some(handshake) = conversation.handshake() {
        handshake.fill(&mut row);
    }
    [row.tls_sni, row.tls_ja3, row.tls_ja3s, row.tls_ja4]
}

fuzz_target!(|input: &[u8]| {
    // Two bytes say where the client's bytes end.
    let Some((head, bytes)) = input.split_first_chunk::<2>() else { return };
    let (client, server) = bytes.split_at(usize::from(u16::from_be_bytes(*head)).min(bytes.len()));
    let _ = hellos(&[(Side::Client, client), (Side::Server, server)], usize::MAX);
    let _ = hellos(&[(Side::Client, client), (Side::Server, server)], 7);
    for direction in [(Side::Client, client), (Side::Server, server)] {
        let whole = hellos(&[direction], usize::MAX);
        // What doesn't begin with TLS may do so with any later segment (STARTTLS): then the cuts do matter.
        if whole.iter().any(Option::is_some) {
            assert_eq!(hellos(&[direction], 7), whole, "{:?}", direction.0);
        }
    }
});
