//! Messages put together by hand ([`Wire`]); what real servers send is compared with tshark in
//! `collector/pipeline/tests/dns.rs`.

mod history;
mod messages;
mod pairs;
mod streams;

use super::*;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A message that is being written.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    bytes: Vec<u8>,
}

impl Wire {
    pub(super) fn question(id: u16, name: &str, kind: u16) -> Wire {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(labels(name));
        bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
        Wire { bytes }
    }

    /// The answer to that question, so far without records.
    pub(super) fn answer(id: u16, name: &str, kind: u16, code: u8) -> Wire {
        let mut wire = Wire::question(id, name, kind);
        (wire.bytes[2], wire.bytes[3]) = (0x81, 0x80 | code);
        wire
    }

    /// One more record of the answer; `name` as it stands on the wire.
    pub(super) fn record(mut self, name: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> Wire {
        let count = u16::from_be_bytes([self.bytes[6], self.bytes[7]]) + 1;
        self.bytes[6..8].copy_from_slice(&count.to_be_bytes());
        self.append(name, kind, 1, ttl_s, data)
    }

    /// An OPT record among the additional ones.
    pub(super) fn opt(mut self, udp_bytes: u16, ttl: u32) -> Wire {
        self.bytes[11] += 1;
        self.append(&[0], 41, udp_bytes, ttl, &[])
    }

    fn append(mut self, name: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Wire {
        self.bytes.extend(name);
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(class.to_be_bytes());
        self.bytes.extend(ttl.to_be_bytes());
        self.bytes.extend((data.len() as u16).to_be_bytes());
        self.bytes.extend(data);
        self
    }

    pub(super) fn parse(&self) -> Message {
        message(&self.bytes).unwrap()
    }
}

/// A name on the wire, without compression.
pub(super) fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The question's name, by a pointer.
const ITS_NAME: &[u8] = &[0xc0, 12];
