//! DTLS (RFC 6347, RFC 9147): records in datagrams → handshake messages, whose fragments come in any order, or twice.
//!
//! **Invariant**: at most [`MAX_WAITING`] messages per direction wait for others or for their own rest, each bounded by
//! `assemble.rs`. Never here: what a message means (`tls/conversation.rs`).

#[cfg(test)]
pub(crate) mod tests;

use crate::assemble::Assembly;
use crate::tls::{Carrier, Conversation, Event, Handshake, Progress, Side};

const RECORD_HEADER: usize = 13;
const FRAGMENT_HEADER: usize = 12;
/// Messages that wait at a time; a server's whole flight has six.
const MAX_WAITING: usize = 12;
/// Longest message, as long as what `assemble.rs` holds.
const MAX_MESSAGE: usize = 1 << 16;

mod kind {
    pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(super) const ALERT: u8 = 21;
    pub(super) const HANDSHAKE: u8 = 22;
    pub(super) const APPLICATION_DATA: u8 = 23;
    pub(super) const CONNECTION_ID: u8 = 25;
}

mod message {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
}

/// One DTLS connection's handshake.
#[derive(Debug)]
pub(crate) struct Dtls {
    conversation: Conversation,
    halves: [Half; 2],
    client_random: Option<[u8; 32]>,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Number of the message whose turn it is, once a hello told where they begin.
    next: Option<u16>,
    waiting: Vec<Message>,
    said_hello: bool,
    encrypted: bool,
}

#[derive(Debug)]
struct Message {
    number: u16,
    kind: u8,
    length: usize,
    begun_ns: i64,
    assembly: Assembly,
}

/// A piece of a handshake message.
#[derive(Clone, Copy, Debug)]
struct Fragment<'a> {
    kind: u8,
    length: usize,
    number: u16,
    offset: usize,
    bytes: &'a [u8],
}

/// Whether a datagram begins with a hello in DTLS's wrapping.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    let Some((header, rest)) = record(bytes) else { return false };
    let hello =
        |kind| matches!(kind, message::CLIENT_HELLO | message::SERVER_HELLO | message::HELLO_VERIFY_REQUEST);
    header.kind == kind::HANDSHAKE
        && header.epoch == 0
        && fragment(&mut &rest[..header.length]).is_some_and(|fragment| hello(fragment.kind))
}

/// The random of a ClientHello that a datagram begins with: what tells one handshake from the next.
pub(crate) fn client_random(bytes: &[u8]) -> Option<[u8; 32]> {
    let (header, rest) = record(bytes).filter(|(header, _)| header.kind == kind::HANDSHAKE)?;
    let fragment = fragment(&mut &rest[..header.length]).filter(|_| header.epoch == 0)?;
    (fragment.kind == message::CLIENT_HELLO && fragment.offset == 0)
        .then(|| fragment.bytes.get(2..34)?.try_into().ok())?
}

impl Dtls {
    pub(crate) fn new() -> Dtls {
        Dtls {
            conversation: Conversation::over(Carrier::Dtls),
            halves: Default::default(),
            client_random: None,
        }
    }

    /// Takes a datagram that `side` sent.
    pub(crate) fn datagram(&mut self, side: Side, time_ns: i64, bytes: &[u8]) -> Progress {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_over() {
            if rest[0] >> 5 == 1 {
                // The short header of DTLS 1.3, where all is encrypted; what follows in the datagram is of its kind.
                self.conversation.hear(side, time_ns, time_ns, Event::ApplicationData { length: rest.len() });
                break;
            }
            let Some((header, after)) = record(rest) else { break };
            let (content, after) = after.split_at(header.length);
            self.record(side, time_ns, header, content);
            if header.kind == kind::CONNECTION_ID {
                break;
            }
            rest = after;
        }
        if self.is_over() { Progress::Done } else { Progress::NeedMore }
    }

    /// What is known so far.
    pub(crate) fn handshake(&self) -> Option<&Handshake> {
        self.conversation.handshake()
    }

    /// The random of the client's hello.
    pub(crate) fn client_random(&self) -> Option<[u8; 32]> {
        self.client_random
    }

    /// Nothing more comes: what waited for something that was lost is read all the same.
    pub(crate) fn closed(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.read_on(side);
        }
    }

    fn is_over(&self) -> bool {
        self.handshake().is_some_and(Handshake::is_over)
    }

    fn record(&mut self, side: Side, time_ns: i64, header: Record, content: &[u8]) {
        let encrypted = header.epoch > 0 || header.kind == kind::CONNECTION_ID;
        if header.kind == kind::HANDSHAKE && !encrypted {
            let mut rest = content;
            while let Some(fragment) = fragment(&mut rest) {
                self.fragment(side, time_ns, fragment);
            }
            return;
        }
        // What is encrypted comes after the change, also where that was lost.
        if (encrypted || header.kind == kind::CHANGE_CIPHER_SPEC) && !self.halves[side.index()].encrypted {
            self.read_on(side);
            self.halves[side.index()].encrypted = true;
            self.conversation.hear(side, time_ns, time_ns, Event::ChangeCipherSpec);
        }
        let event = match (header.kind, encrypted) {
            (kind::HANDSHAKE | kind::CONNECTION_ID, _) => Event::EncryptedHandshake,
            (kind::ALERT, true) => Event::EncryptedAlert,
            (kind::ALERT, false) if content.len() == 2 => Event::Alert { description: content[1] },
            (kind::APPLICATION_DATA, true) => Event::ApplicationData { length: content.len() },
            _ => return,
        };
        self.conversation.hear(side, time_ns, time_ns, event);
    }

    fn fragment(&mut self, side: Side, time_ns: i64, fragment: Fragment<'_>) {
        let half = &mut self.halves[side.index()];
        if matches!(
            fragment.kind,
            message::CLIENT_HELLO | message::SERVER_HELLO | message::HELLO_VERIFY_REQUEST
        ) {
            let next = *half.next.get_or_insert(fragment.number);
            // A server that keeps no state counts from its hello and not from its request for a cookie.
            if fragment.kind == message::SERVER_HELLO && !half.said_hello && fragment.number < next {
                half.next = Some(fragment.number);
            }
        }
        if half.next.is_some_and(|next| fragment.number < next) {
            return;
        }
        let place = half.waiting.partition_point(|message| message.number < fragment.number);
        if half.waiting.get(place).is_none_or(|message| message.number != fragment.number) {
            if half.waiting.len() == MAX_WAITING {
                return;
            }
            let Fragment { kind, length, number, .. } = fragment;
            half.waiting.insert(
                place,
                Message { number, kind, length, begun_ns: time_ns, assembly: Assembly::default() },
            );
        }
        let message = &mut half.waiting[place];
        if message.kind == fragment.kind && message.length == fragment.length {
            message.assembly.insert(fragment.offset, fragment.bytes);
        }
        while let Some(next) = self.halves[side.index()].next
            && let Some(first) = self.halves[side.index()].waiting.first()
            && first.number == next
            && first.is_whole()
        {
            self.read(side, time_ns);
        }
    }

    /// Reads the first of the messages that wait.
    fn read(&mut self, side: Side, time_ns: i64) {
        let half = &mut self.halves[side.index()];
        let Message { number, kind, length, begun_ns, assembly } = half.waiting.remove(0);
        half.next = Some(number.saturating_add(1));
        half.said_hello |= kind == message::SERVER_HELLO;
        let body = assembly.prefix()[..length].to_vec();
        if kind == message::CLIENT_HELLO && self.client_random.is_none() {
            self.client_random = body.get(2..34).and_then(|random| random.try_into().ok());
        }
        self.conversation.hear(side, begun_ns, time_ns, Event::Message { kind, body });
    }

    /// Reads all that is whole, holes or not.
    fn read_on(&mut self, side: Side) {
        self.halves[side.index()].waiting.retain(Message::is_whole);
        while let Some(first) = self.halves[side.index()].waiting.first() {
            self.read(side, first.begun_ns);
        }
    }
}

impl Message {
    fn is_whole(&self) -> bool {
        self.assembly.prefix().len() >= self.length
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    kind: u8,
    epoch: u16,
    length: usize,
}

/// The record that `bytes` begin with, and what follows its header: at least its content.
fn record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let version = u16::from_be_bytes([header[1], header[2]]);
    if !(20..=26).contains(&header[0]) || !matches!(version, 0xfefc..=0xfeff | 0x0100) {
        return None;
    }
    let epoch = u16::from_be_bytes([header[3], header[4]]);
    let mut length = usize::from(u16::from_be_bytes([header[11], header[12]]));
    if header[0] == kind::CONNECTION_ID {
        // A connection id of a length that only the ends know pushes the length further back.
        length = rest.len();
    }
    (length <= rest.len()).then_some((Record { kind: header[0], epoch, length }, rest))
}

/// The fragment that `rest` begins with, taken off it.
fn fragment<'a>(rest: &mut &'a [u8]) -> Option<Fragment<'a>> {
    let (header, after) = rest.split_first_chunk::<FRAGMENT_HEADER>()?;
    let number = |at: usize| u32::from_be_bytes([0, header[at], header[at + 1], header[at + 2]]) as usize;
    let (length, offset) = (number(1), number(6));
    let (bytes, after) = after.split_at_checked(number(9))?;
    if offset + bytes.len() > length || length > MAX_MESSAGE {
        return None;
    }
    *rest = after;
    Some(Fragment {
        kind: header[0],
        length,
        number: u16::from_be_bytes([header[4], header[5]]),
        offset,
        bytes,
    })
}
