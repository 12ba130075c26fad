//! One direction of a connection: bytes, however cut into segments, → records → handshake messages.
//!
//! Holds at most one record and one handshake message ([`MAX_MESSAGE`]); application data is skipped unread.

use super::Malformed;

/// Longest record there is: 2^14, and what SSL 3 to TLS 1.2 let encryption and compression add (RFC 5246 §6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2048;
/// Longest handshake message that we put together; certificate chains and post-quantum hellos stay far below it.
const MAX_MESSAGE: usize = 1 << 17;
const HEADER: usize = 5;

/// What one direction said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A handshake message in clear: its type and its body.
    Message { kind: u8, body: Vec<u8> },
    /// A ClientHello in SSL 2.0's form.
    Sslv2Hello(Vec<u8>),
    /// An alert in clear.
    Alert { description: u8 },
    /// From here on this direction is encrypted (before TLS 1.3).
    ChangeCipherSpec,
    /// A record of the handshake's protocol that only the ends can read.
    EncryptedHandshake,
    /// An alert that only the ends can read.
    EncryptedAlert,
    /// A record of application data, or of anything at all in TLS 1.3; its length without the header.
    ApplicationData { length: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No TLS yet; it may begin with any segment.
    Looking,
    Sslv2,
    Records,
    /// Something that can't be TLS came in the middle of it; nothing after it can be trusted.
    Broken,
}

#[derive(Debug)]
pub(super) struct Stream {
    state: State,
    /// Bytes of a record that is not complete.
    buffer: Vec<u8>,
    /// Bytes of a handshake message that is not complete.
    message: Vec<u8>,
    /// Bytes still to come of a record that nobody reads.
    skip: usize,
    /// Bytes still to come of a record that holds handshake messages: they are read as they come, so that a
    /// ServerHello is known even if the capture lost the end of the record that it shares with a certificate.
    handshake_left: usize,
    /// Where `buffer` begins in the direction's bytes.
    offset: usize,
    /// When the first byte of TLS came.
    pub(super) begun_ns: i64,
    /// Whether this direction is encrypted (before TLS 1.3).
    pub(super) encrypted: bool,
}

/// Whether some bytes are the beginning of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sniff {
    No,
    /// So far they are, but they are too few.
    Maybe,
    Records,
    Sslv2,
}

impl Stream {
    pub(super) fn new() -> Stream {
        Stream {
            state: State::Looking,
            buffer: Vec::new(),
            message: Vec::new(),
            skip: 0,
            handshake_left: 0,
            offset: 0,
            begun_ns: 0,
            encrypted: false,
        }
    }

    /// Takes the next bytes; [`Stream::next`] then says what they completed.
    pub(super) fn feed(&mut self, time_ns: i64, bytes: &[u8]) {
        match self.state {
            State::Broken => return,
            State::Looking => {
                if self.buffer.is_empty() {
                    self.begun_ns = time_ns;
                    // The usual fate of a connection that isn't TLS: not even copied.
                    if sniff(bytes) == Sniff::No {
                        self.offset += bytes.len();
                        return;
                    }
                } else if sniff(&[&self.buffer, bytes].concat()) == Sniff::No {
                    // What looked like a beginning was none; these bytes may be one.
                    self.consume(self.buffer.len());
                    self.begun_ns = time_ns;
                }
            }
            State::Sslv2 | State::Records => {}
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.offset += skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// Nothing more is read from this direction.
    pub(super) fn stop(&mut self) {
        self.state = State::Broken;
        self.buffer = Vec::new();
        self.message = Vec::new();
    }

    /// Whether this direction is, or may be about to be, TLS.
    pub(super) fn may_be_tls(&self) -> bool {
        match self.state {
            State::Looking => !self.buffer.is_empty(),
            State::Sslv2 | State::Records => true,
            State::Broken => false,
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// The next thing that this direction said; `None` when it takes more bytes to know.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Malformed> {
        loop {
            if let Some(message) = self.whole_message()? {
                return Ok(Some(message));
            }
            match self.state {
                State::Broken => return Ok(None),
                State::Looking => match sniff(&self.buffer) {
                    Sniff::Maybe => return Ok(None),
                    Sniff::Records => self.state = State::Records,
                    Sniff::Sslv2 => self.state = State::Sslv2,
                    Sniff::No => {
                        self.consume(self.buffer.len());
                        return Ok(None);
                    }
                },
                State::Sslv2 => {
                    let length = usize::from(self.buffer[0] & 0x7f) << 8 | usize::from(self.buffer[1]);
                    let Some(content) = self.buffer.get(2..2 + length) else { return Ok(None) };
                    let hello = content.to_vec();
                    self.consume(2 + length);
                    self.state = State::Records;
                    return Ok(Some(Event::Sslv2Hello(hello)));
                }
                State::Records => match self.record()? {
                    Record::Incomplete => return Ok(None),
                    Record::Fragment => {}
                    Record::Event(event) => return Ok(Some(event)),
                },
            }
        }
    }

    /// Reads one record off the buffer.
    fn record(&mut self) -> Result<Record, Malformed> {
        if self.handshake_left > 0 {
            let here = self.handshake_left.min(self.buffer.len());
            if here == 0 {
                return Ok(Record::Incomplete);
            }
            self.message.extend_from_slice(&self.buffer[..here]);
            self.handshake_left -= here;
            self.consume(here);
            return Ok(Record::Fragment);
        }
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(Record::Incomplete);
        };
        let (kind, length) = (header[0], usize::from(u16::from_be_bytes([header[3], header[4]])));
        if !(20..=24).contains(&kind) {
            return Err(Malformed { offset: self.offset, what: "a record type" });
        }
        if header[1] != 3 && header[1] != 0x7f {
            return Err(Malformed { offset: self.offset + 1, what: "a record version" });
        }
        if length > MAX_RECORD {
            return Err(Malformed { offset: self.offset + 3, what: "a record length" });
        }
        if kind == 23 {
            let here = HEADER + length.min(rest.len());
            self.skip = HEADER + length - here;
            self.consume(here);
            return Ok(Record::Event(Event::ApplicationData { length }));
        }
        if kind == 22 && !self.encrypted {
            self.handshake_left = length;
            self.consume(HEADER);
            return Ok(Record::Fragment);
        }
        let Some(content) = rest.get(..length) else { return Ok(Record::Incomplete) };
        let record = match (kind, self.encrypted) {
            (20, _) => Record::Event(Event::ChangeCipherSpec),
            (21, false) if length == 2 => Record::Event(Event::Alert { description: content[1] }),
            (21, _) => Record::Event(Event::EncryptedAlert),
            (22, _) => Record::Event(Event::EncryptedHandshake),
            _ => Record::Fragment,
        };
        self.consume(HEADER + length);
        Ok(record)
    }

    /// The handshake message that the fragments so far complete.
    fn whole_message(&mut self) -> Result<Option<Event>, Malformed> {
        let Some((header, rest)) = self.message.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if length > MAX_MESSAGE {
            return Err(Malformed { offset: self.offset, what: "a handshake message of bearable length" });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let event = Event::Message { kind: header[0], body: body.to_vec() };
        self.message.drain(..4 + length);
        Ok(Some(event))
    }

    fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
        self.offset += count;
    }
}

enum Record {
    Incomplete,
    /// Taken in, with nothing to say yet.
    Fragment,
    Event(Event),
}

/// Whether `bytes` begin a TLS conversation: a hello, or the alert that a hello is answered with.
fn sniff(bytes: &[u8]) -> Sniff {
    // Every known byte must fit; a short beginning that fits is a maybe.
    let fits = |at: usize, good: &dyn Fn(u8) -> bool| bytes.get(at).is_none_or(|byte| good(*byte));
    let Some(first) = bytes.first() else { return Sniff::No };
    // A hello may be cut into tiny records: only the first byte of content is sure to be in this one.
    let length = bytes.get(3..5).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    let content = |at: usize, good: &dyn Fn(u8) -> bool| {
        length.is_some_and(|length| at > 0 && at >= length) || fits(HEADER + at, good)
    };
    let (known, found) = match first {
        0x16 => (
            fits(1, &|major| major == 3)
                && fits(2, &|minor| minor <= 4)
                && fits(3, &|length| length <= 0x48)
                && content(0, &|message| matches!(message, 1 | 2))
                && content(1, &|length| length <= 1)
                && content(4, &|major| matches!(major, 3 | 0x7e | 0x7f | 0xfb)),
            Sniff::Records,
        ),
        0x15 => (
            fits(1, &|major| major == 3)
                && fits(2, &|minor| minor <= 4)
                && fits(3, &|length| length == 0)
                && fits(4, &|length| length == 2)
                && fits(5, &|level| matches!(level, 1 | 2)),
            Sniff::Records,
        ),
        first if first & 0x80 != 0 => (sslv2_fits(bytes), Sniff::Sslv2),
        _ => (false, Sniff::No),
    };
    let needed = match found {
        Sniff::Sslv2 => 11,
        _ if *first == 0x15 => 7,
        _ => HEADER + length.map_or(5, |length| length.clamp(1, 5)),
    };
    match known {
        false => Sniff::No,
        true if bytes.len() < needed => Sniff::Maybe,
        true => found,
    }
}

/// `length (15 bits) | 1 | version | cipher specs' length | session id's length | challenge's length`, all of which
/// must add up: the form is weak, and this is what tells it from chance.
fn sslv2_fits(bytes: &[u8]) -> bool {
    let fits = |at: usize, good: &dyn Fn(u8) -> bool| bytes.get(at).is_none_or(|byte| good(*byte));
    let version = match bytes.get(3) {
        Some(0) => fits(4, &|minor| minor == 2),
        Some(3) => fits(4, &|minor| minor <= 3),
        Some(_) => false,
        None => true,
    };
    let lengths = bytes.get(..11).is_none_or(|head| {
        let at = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (specs, session, challenge) = (at(5), at(7), at(9));
        specs > 0
            && specs % 3 == 0
            && matches!(session, 0 | 16)
            && (16..=32).contains(&challenge)
            && 9 + specs + session + challenge == at(0) & 0x7fff
    });
    version && fits(2, &|message| message == 1) && lengths
}
