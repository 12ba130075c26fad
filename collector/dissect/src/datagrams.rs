//! A UDP flow's datagrams → the handshakes in it: QUIC or DTLS, known by their bytes.
//!
//! Costs a flow that carries neither one look at each datagram's first bytes. DTLS may begin after other datagrams
//! (STUN), and come inside TURN's channels; several connections may follow each other between the same ports.

use crate::dtls::{self, Dtls};
use crate::quic::{self, Looks, Quic};
use crate::tls::{Handshake, Progress, Side};

/// Datagrams that looked like QUIC and were not, until a flow is left in peace. Trying costs a few microseconds.
const MAX_TRIES: u8 = 16;
/// How much of that a version costs that nobody has heard of.
const ODD: u8 = 4;

/// The handshakes of one UDP flow.
#[derive(Debug, Default)]
pub struct Datagrams {
    state: State,
    tried: u8,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Looking,
    Quic(Box<Quic>),
    Dtls(Box<Dtls>),
    /// A handshake is over and was handed on; by this its late packets are told from another one's first.
    Over(Box<Known>),
}

#[derive(Debug)]
enum Known {
    ConnectionIds(Vec<Vec<u8>>),
    Random(Option<[u8; 32]>),
}

impl Datagrams {
    /// Takes a datagram's payload that `side` sent; a handshake, when one is over by that.
    pub fn datagram(&mut self, side: Side, time_ns: i64, payload: &[u8]) -> Option<Handshake> {
        let bytes = without_turn(payload);
        let progress = match &mut self.state {
            State::Quic(quic) => quic.datagram(side, time_ns, bytes),
            State::Dtls(dtls) => dtls.datagram(side, time_ns, bytes),
            State::Over(known) if !known.is_succeeded_by(bytes) => return None,
            State::Looking | State::Over(_) => self.begin(side, time_ns, bytes)?,
        };
        if progress == Progress::Done { self.finish() } else { None }
    }

    /// Whether a handshake is going on of which something is held.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Quic(_) | State::Dtls(_))
    }

    /// What is known so far of the handshake that is going on.
    pub fn handshake(&self) -> Option<&Handshake> {
        match &self.state {
            State::Quic(quic) => quic.handshake(),
            State::Dtls(dtls) => dtls.handshake(),
            State::Looking | State::Over(_) => None,
        }
    }

    /// The flow is over, or no more is seen of it: what is known of a handshake that was not handed on.
    pub fn closed(&mut self) -> Option<Handshake> {
        if let State::Dtls(dtls) = &mut self.state {
            dtls.closed();
        }
        self.finish()
    }

    fn begin(&mut self, side: Side, time_ns: i64, bytes: &[u8]) -> Option<Progress> {
        if dtls::may_begin(bytes) {
            let mut dtls = Box::new(Dtls::new());
            let progress = dtls.datagram(side, time_ns, bytes);
            self.state = State::Dtls(dtls);
            return Some(progress);
        }
        let looks = quic::may_begin(bytes);
        if looks == Looks::Bad || self.tried >= MAX_TRIES {
            return None;
        }
        let mut quic = Box::new(Quic::new());
        let progress = quic.datagram(side, time_ns, bytes);
        if quic.handshake().is_none() {
            self.tried = self.tried.saturating_add(if looks == Looks::Good { 1 } else { ODD });
            return None;
        }
        self.state = State::Quic(quic);
        Some(progress)
    }

    fn finish(&mut self) -> Option<Handshake> {
        let (handshake, known) = match &self.state {
            State::Quic(quic) => (quic.handshake(), Known::ConnectionIds(quic.connection_ids())),
            State::Dtls(dtls) => (dtls.handshake(), Known::Random(dtls.client_random())),
            State::Looking | State::Over(_) => return None,
        };
        let handshake = handshake.cloned();
        self.state = State::Over(Box::new(known));
        handshake
    }
}

impl Known {
    /// Whether a datagram is the first of another handshake between the same two ports.
    fn is_succeeded_by(&self, bytes: &[u8]) -> bool {
        match self {
            Known::ConnectionIds(known) => {
                quic::initial_dcid(bytes).is_some_and(|dcid| known.iter().all(|known| known != dcid))
            }
            Known::Random(known) => dtls::client_random(bytes).is_some_and(|random| *known != Some(random)),
        }
    }
}

/// What TURN's `ChannelData` holds (RFC 8656 §12.4), if it is DTLS.
fn without_turn(payload: &[u8]) -> &[u8] {
    let [0x40..=0x4f, _, high, low, inner @ ..] = payload else { return payload };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match inner.get(..length) {
        // Padded to four bytes, or not.
        Some(inner_bytes) if inner.len() - length < 4 && matches!(inner_bytes, [20..=26, 0xfe, ..]) => {
            inner_bytes
        }
        _ => payload,
    }
}
