//! QUIC's handshake, as far as a bystander can read it: Initial packets are encrypted with keys that they show
//! themselves (RFC 9001 §5), and hold the ClientHello and the ServerHello.
//!
//! | file         | subject                                                                    |
//! |--------------|----------------------------------------------------------------------------|
//! | `version.rs` | what differs between versions: salts, labels, packet types, names             |
//! | `packet.rs`  | long headers                                                                |
//! | `keys.rs`    | keys from a connection id; header protection, packet numbers, decryption       |
//! | `frames.rs`  | the handshake's pieces and the reason for an end, among a packet's frames          |
//! | `google.rs`  | Google's own handshake, before TLS                                          |
//!
//! A packet is what it seems when its tag is right under keys of its own connection id, so nothing is QUIC by chance,
//! and a Retry, another version or other connection ids need no bookkeeping of who may have said what. **Invariant**:
//! at most [`MAX_INITIALS`] packets are looked into, at most [`MAX_ORIGINS`] sets of keys kept. Never here: Handshake
//! and 1-RTT packets, whose keys only the ends have.

mod frames;
mod google;
mod keys;
mod packet;
#[cfg(test)]
pub(crate) mod tests;
mod version;

use smol_str::{SmolStr, format_smolstr};

use crate::assemble::Assembly;
use crate::tls::{Carrier, Conversation, Event, Handshake, Progress, QuicIds, Side, names};
use frames::{Frame, frames};
use keys::Keys;
use packet::{Kind, Long, long};

pub use version::version_name;

/// Initial packets of one handshake that are looked into; the longest hellos with all their repetitions take a dozen.
const MAX_INITIALS: u32 = 96;
/// Sets of keys at a time: the first ones, those after a Retry, those of another version.
const MAX_ORIGINS: usize = 4;
/// Longest handshake message, as over TCP.
const MAX_MESSAGE: usize = 1 << 16;

/// One QUIC connection's handshake.
#[derive(Debug)]
pub(crate) struct Quic {
    conversation: Conversation,
    /// Who sent the Initial that opened with keys of its own connection id.
    client: Option<Side>,
    origins: Vec<Origin>,
    crypto: [Crypto; 2],
    ids: QuicIds,
    server_scid: Option<Vec<u8>>,
    /// The client sent a Handshake packet since the server answered: of its part no more than the Finished is left.
    finishing: bool,
    retried: bool,
    left: u32,
    scratch: Vec<u8>,
}

/// A connection id that Initial packets are keyed with.
#[derive(Debug)]
struct Origin {
    version: u32,
    dcid: Vec<u8>,
    google_frames: bool,
    /// What the client sends, what the server sends.
    keys: [Keys; 2],
}

/// What one direction said in CRYPTO frames.
#[derive(Debug, Default)]
struct Crypto {
    assembly: Assembly,
    /// Messages were read up to here.
    taken: usize,
    begun_ns: Option<i64>,
}

/// Whether a datagram may be the first of a QUIC connection: one header's worth of looking.
pub(crate) fn may_begin(bytes: &[u8]) -> Looks {
    // Google's clear text has no fixed bit.
    if google::packet(bytes).is_some() {
        return Looks::Good;
    }
    match (bytes.first(), long(bytes)) {
        (Some(first), Some(long)) if first & 0x40 != 0 && matches!(long.kind, Kind::Initial { .. }) => {
            if version::is_known(long.version) {
                Looks::Good
            } else {
                Looks::Odd
            }
        }
        _ => Looks::Bad,
    }
}

/// How much a datagram looks like the beginning of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    Bad,
    /// The right shape, but a version that nobody has heard of.
    Odd,
    Good,
}

impl Quic {
    pub(crate) fn new() -> Quic {
        Quic {
            conversation: Conversation::over(Carrier::Quic),
            client: None,
            origins: Vec::new(),
            crypto: Default::default(),
            ids: QuicIds::default(),
            server_scid: None,
            finishing: false,
            retried: false,
            left: MAX_INITIALS,
            scratch: Vec::new(),
        }
    }

    /// Takes a datagram that `side` sent.
    pub(crate) fn datagram(&mut self, side: Side, time_ns: i64, bytes: &[u8]) -> Progress {
        if self.is_over() {
            return Progress::Done;
        }
        if let Some(packet) = google::packet(bytes) {
            self.google(side, time_ns, packet.version, packet.connection_id, packet.hello);
            return Progress::Done;
        }
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if first & 0x80 == 0 {
                self.short(side, time_ns, rest);
                break;
            }
            let Some(long) = long(rest) else { break };
            match long.kind {
                Kind::Initial { number_at } => self.initial(side, time_ns, long, number_at),
                Kind::Retry => self.retry(side, long),
                Kind::VersionNegotiation => self.version_negotiation(side, long),
                Kind::Handshake => {
                    self.finishing |= self.server_scid.is_some() && self.client == Some(side);
                }
                Kind::ZeroRtt => {}
            }
            rest = &rest[long.bytes.len()..];
        }
        self.note();
        if self.is_over() {
            Progress::Done
        } else if self.client.is_some() {
            Progress::NeedMore
        } else {
            Progress::NotTls
        }
    }

    /// What is known so far.
    pub(crate) fn handshake(&self) -> Option<&Handshake> {
        self.conversation.handshake()
    }

    /// Connection ids that a late packet of this connection may be for.
    pub(crate) fn connection_ids(&self) -> Vec<Vec<u8>> {
        let origins = self.origins.iter().map(|origin| origin.dcid.clone());
        origins.chain(self.server_scid.clone()).collect()
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.handshake().is_some_and(Handshake::is_over)
    }

    fn initial(&mut self, side: Side, time_ns: i64, packet: Long<'_>, number_at: usize) {
        self.left = self.left.saturating_sub(1);
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Some((frames, google)) = self.open(side, packet, number_at, &mut scratch) {
            self.ids.version = version_name(packet.version);
            if self.client == Some(side) {
                if self.ids.client_initial_dcid.is_empty() {
                    self.ids.client_initial_dcid = hex(packet.dcid);
                    self.ids.client_scid = hex(packet.scid);
                }
            } else {
                self.ids.server_scid = Some(hex(packet.scid));
                self.server_scid = Some(packet.scid.to_vec());
            }
            let handshake = self.conversation.handshake_mut().get_or_insert_with(|| {
                let mut handshake = Box::<Handshake>::default();
                (handshake.time_ns, handshake.client) = (time_ns, self.client);
                handshake
            });
            if self.client != Some(side) {
                handshake.address_validated.get_or_insert(self.retried);
            }
            self.frames(side, time_ns, packet.version, frames, google);
        }
        self.scratch = scratch;
    }

    /// A packet's frames, and whether they are Google's.
    fn open<'a>(
        &mut self,
        side: Side,
        packet: Long<'_>,
        number_at: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Option<(&'a [u8], bool)> {
        let sender = usize::from(self.client.is_some_and(|client| client != side));
        let mut opened = None;
        for (nth, origin) in self.origins.iter_mut().enumerate().rev() {
            if origin.version == packet.version
                && origin.keys[sender].open(packet.bytes, number_at, scratch).is_some()
            {
                opened = Some(nth);
                break;
            }
        }
        if opened.is_none() {
            // A client that is new here, goes on after a Retry or with other ids, or begins anew; a server that
            // answers in another version than it was asked in (RFC 9368) uses the client's id all the same.
            let dcids: Vec<Vec<u8>> = if sender == 0 {
                vec![packet.dcid.to_vec()]
            } else {
                let others = self.origins.iter().filter(|origin| origin.version != packet.version);
                others.map(|origin| origin.dcid.clone()).collect()
            };
            let mut found = None;
            'search: for dcid in dcids {
                for scheme in version::schemes(packet.version) {
                    let Some(mut keys) = keys::derive(scheme, &dcid) else { continue };
                    if keys[sender].open(packet.bytes, number_at, scratch).is_some() {
                        let google_frames = scheme.google_frames;
                        found = Some(Origin { version: packet.version, dcid, google_frames, keys });
                        break 'search;
                    }
                }
            }
            let origin = found?;
            if self.origins.len() == MAX_ORIGINS {
                // Not the first: it is the one that the server answers.
                self.origins.remove(1);
            }
            self.origins.push(origin);
            self.client.get_or_insert(side);
            opened = Some(self.origins.len() - 1);
        }
        let google = self.origins.get(opened?)?.google_frames;
        // Opened in place: the frames begin behind the header and end before the tag.
        let number_end = number_at + usize::from(scratch[0] & 3) + 1;
        let end = scratch.len().checked_sub(16)?;
        Some((scratch.get(number_end..end)?, google))
    }

    fn frames(&mut self, side: Side, time_ns: i64, version: u32, bytes: &[u8], google: bool) {
        let mut close = None;
        let crypto = &mut self.crypto[side.index()];
        frames(bytes, google, |frame| match frame {
            Frame::Crypto { offset, bytes } => {
                crypto.begun_ns.get_or_insert(time_ns);
                if let Ok(offset) = usize::try_from(offset) {
                    crypto.assembly.insert(offset, bytes);
                }
            }
            Frame::Close { error } => close = Some(error),
            Frame::Other => {}
        });
        if version::is_google_crypto(version) {
            self.google_message(side, time_ns, version);
        } else {
            self.messages(side, time_ns);
        }
        if let (Some(error), Some(handshake)) = (close, self.conversation.handshake_mut())
            && !handshake.is_over()
        {
            let reason = match u8::try_from(error.wrapping_sub(0x100)) {
                Ok(alert) => {
                    handshake.alert = Some(names::alert(alert));
                    names::alert(alert)
                }
                Err(_) if error == 0 && self.client == Some(side) => SmolStr::new_static("closed_by_client"),
                Err(_) if error == 0 => SmolStr::new_static("closed_by_server"),
                Err(_) => frames::error_name(error)
                    .map_or_else(|| format_smolstr!("quic_error_0x{error:x}"), SmolStr::new_static),
            };
            handshake.failed(reason, time_ns);
        }
    }

    /// The handshake messages that are whole.
    fn messages(&mut self, side: Side, time_ns: i64) {
        let crypto = &mut self.crypto[side.index()];
        while let Some((head, rest)) = crypto.assembly.prefix()[crypto.taken..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let Some(body) = rest.get(..length).filter(|_| length <= MAX_MESSAGE) else { return };
            let event = Event::Message { kind: head[0], body: body.to_vec() };
            crypto.taken += 4 + length;
            self.conversation.hear(side, crypto.begun_ns.unwrap_or(time_ns), time_ns, event);
        }
    }

    /// Google's hello in CRYPTO frames.
    fn google_message(&mut self, side: Side, time_ns: i64, version: u32) {
        let message = self.crypto[side.index()].assembly.prefix();
        if google::is_whole(message) != Some(true) {
            return;
        }
        let sni = google::hello(message).and_then(|hello| hello.sni).map(<[u8]>::to_vec);
        let dcid = self.origins.first().map(|origin| origin.dcid.clone()).unwrap_or_default();
        self.google(side, time_ns, version, &dcid, google::Hello { sni: sni.as_deref() });
    }

    /// All that there is to know of Google's own handshake is in its first message.
    fn google(&mut self, side: Side, time_ns: i64, version: u32, id: &[u8], hello: google::Hello<'_>) {
        self.client = Some(side);
        self.ids.version = version_name(version);
        self.ids.client_initial_dcid = hex(id);
        if let Some(server) = self.server_scid.is_none().then(|| id.to_vec()) {
            self.server_scid = Some(server);
        }
        let handshake = self.conversation.handshake_mut().get_or_insert_default();
        handshake.time_ns = time_ns;
        handshake.client = Some(side);
        handshake.sni = hello.sni.map(|name| SmolStr::new(String::from_utf8_lossy(name)));
        self.left = 0;
        self.note();
    }

    /// 1-RTT packets come from a client whose handshake is done: it has checked the server's Finished. They may be for an
    /// id that the server gave it under encryption (quic-go takes it even for its Handshake packets), so that what came
    /// before must tell.
    fn short(&mut self, side: Side, time_ns: i64, bytes: &[u8]) {
        let (Some(scid), true) = (&self.server_scid, self.client == Some(side)) else { return };
        let is_for_scid = bytes.get(1..).is_some_and(|rest| rest.starts_with(scid));
        let has_fixed_bit = bytes[0] & 0x40 != 0;
        let is_ours = is_for_scid && (!scid.is_empty() || has_fixed_bit) || self.finishing && has_fixed_bit;
        if is_ours
            && let Some(handshake) = self.conversation.handshake_mut()
            && handshake.version.is_some()
            && !handshake.is_over()
        {
            handshake.finished(time_ns);
        }
    }

    fn retry(&mut self, side: Side, packet: Long<'_>) {
        let asked = self.client.is_some_and(|client| client != side);
        if asked && hex(packet.dcid) == self.ids.client_scid {
            self.retried = true;
            if let Some(handshake) = self.conversation.handshake_mut() {
                handshake.address_validated = Some(true);
            }
        }
    }

    /// The server speaks none of the client's version: what the client says next is a new beginning.
    fn version_negotiation(&mut self, side: Side, packet: Long<'_>) {
        let asked = self.client.is_some_and(|client| client != side);
        let is_answer =
            hex(packet.dcid) == self.ids.client_scid && hex(packet.scid) == self.ids.client_initial_dcid;
        if asked && is_answer && self.server_scid.is_none() {
            let left = self.left;
            *self = Quic { left, ..Quic::new() };
        }
    }

    fn note(&mut self) {
        if let Some(handshake) = self.conversation.handshake_mut()
            && handshake.quic.as_ref() != Some(&self.ids)
        {
            handshake.quic = Some(self.ids.clone());
        }
    }
}

/// The connection id that a client's Initial is for, where a datagram begins with one.
pub(crate) fn initial_dcid(bytes: &[u8]) -> Option<&[u8]> {
    if let Some(packet) = google::packet(bytes) {
        return Some(packet.connection_id);
    }
    long(bytes).filter(|packet| matches!(packet.kind, Kind::Initial { .. })).map(|packet| packet.dcid)
}

fn hex(bytes: &[u8]) -> SmolStr {
    SmolStr::new(hex::encode(bytes))
}
