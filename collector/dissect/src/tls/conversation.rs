//! Both directions of a connection together: which message means what, until the handshake is over.

use smol_str::SmolStr;

use super::certificate::Certificate;
use super::handshake::{Handshake, KnownBy};
use super::hello::{client_hello, dtls_client_hello, extension, server_hello, sslv2_client_hello};
use super::stream::{Event, Stream};
use super::{Carrier, Malformed, Progress, Side, names};

/// In TLS 1.3 an alert looks like any record, but for its length: 2 bytes, the content type, a 16-byte tag.
/// The shortest thing a client says to finish a handshake, its Finished, is longer by far.
const TLS13_ALERT: usize = 2 + 1 + 16;

mod message {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
    pub(super) const HELLO_RETRY_REQUEST: u8 = 6;
    pub(super) const CERTIFICATE: u8 = 11;
    pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const SERVER_HELLO_DONE: u8 = 14;
}

/// One TCP connection's handshake bytes, both directions, fed in stream order per direction; or the messages that
/// another carrier's wrapping held.
#[derive(Debug)]
pub struct Conversation {
    carrier: Carrier,
    streams: [Stream; 2],
    handshake: Option<Box<Handshake>>,
    malformed: Option<Malformed>,
    done: bool,
}

impl Default for Conversation {
    fn default() -> Self {
        Conversation::new()
    }
}

impl Conversation {
    /// Of a TCP connection of which nothing was seen yet.
    pub fn new() -> Self {
        Conversation::over(Carrier::Tcp)
    }

    /// Of a connection whose messages come by [`Conversation::hear`].
    pub(crate) fn over(carrier: Carrier) -> Self {
        Conversation {
            carrier,
            streams: [Stream::new(), Stream::new()],
            handshake: None,
            malformed: None,
            done: false,
        }
    }

    /// Takes the next bytes that `side` sent, seen at `time_ns`.
    pub fn push(&mut self, side: Side, time_ns: i64, bytes: &[u8]) -> Progress {
        if self.done {
            return Progress::Done;
        }
        self.streams[side.index()].feed(time_ns, bytes);
        // Not beyond the handshake's end, wherever in the segment that lies: cuts must not decide what is read.
        while !self.handshake.as_ref().is_some_and(|handshake| handshake.is_over()) {
            match self.streams[side.index()].next() {
                Ok(Some(event)) => {
                    if let Err(malformed) = self.said(side, time_ns, event) {
                        self.give_up(side, malformed);
                    }
                }
                Ok(None) => break,
                Err(malformed) => self.give_up(side, malformed),
            }
        }
        self.progress(side)
    }

    /// Takes what `side` said, unpacked by the carrier: its first byte came at `begun_ns`, its last at `time_ns`.
    pub(crate) fn hear(&mut self, side: Side, begun_ns: i64, time_ns: i64, event: Event) {
        if self.handshake.as_ref().is_some_and(|handshake| handshake.is_over()) {
            return;
        }
        self.streams[side.index()].begun_ns = begun_ns;
        if let Err(malformed) = self.said(side, time_ns, event) {
            self.malformed.get_or_insert(malformed);
        }
    }

    /// The facts, for the carrier to add its own.
    pub(crate) fn handshake_mut(&mut self) -> &mut Option<Box<Handshake>> {
        &mut self.handshake
    }

    /// What is known so far; `None` until a ClientHello (or ServerHello) was read.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_deref()
    }

    /// The first bytes that were not what TLS says they must be.
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }

    /// Takes the certificate that `side` showed, as the other end's TLS library read it: in TLS 1.3 the wire doesn't show
    /// it. A client has received `received` bytes by then. `false`: it can't be this handshake's.
    pub fn read_by_library(&mut self, side: Side, received: usize, der: &[u8]) -> bool {
        let Some(handshake) = self.handshake.as_mut() else { return false };
        handshake.read_by_library(handshake.client == Some(side), received, der)
    }

    /// The connection was closed, by whom if that is known: a handshake that was not over has failed.
    pub fn closed(&mut self, by: Option<Side>, reset: bool, time_ns: i64) {
        self.done = true;
        let Some(handshake) = self.handshake.as_mut().filter(|handshake| !handshake.is_over()) else {
            return;
        };
        let reason = match (&handshake.alert, reset, by) {
            (Some(alert), _, _) => alert.clone(),
            (None, true, _) => SmolStr::new_static("reset"),
            (None, false, Some(Side::Client)) => SmolStr::new_static("closed_by_client"),
            (None, false, Some(Side::Server)) => SmolStr::new_static("closed_by_server"),
            (None, false, None) => return,
        };
        handshake.failed(reason, time_ns);
    }

    fn progress(&mut self, side: Side) -> Progress {
        let over = self.handshake.as_ref().is_some_and(|handshake| handshake.is_over());
        let broken = self.handshake.is_some() && self.streams.iter().any(Stream::is_broken);
        if over || broken || self.streams.iter().all(Stream::is_broken) {
            self.done = true;
            self.streams.iter_mut().for_each(Stream::stop);
            return Progress::Done;
        }
        if self.handshake.is_some() || self.streams[side.index()].may_be_tls() {
            Progress::NeedMore
        } else {
            Progress::NotTls
        }
    }

    fn give_up(&mut self, side: Side, malformed: Malformed) {
        self.malformed.get_or_insert(malformed);
        self.streams[side.index()].stop();
    }

    fn said(&mut self, side: Side, time_ns: i64, event: Event) -> Result<(), Malformed> {
        match event {
            Event::Message { kind: message::CLIENT_HELLO, body } => {
                let mut plain = Vec::new();
                let hello = match self.carrier {
                    Carrier::Dtls => dtls_client_hello(&body, &mut plain)?,
                    Carrier::Tcp | Carrier::Quic => client_hello(&body)?,
                };
                self.malformed = self.malformed.or(hello.malformed);
                let carrier = self.carrier;
                self.client_said_hello(side, |handshake| handshake.offered(&hello, carrier, false));
            }
            Event::Sslv2Hello(content) => {
                let hello = sslv2_client_hello(&content)?;
                self.client_said_hello(side, |handshake| handshake.offered(&hello, Carrier::Tcp, true));
            }
            Event::Message { kind: message::SERVER_HELLO, body } => {
                let hello = server_hello(&body)?;
                self.malformed = self.malformed.or(hello.malformed);
                let begun_ns = self.streams[side.index()].begun_ns;
                let handshake = self.handshake.get_or_insert_default();
                if handshake.client.is_none() {
                    handshake.client = Some(side.peer());
                    handshake.time_ns = begun_ns;
                } else if handshake.hello_us.is_none() {
                    handshake.hello_us = Some(handshake.since_hello_us(time_ns));
                }
                if self.carrier == Carrier::Dtls && hello.retry {
                    // DTLS 1.3 asks for the proof of address in it (RFC 9147 §5.1).
                    handshake.address_validated = Some(hello.extension(extension::COOKIE).is_some());
                }
                handshake.chosen(&hello);
            }
            Event::Message { kind, body } => self.message(side, kind, &body),
            Event::Alert { description } => self.alert(side, time_ns, description),
            Event::EncryptedAlert => {
                if let Some(handshake) = self.handshake.as_mut().filter(|handshake| !handshake.is_over()) {
                    let reason = handshake.alert.clone().unwrap_or(SmolStr::new_static("encrypted_alert"));
                    handshake.failed(reason, time_ns);
                }
            }
            Event::ChangeCipherSpec => self.change_cipher_spec(side),
            Event::EncryptedHandshake => {
                // The Finished of the end that speaks last, whichever that is (it depends on resumption).
                if self.streams.iter().all(|stream| stream.encrypted)
                    && let Some(handshake) = self.handshake.as_mut().filter(|handshake| !handshake.is_over())
                {
                    handshake.finished(time_ns);
                }
            }
            Event::ApplicationData { length } => self.application_data(side, time_ns, length),
        }
        Ok(())
    }

    fn client_said_hello(&mut self, side: Side, offer: impl FnOnce(&mut Handshake)) {
        let begun_ns = self.streams[side.index()].begun_ns;
        let handshake = self.handshake.get_or_insert_default();
        // The second hello, after a HelloRetryRequest, adds nothing but the key share that was asked for.
        if handshake.ciphers_offered.is_none() {
            handshake.client = Some(side);
            handshake.time_ns = begun_ns;
            offer(handshake);
        }
    }

    /// The messages that TLS up to 1.2 sends in clear.
    fn message(&mut self, side: Side, kind: u8, body: &[u8]) {
        let Some(handshake) = self.handshake.as_mut() else { return };
        let from_client = handshake.client == Some(side);
        match kind {
            message::HELLO_VERIFY_REQUEST => handshake.address_validated = Some(true),
            message::HELLO_RETRY_REQUEST => handshake.hello_retry = Some(true),
            message::CERTIFICATE => {
                let own = own_certificate(body).map(|der| Box::new(Certificate::read(der)));
                if from_client {
                    handshake.client_certificate_is(true, Some(own.is_some()), KnownBy::Message);
                    handshake.client_certificate = own;
                } else {
                    handshake.server_certificate = own;
                }
            }
            message::SERVER_KEY_EXCHANGE => {
                let elliptic = handshake.cipher.as_deref().is_some_and(|name| name.contains("_ECDH"));
                // 3: a named curve (RFC 8422 §5.4).
                if let ([3, high, low, ..], true) = (body, elliptic) {
                    handshake.agreed_on(u16::from_be_bytes([*high, *low]));
                }
            }
            message::CERTIFICATE_REQUEST => handshake.client_certificate_is(true, None, KnownBy::Message),
            message::SERVER_HELLO_DONE => {
                if handshake.client_certificate_requested.is_none() {
                    handshake.client_certificate_is(false, Some(false), KnownBy::Message);
                }
                handshake.resumed = Some(false);
            }
            _ => {}
        }
    }

    fn alert(&mut self, side: Side, time_ns: i64, description: u8) {
        let Some(handshake) = self.handshake.as_mut().filter(|handshake| !handshake.is_over()) else {
            return;
        };
        match description {
            0 => {
                let by = if side == Side::Client { "closed_by_client" } else { "closed_by_server" };
                handshake.failed(SmolStr::new_static(by), time_ns);
            }
            // Warnings with which a handshake may well go on: no_certificate, user_canceled, no_renegotiation,
            // unrecognized_name.
            41 | 90 | 100 | 112 => handshake.alert = Some(names::alert(description)),
            _ => {
                handshake.alert = Some(names::alert(description));
                handshake.failed(names::alert(description), time_ns);
            }
        }
    }

    fn change_cipher_spec(&mut self, side: Side) {
        let Some(handshake) = self.handshake.as_mut() else { return };
        // In TLS 1.3 it is there for old middleboxes and means nothing; without a ServerHello we don't know.
        if handshake.version_number.is_none() || handshake.is_tls13() {
            return;
        }
        self.streams[side.index()].encrypted = true;
        // A server that switches without having shown a certificate resumes (RFC 5077 §3.1, session tickets).
        if handshake.client == Some(side.peer()) && handshake.resumed.is_none() {
            handshake.resumed = Some(handshake.server_certificate.is_none());
        }
    }

    fn application_data(&mut self, side: Side, time_ns: i64, length: usize) {
        let Some(handshake) = self.handshake.as_mut().filter(|handshake| !handshake.is_over()) else {
            return;
        };
        if !handshake.is_tls13() {
            // Before 1.3 data comes after the handshake; one that shows early data may be 1.3 with a server unseen.
            if handshake.version_number.is_some() || handshake.early_data != Some(true) {
                handshake.finished(time_ns);
            }
            return;
        }
        // The server's records are the rest of its handshake; the client's first ends it, or says no.
        if handshake.client != Some(side) {
            return;
        }
        if length == TLS13_ALERT {
            handshake.failed(SmolStr::new_static("encrypted_alert"), time_ns);
            return;
        }
        handshake.client_record = Some(length);
        if self.carrier == Carrier::Tcp
            && handshake.early_data != Some(true)
            && let Some((requested, sent)) = client_certificate_by(handshake.cipher_number, length)
        {
            handshake.client_certificate_is(requested, Some(sent), KnownBy::RecordLength);
        }
        handshake.finished(time_ns);
    }
}

/// What the length of the client's first encrypted record in TLS 1.3 says of its certificate: `(asked for, shown)`.
///
/// It holds the Certificate message where one was asked for, alone or with what follows it, else the Finished, whose
/// length is the hash's (RFC 8446 §4.4).
fn client_certificate_by(cipher: Option<u16>, length: usize) -> Option<(bool, bool)> {
    /// Header, empty context, empty list.
    const EMPTY_CERTIFICATE: usize = 4 + 1 + 3;
    /// No X.509 certificate in its message is as short; raw public keys may be.
    const SHORTEST_CERTIFICATE: usize = 160;
    let (hash, tag) = match cipher? {
        0x1301 | 0x1303 | 0x1304 => (32, 16),
        0x1302 => (48, 16),
        // CCM with a short tag.
        0x1305 => (32, 8),
        _ => return None,
    };
    // Behind the content come its type and the tag.
    let content = length.checked_sub(1 + tag)?;
    let finished = 4 + hash;
    if content == finished {
        Some((false, false))
    } else if content == EMPTY_CERTIFICATE || content == EMPTY_CERTIFICATE + finished {
        Some((true, false))
    } else {
        (content >= SHORTEST_CERTIFICATE).then_some((true, true))
    }
}

/// The first certificate of a Certificate message before TLS 1.3, DER; `None` where the list is empty.
fn own_certificate(body: &[u8]) -> Option<&[u8]> {
    let (_, message) = tls_parser::parse_tls_handshake_msg_certificate(body).ok()?;
    let tls_parser::TlsMessageHandshake::Certificate(certificates) = message else { return None };
    certificates.cert_chain.first().map(|certificate| certificate.data)
}
