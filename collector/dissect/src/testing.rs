//! Packets and TLS messages put together by hand, and the captures of `collector/pipeline/tests/fixtures` as raw
//! material: what this crate's tests are made from.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

pub(crate) fn tcp(ports: (u16, u16), sequence: u32, acknowledged: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledged.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + content.len() as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(content);
    bytes
}

pub(crate) fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(content);
    bytes
}

pub(crate) fn ethernet(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A TLS record.
pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A TLS handshake message, header included.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.extend(body);
    bytes
}

/// The body of a ClientHello.
pub(crate) fn client_hello(version: u16, ciphers: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([5; 32]);
    body.push(32);
    body.extend([6; 32]);
    body.extend(list16(ciphers));
    body.extend([1, 0]);
    push_extensions(&mut body, extensions);
    body
}

/// The body of a ServerHello with a random and a session id of one repeated byte each.
pub(crate) fn server_hello(
    version: u16,
    random: [u8; 32],
    session: u8,
    cipher: u16,
    extensions: &[(u16, Vec<u8>)],
) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend(random);
    body.push(32);
    body.extend([session; 32]);
    body.extend(cipher.to_be_bytes());
    body.push(0);
    push_extensions(&mut body, extensions);
    body
}

fn push_extensions(body: &mut Vec<u8>, extensions: &[(u16, Vec<u8>)]) {
    if extensions.is_empty() {
        return;
    }
    let mut block = Vec::new();
    for (number, content) in extensions {
        block.extend(number.to_be_bytes());
        block.extend(prefixed16(content));
    }
    body.extend(prefixed16(&block));
}

/// `content` behind its length in two bytes.
pub(crate) fn prefixed16(content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u16).to_be_bytes().to_vec();
    bytes.extend(content);
    bytes
}

/// Numbers of two bytes each, behind their length.
pub(crate) fn list16(values: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
    prefixed16(&bytes)
}

pub(crate) fn sni(name: &str) -> (u16, Vec<u8>) {
    let mut entry = vec![0];
    entry.extend(prefixed16(name.as_bytes()));
    (0, prefixed16(&entry))
}

pub(crate) fn alpn(names: &[&str]) -> (u16, Vec<u8>) {
    let mut list = Vec::new();
    for name in names {
        list.push(name.len() as u8);
        list.extend(name.as_bytes());
    }
    (16, prefixed16(&list))
}

pub(crate) fn supported_versions(versions: &[u16]) -> (u16, Vec<u8>) {
    let mut content = vec![versions.len() as u8 * 2];
    content.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
    (43, content)
}

/// A client's key shares of 32 bytes each.
pub(crate) fn key_shares(groups: &[u16]) -> (u16, Vec<u8>) {
    let mut list = Vec::new();
    for group in groups {
        list.extend(group.to_be_bytes());
        list.extend(prefixed16(&[9; 32]));
    }
    (51, prefixed16(&list))
}

/// The frames of `tls.pcap`: openssl talking to itself over Ethernet, all kinds of handshakes.
pub(crate) fn tls_frames() -> Vec<&'static [u8]> {
    frames(include_bytes!("../../pipeline/tests/fixtures/tls.pcap"))
}

/// The frames of a little-endian pcap.
fn frames(file: &'static [u8]) -> Vec<&'static [u8]> {
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(&after[..length]);
        rest = &after[length..];
    }
    frames
}
