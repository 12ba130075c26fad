//! One message → what it asks and answers.

use std::net::IpAddr;

use smol_str::SmolStr;

use super::{data, name};

const HEADER: usize = 12;
/// Questions that are kept of one message; nobody sends more than one.
const MAX_QUESTIONS: usize = 4;
/// Answers that are kept of one message: more than fit into a datagram of 4 KiB, not those of a zone transfer.
const MAX_ANSWERS: usize = 256;
const OPT: u16 = 41;
const CLASS_IN: u16 = 1;

/// A message can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not DNS at byte {offset}: expected {what}")]
pub struct Malformed {
    /// Where.
    pub offset: usize,
    /// What should be there.
    pub what: &'static str,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Names the exchange; question and answer have the same.
    pub id: u16,
    /// Whether it is an answer.
    pub is_response: bool,
    /// What is to be done: 0 is a query.
    pub opcode: u8,
    /// The server speaks for the zone.
    pub authoritative: bool,
    /// The answer did not fit: the client is to ask again over TCP.
    pub truncated: bool,
    /// The client wants the server to ask others.
    pub recursion_desired: bool,
    /// The server would.
    pub recursion_available: bool,
    /// The server checked the signatures.
    pub authenticated: bool,
    /// The client will check them itself.
    pub checking_disabled: bool,
    /// What became of it, EDNS's upper bits included.
    pub response_code: u16,
    /// What is asked.
    pub questions: Vec<Question>,
    /// What is answered.
    pub answers: Vec<Record>,
    /// How many answers the message says it has.
    pub answer_count: u16,
    /// EDNS, where the sender speaks it.
    pub edns: Option<Edns>,
    /// Whether all of the message was read; else it was cut, or makes no sense from some byte on.
    pub is_whole: bool,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Question {
    /// In lower case, without the last dot.
    pub name: SmolStr,
    /// Record type.
    pub kind: u16,
    /// Class.
    pub class: u16,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose record it is.
    pub name: SmolStr,
    /// Record type.
    pub kind: u16,
    /// How long it may be kept.
    pub ttl_s: u32,
    /// Its data as text.
    pub data: SmolStr,
    /// The address, of an A or AAAA record.
    pub address: Option<IpAddr>,
}

/// What an OPT record says (RFC 6891 §6.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// Longest datagram that the sender takes.
    pub udp_bytes: u16,
    /// EDNS's version.
    pub version: u8,
    /// Signatures are wanted.
    pub dnssec_ok: bool,
}

/// Reads a message, or what was captured of one.
///
/// Records that can't be read end the reading; what was read before stands, and [`Message::is_whole`] says so.
/// # Errors
/// [`Malformed`] where not even the first question can be read: something else is spoken here.
pub fn message(bytes: &[u8]) -> Result<Message, Malformed> {
    let header: &[u8; HEADER] =
        bytes.first_chunk().ok_or(Malformed { offset: bytes.len(), what: "a header of 12 bytes" })?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (flags, codes) = (header[2], header[3]);
    let mut message = Message {
        id: number(0),
        is_response: flags & 0x80 != 0,
        opcode: flags >> 3 & 0x0f,
        authoritative: flags & 0x04 != 0,
        truncated: flags & 0x02 != 0,
        recursion_desired: flags & 0x01 != 0,
        recursion_available: codes & 0x80 != 0,
        authenticated: codes & 0x20 != 0,
        checking_disabled: codes & 0x10 != 0,
        response_code: u16::from(codes & 0x0f),
        answer_count: number(6),
        ..Message::default()
    };
    let mut at = HEADER;
    for index in 0..number(4) {
        match question(bytes, at) {
            Some((question, end)) => {
                if message.questions.len() < MAX_QUESTIONS {
                    message.questions.push(question);
                }
                at = end;
            }
            None if index == 0 => return Err(Malformed { offset: at, what: "a question" }),
            None => return Ok(message),
        }
    }
    let sections = [(number(6), true), (number(8), false), (number(10), false)];
    message.is_whole = records(bytes, &mut at, sections, &mut message).is_some();
    // Nothing is asked: then only the rest can prove that this is DNS.
    if number(4) == 0 && !message.is_whole && message.answers.is_empty() {
        return Err(Malformed { offset: at, what: "a record" });
    }
    Ok(message)
}

fn question(bytes: &[u8], at: usize) -> Option<(Question, usize)> {
    let (name, at) = name::read(bytes, at)?;
    let fields = bytes.get(at..)?.first_chunk::<4>()?;
    let kind = u16::from_be_bytes([fields[0], fields[1]]);
    Some((Question { name, kind, class: u16::from_be_bytes([fields[2], fields[3]]) }, at + 4))
}

/// Reads the three sections of records; `None` where one can't be read.
fn records(bytes: &[u8], at: &mut usize, sections: [(u16, bool); 3], message: &mut Message) -> Option<()> {
    for (count, is_answer) in sections {
        for _ in 0..count {
            let owner = *at;
            let head = name::skip(bytes, owner)?;
            let fields = bytes.get(head..)?.first_chunk::<10>()?;
            let half = |at: usize| u16::from_be_bytes([fields[at], fields[at + 1]]);
            let (kind, class, length) = (half(0), half(2), usize::from(half(8)));
            let ttl = u32::from_be_bytes([fields[4], fields[5], fields[6], fields[7]]);
            let (start, end) = (head + 10, head + 10 + length);
            if end > bytes.len() {
                return None;
            }
            if is_answer && message.answers.len() < MAX_ANSWERS {
                let (name, _) = name::read(bytes, owner)?;
                let (data, address) = data::text(bytes, kind, start, end)?;
                let address = address.filter(|_| class == CLASS_IN);
                message.answers.push(Record { name, kind, ttl_s: ttl, data, address });
            }
            if kind == OPT && !is_answer && message.edns.is_none() {
                let [upper, version, flags, _] = ttl.to_be_bytes();
                message.response_code |= u16::from(upper) << 4;
                message.edns = Some(Edns { udp_bytes: class, version, dnssec_ok: flags & 0x80 != 0 });
            }
            *at = end;
        }
    }
    Some(())
}
