//! Any datagrams of a UDP flow: no panic, and no handshake is told twice. The frames of Initial packets are the fuzzer's
//! too: they are protected here, since no fuzzer hits a tag by chance.
//!
//! The input: a byte of how to send it, a length in two bytes, the datagram or the frames, the next.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use ring::hkdf;
use weir_dissect::datagrams::Datagrams;
use weir_dissect::tls::Side;
use weir_model::TlsHandshakeRow;

const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb,
    0x7f, 0x0a,
];
const CID: [u8; 8] = *b"weirweir";

struct Iv;

impl hkdf::KeyType for Iv {
    fn len(&self) -> usize {
        12
    }
}

/// HKDF-Expand-Label, as `quic/keys.rs` has it.
fn expand<L: hkdf::KeyType, T>(
    secret: &hkdf::Prk,
    label: &str,
    kind: L,
    take: impl FnOnce(hkdf::Okm<'_, L>) -> T,
) -> T {
    let head = [0, kind.len() as u8, 6 + label.len() as u8];
    let info = [&head[..], b"tls13 ", label.as_bytes(), &[0]];
    take(secret.expand(&info, kind).unwrap())
}

/// An Initial packet of version 1 with these frames.
fn initial(side: Side, number: u8, frames: &[u8]) -> Vec<u8> {
    let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &SALT).extract(&CID);
    let label = if side == Side::Client { "client in" } else { "server in" };
    let secret: hkdf::Prk = expand(&initial, label, hkdf::HKDF_SHA256, |okm| okm.into());
    let key = LessSafeKey::new(expand(&secret, "quic key", &AES_128_GCM, |okm| UnboundKey::from(okm)));
    let protection: quic::HeaderProtectionKey = expand(&secret, "quic hp", &quic::AES_128, |okm| okm.into());
    let mut nonce = expand(&secret, "quic iv", Iv, |okm| {
        let mut iv = [0; 12];
        okm.fill(&mut iv).unwrap();
        iv
    });
    nonce[11] ^= number;
    let mut content = frames.to_vec();
    content.resize(content.len().max(4), 0);
    let mut packet = [&[0xc0, 0, 0, 0, 1, 8][..], &CID, &[0, 0]].concat();
    packet.extend((0x8000_0000 | (1 + content.len() + 16) as u32).to_be_bytes());
    packet.push(number);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&packet), &mut content)
        .unwrap();
    let number_at = packet.len() - 1;
    packet.extend(content);
    packet.extend(tag.as_ref());
    let mask = protection.new_mask(&packet[number_at + 4..number_at + 20]).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    packet[number_at] ^= mask[1];
    packet
}

fuzz_target!(|input: &[u8]| {
    let mut flow = Datagrams::default();
    let mut rest = input;
    let (mut time_ns, mut number) = (0, 0_u8);
    while let Some(([how, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (bytes, after) = after.split_at(length.min(after.len()));
        let side = if how & 1 == 0 { Side::Client } else { Side::Server };
        let datagram = if how & 2 == 0 { bytes.to_vec() } else { initial(side, number & 0x7f, bytes) };
        (time_ns, number) = (time_ns + 1000, number.wrapping_add(1));
        if let Some(handshake) = flow.datagram(side, time_ns, &datagram) {
            handshake.fill(&mut TlsHandshakeRow::default());
            assert!(flow.handshake().is_none(), "told, and still there");
        }
        rest = after;
    }
    if let Some(handshake) = flow.closed() {
        handshake.fill(&mut TlsHandshakeRow::default());
    }
    assert!(flow.closed().is_none());
});
