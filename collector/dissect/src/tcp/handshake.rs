//! A connection's TLS handshake: segments in order of capture → bytes in order of sending → [`Conversation`].
//!
//! At most [`MAX_WAITING`] bytes per direction wait for a segment that is late; a connection that shows no hello
//! within [`MAX_LOOK`] bytes is not looked at any longer.

use super::adat::Adat;
use super::half::distance;
use crate::tls::{Conversation, Handshake, Progress, Side};

/// Bytes that may wait behind a hole: a post-quantum hello with a long certificate chain fits many times over.
const MAX_WAITING: usize = 1 << 16;
/// How far into a connection a hello may come (STARTTLS, CONNECT, a chatty greeting).
const MAX_LOOK: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Watch {
    conversation: Conversation,
    streams: [InOrder; 2],
    looked: usize,
    /// Where TLS is carried in FTP's lines.
    adat: Option<Box<Adat>>,
}

#[derive(Debug, Default)]
struct InOrder {
    next: Option<u32>,
    waiting: Vec<(u32, Vec<u8>)>,
    waiting_bytes: usize,
    /// Nothing after this point can be put in order.
    lost: bool,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch { conversation: Conversation::new(), streams: Default::default(), looked: 0, adat: None }
    }

    /// The connection's SYN told where the direction's bytes begin.
    pub(super) fn begins(&mut self, side: Side, first: u32) {
        self.streams[side.index()].next = Some(first);
    }

    /// Takes in a segment's payload, of which `length` bytes were on the wire. Done: nothing more is to be learnt.
    pub(super) fn segment(
        &mut self,
        side: Side,
        time_ns: i64,
        sequence: u32,
        payload: &[u8],
        length: usize,
    ) -> Progress {
        let Watch { conversation, streams, looked, adat } = self;
        let stream = &mut streams[side.index()];
        if stream.lost {
            // What isn't seen proves nothing: neither TLS nor that there is none.
            return Progress::NeedMore;
        }
        let next = *stream.next.get_or_insert(sequence);
        let behind = distance(sequence, next);
        let progress = if behind < 0 {
            stream.keep(sequence, payload, payload.len() < length)
        } else {
            let mut progress = Progress::NeedMore;
            let fresh = payload.get(behind as usize..).unwrap_or_default();
            if !fresh.is_empty() {
                *looked += fresh.len();
                stream.next = Some(next.wrapping_add(fresh.len() as u32));
                progress = read(conversation, adat, side, time_ns, fresh);
            }
            // The capture kept only the beginning of the packet: the rest is a hole that nothing will fill, unless
            // all of it was seen before.
            stream.lost |= payload.len() < length && (behind as usize) < length;
            while let Some(bytes) = stream.release() {
                *looked += bytes.len();
                progress = read(conversation, adat, side, time_ns, &bytes);
            }
            progress
        };
        let all_lost = streams.iter().all(|stream| stream.lost);
        if progress == Progress::NotTls && *looked > MAX_LOOK || all_lost {
            return Progress::Done;
        }
        progress
    }

    /// The connection ended.
    pub(super) fn closed(&mut self, by: Option<Side>, reset: bool, time_ns: i64) {
        self.conversation.closed(by, reset, time_ns);
    }

    pub(super) fn handshake(&self) -> Option<&Handshake> {
        self.conversation.handshake()
    }
}

/// Hands on the next bytes in order, unwrapped where that is needed.
fn read(
    conversation: &mut Conversation,
    adat: &mut Option<Box<Adat>>,
    side: Side,
    time_ns: i64,
    bytes: &[u8],
) -> Progress {
    if let Some(adat) = adat {
        let is_tls = conversation.handshake().is_some();
        let mut progress = if is_tls { Progress::NeedMore } else { Progress::NotTls };
        adat.read(side, bytes, |token| progress = conversation.push(side, time_ns, token));
        return progress;
    }
    if Adat::begins(side, bytes) {
        *adat = Some(Box::default());
    }
    conversation.push(side, time_ns, bytes)
}

impl InOrder {
    fn keep(&mut self, sequence: u32, payload: &[u8], cut: bool) -> Progress {
        if cut || self.waiting_bytes + payload.len() > MAX_WAITING {
            self.lost = true;
            self.waiting = Vec::new();
        } else if !payload.is_empty() {
            self.waiting_bytes += payload.len();
            self.waiting.push((sequence, payload.to_vec()));
        }
        Progress::NeedMore
    }

    /// The next bytes that waited and whose turn it is.
    fn release(&mut self) -> Option<Vec<u8>> {
        let next = self.next.filter(|_| !self.lost)?;
        loop {
            let at = self.waiting.iter().position(|(sequence, _)| distance(*sequence, next) >= 0)?;
            let (sequence, mut bytes) = self.waiting.swap_remove(at);
            self.waiting_bytes -= bytes.len();
            let known = distance(sequence, next) as usize;
            // What came by another way in the meantime is no news.
            if known < bytes.len() {
                bytes.drain(..known);
                self.next = Some(next.wrapping_add(bytes.len() as u32));
                return Some(bytes);
            }
        }
    }
}
