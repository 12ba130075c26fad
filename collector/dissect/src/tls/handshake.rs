//! The facts about one handshake, and the row that they fill.

use smol_str::SmolStr;
use weir_model::TlsHandshakeRow;

use super::certificate::Certificate;
use super::hello::{ClientHello, ServerHello};
use super::names::{self, is_grease};
use super::{Carrier, Side, ja3, ja3s, ja4_over};

/// A record has no more content.
const MAX_CONTENT: usize = 1 << 14;

/// What a bystander knows of a handshake. Fields are `None` where nothing that tells was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handshake {
    /// When the first byte of the ClientHello came (of the ServerHello, where the other was not seen), ns UTC.
    pub time_ns: i64,
    /// Which end of the connection is TLS's client; nearly always the one that opened it.
    pub client: Option<Side>,
    /// Version negotiated, as in [`names::version`].
    pub version: Option<SmolStr>,
    /// Versions offered, GREASE left out, in the client's order.
    pub versions_offered: Vec<SmolStr>,
    /// Cipher suite negotiated, IANA's name.
    pub cipher: Option<SmolStr>,
    /// How many cipher suites were offered, GREASE left out.
    pub ciphers_offered: Option<usize>,
    /// Groups offered, GREASE left out, IANA's names.
    pub groups_offered: Vec<SmolStr>,
    /// Groups that the client sent a key for at once.
    pub key_shares: Vec<SmolStr>,
    /// Key exchange group negotiated, IANA's name.
    pub group: Option<SmolStr>,
    /// Whether that group withstands a quantum computer.
    pub post_quantum: Option<bool>,
    /// Server name that the client asked for.
    pub sni: Option<SmolStr>,
    /// Application protocols offered.
    pub alpn_offered: Vec<SmolStr>,
    /// Application protocol negotiated, where visible (not in TLS 1.3).
    pub alpn: Option<SmolStr>,
    /// JA3 of the client.
    pub ja3: Option<SmolStr>,
    /// JA3S of the server.
    pub ja3s: Option<SmolStr>,
    /// JA4 of the client.
    pub ja4: Option<SmolStr>,
    /// Whether a session was resumed.
    pub resumed: Option<bool>,
    /// Whether the client offered a pre-shared key (TLS 1.3).
    pub psk_offered: Option<bool>,
    /// Whether the client offered 0-RTT data.
    pub early_data: Option<bool>,
    /// Whether the client offered Encrypted ClientHello.
    pub ech: Option<bool>,
    /// Whether the server sent a HelloRetryRequest.
    pub hello_retry: Option<bool>,
    /// Whether the server asked for a certificate of the client.
    pub client_certificate_requested: Option<bool>,
    /// Whether the client showed one.
    pub client_certificate_sent: Option<bool>,
    /// How these two are known.
    pub client_certificate_known_by: Option<KnownBy>,
    /// The server's own certificate (in TLS 1.3 it is encrypted: only where its client's library was seen to read it).
    pub server_certificate: Option<Box<Certificate>>,
    /// The client's own certificate, if it showed one (in TLS 1.3 as above).
    pub client_certificate: Option<Box<Certificate>>,
    /// Whether a certificate was seen where a library read it, and not on the wire.
    pub from_library: bool,
    /// Whether the handshake came to its end.
    pub established: Option<bool>,
    /// The last alert seen in clear before that, by name; a `close_notify` is none.
    pub alert: Option<SmolStr>,
    /// Why it didn't.
    pub failure_reason: Option<SmolStr>,
    /// Whether the server made the client prove its address first (QUIC's Retry, DTLS's `HelloVerifyRequest`);
    /// over TCP there is no such thing.
    pub address_validated: Option<bool>,
    /// What QUIC adds.
    pub quic: Option<QuicIds>,
    /// From ClientHello to ServerHello, µs.
    pub hello_us: Option<i64>,
    /// From ClientHello to the end of the handshake as far as it is visible, µs.
    pub handshake_us: Option<i64>,

    pub(super) version_number: Option<u16>,
    pub(super) cipher_number: Option<u16>,
    pub(super) session_id: Option<Vec<u8>>,
    /// Length of the client's first encrypted record in TLS 1.3.
    pub(super) client_record: Option<usize>,
}

/// How something is known of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// A message in clear says so.
    Message,
    /// The length of an encrypted record allows no other conclusion, as long as nobody pads it.
    RecordLength,
    /// The server's library read it.
    Library,
}

/// What QUIC says around a handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuicIds {
    /// Version of the last Initial packet, as [`crate::quic::version_name`].
    pub version: SmolStr,
    /// Connection id that the client made up for the server, hex; what Initial packets are keyed with.
    pub client_initial_dcid: SmolStr,
    /// Connection id that the client chose for itself, hex; may be empty.
    pub client_scid: SmolStr,
    /// Connection id that the server chose for itself, hex.
    pub server_scid: Option<SmolStr>,
}

impl Handshake {
    /// Fills all `tls_*` and certificate columns that we know, the time, the durations and the failure's reason.
    /// Who the ends are, and `connect_us`, is the caller's.
    pub fn fill(&self, row: &mut TlsHandshakeRow) {
        row.time = self.time_ns;
        row.tls_version.clone_from(&self.version);
        row.tls_versions_offered.clone_from(&self.versions_offered);
        row.tls_cipher.clone_from(&self.cipher);
        row.tls_ciphers_offered = self.ciphers_offered.map(|count| count as i64);
        row.tls_group.clone_from(&self.group);
        row.tls_post_quantum = self.post_quantum;
        row.tls_sni.clone_from(&self.sni);
        row.tls_alpn_offered.clone_from(&self.alpn_offered);
        row.tls_alpn.clone_from(&self.alpn);
        row.tls_ja3.clone_from(&self.ja3);
        row.tls_ja3s.clone_from(&self.ja3s);
        row.tls_ja4.clone_from(&self.ja4);
        row.tls_resumed = self.resumed;
        row.tls_early_data = self.early_data;
        row.tls_hello_retry = self.hello_retry;
        row.tls_client_certificate_requested = self.client_certificate_requested;
        row.tls_client_certificate_sent = self.client_certificate_sent;
        row.tls_client_certificate_known_by = self.client_certificate_known_by.map(|by| {
            SmolStr::new_static(match by {
                KnownBy::Message => "message",
                KnownBy::RecordLength => "record_length",
                KnownBy::Library => "library",
            })
        });
        row.tls_ech = self.ech;
        row.tls_established = self.established;
        row.tls_alert.clone_from(&self.alert);
        row.failure_reason.clone_from(&self.failure_reason);
        row.tls_address_validated = self.address_validated;
        if let Some(quic) = &self.quic {
            row.quic_version = Some(quic.version.clone());
            row.quic_client_initial_dcid = Some(quic.client_initial_dcid.clone());
            row.quic_client_scid = Some(quic.client_scid.clone());
            row.quic_server_scid.clone_from(&quic.server_scid);
        }
        row.hello_us = self.hello_us;
        row.handshake_us = self.handshake_us;
        if let Some(certificate) = &self.server_certificate {
            fill_server_certificate(row, certificate);
            row.certificate_sni_mismatch = self.sni.as_ref().and_then(|sni| Some(!certificate.covers(sni)?));
        }
        if let Some(certificate) = &self.client_certificate {
            fill_client_certificate(row, certificate);
        }
        if self.server_certificate.is_some() || self.client_certificate.is_some() {
            let source = if self.from_library { "library" } else { "wire" };
            row.certificate_source = Some(SmolStr::new_static(source));
        }
    }

    /// Whether the client sent a certificate that nobody has seen: in TLS 1.3 the server's library reads it after the
    /// handshake's last bytes were on the wire.
    pub fn hides_client_certificate(&self) -> bool {
        self.client_certificate_sent == Some(true) && self.client_certificate.is_none()
    }

    /// Takes the certificate that an end showed, as the other's library read it; a client has received `received` bytes by
    /// then. `false`: it can't be this handshake's.
    pub(super) fn read_by_library(&mut self, by_client: bool, received: usize, der: &[u8]) -> bool {
        let has_none = if by_client { &self.client_certificate } else { &self.server_certificate }.is_none();
        if !has_none {
            return true;
        }
        // One that was resumed shows none.
        if !self.is_tls13() || self.resumed == Some(true) {
            return false;
        }
        if by_client {
            // The client's first message is the certificate, alone or with others; a longer one fills whole records.
            let fits = |length| length >= MAX_CONTENT || length > der.len();
            if !self.client_record.is_some_and(fits) {
                return false;
            }
            self.client_certificate = Some(Box::new(Certificate::read(der)));
            self.client_certificate_is(true, Some(true), KnownBy::Library);
        } else if received > der.len() {
            self.server_certificate = Some(Box::new(Certificate::read(der)));
        } else {
            return false;
        }
        self.from_library = true;
        true
    }

    /// The flow's column `encryption`: `mtls` where the client showed a certificate, else `tls`.
    pub fn encryption(&self) -> &'static str {
        if self.client_certificate_sent == Some(true) { "mtls" } else { "tls" }
    }

    /// Whether a certificate was asked for, and shown.
    pub(super) fn client_certificate_is(&mut self, requested: bool, sent: Option<bool>, by: KnownBy) {
        self.client_certificate_requested = Some(requested);
        self.client_certificate_sent = sent;
        self.client_certificate_known_by = Some(by);
    }

    pub(super) fn offered(&mut self, hello: &ClientHello<'_>, carrier: Carrier, sslv2: bool) {
        let without_grease = |numbers: Vec<u16>| -> Vec<u16> {
            numbers.into_iter().filter(|number| !is_grease(*number)).collect()
        };
        self.versions_offered = hello.versions().into_iter().map(names::version).collect();
        self.ciphers_offered = Some(hello.ciphers.iter().filter(|cipher| !is_grease(**cipher)).count());
        self.groups_offered = without_grease(hello.groups()).into_iter().map(names::group).collect();
        self.key_shares = without_grease(hello.key_shares()).into_iter().map(names::group).collect();
        self.sni = hello.sni().filter(|name| !name.is_empty()).map(text);
        self.alpn_offered = hello.alpn().into_iter().map(text).collect();
        self.psk_offered = Some(hello.offers_psk());
        self.early_data = Some(hello.early_data());
        self.ech = Some(hello.ech());
        self.session_id = Some(hello.session_id.to_vec());
        // Both fingerprints are defined over TLS's own hello only.
        if !sslv2 {
            self.ja3 = Some(ja3(hello));
            self.ja4 = Some(ja4_over(hello, carrier));
        }
    }

    pub(super) fn chosen(&mut self, hello: &ServerHello<'_>) {
        let version = hello.version();
        self.version = Some(names::version(version));
        self.version_number = Some(version);
        self.cipher = Some(names::cipher(hello.cipher));
        self.cipher_number = Some(hello.cipher);
        if let Some(group) = hello.group() {
            self.agreed_on(group);
        }
        self.alpn = hello.alpn().map(text);
        self.ja3s = Some(ja3s(hello));
        if hello.retry {
            self.hello_retry = Some(true);
            return;
        }
        self.hello_retry.get_or_insert(false);
        if names::is_tls13(version) {
            self.resumed = Some(hello.takes_psk());
        } else if let Some(asked) = &self.session_id
            && !asked.is_empty()
            && asked == hello.session_id
        {
            self.resumed = Some(true);
        }
    }

    pub(super) fn agreed_on(&mut self, group: u16) {
        self.group = Some(names::group(group));
        self.post_quantum = Some(names::is_post_quantum(group));
    }

    pub(crate) fn finished(&mut self, time_ns: i64) {
        self.established = Some(true);
        self.handshake_us = Some(self.since_hello_us(time_ns));
    }

    pub(crate) fn failed(&mut self, reason: SmolStr, time_ns: i64) {
        self.established = Some(false);
        self.failure_reason = Some(reason);
        self.handshake_us = Some(self.since_hello_us(time_ns));
    }

    /// None at all where a capture's clock went back.
    pub(super) fn since_hello_us(&self, time_ns: i64) -> i64 {
        (time_ns - self.time_ns).max(0) / 1000
    }

    /// Whether its end was seen, one way or the other.
    pub(crate) fn is_over(&self) -> bool {
        self.established.is_some()
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.version_number.is_some_and(names::is_tls13)
    }
}

fn fill_server_certificate(row: &mut TlsHandshakeRow, certificate: &Certificate) {
    row.server_certificate_subject.clone_from(&certificate.subject);
    row.server_certificate_issuer.clone_from(&certificate.issuer);
    row.server_certificate_sans.clone_from(&certificate.sans);
    row.server_certificate_serial.clone_from(&certificate.serial);
    row.server_certificate_sha256 = Some(certificate.sha256.clone());
    row.server_certificate_not_before = certificate.not_before_ns;
    row.server_certificate_not_after = certificate.not_after_ns;
    row.server_certificate_key.clone_from(&certificate.key);
    row.server_certificate_self_signed = certificate.self_signed;
}

fn fill_client_certificate(row: &mut TlsHandshakeRow, certificate: &Certificate) {
    row.client_certificate_subject.clone_from(&certificate.subject);
    row.client_certificate_issuer.clone_from(&certificate.issuer);
    row.client_certificate_sans.clone_from(&certificate.sans);
    row.client_certificate_serial.clone_from(&certificate.serial);
    row.client_certificate_sha256 = Some(certificate.sha256.clone());
    row.client_certificate_not_before = certificate.not_before_ns;
    row.client_certificate_not_after = certificate.not_after_ns;
    row.client_certificate_key.clone_from(&certificate.key);
    row.client_certificate_self_signed = certificate.self_signed;
}

/// Names off the wire are text by their specifications; what isn't is shown as such and not dropped.
fn text(bytes: &[u8]) -> SmolStr {
    SmolStr::new(String::from_utf8_lossy(bytes))
}
