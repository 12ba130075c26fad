//! ClientHello and ServerHello: their bodies by `tls-parser`, their extensions kept by number, known or not.

use super::Malformed;
use super::names::is_grease;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
const HELLO_RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extension numbers that mean something to us.
pub(crate) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    pub(crate) const EC_POINT_FORMATS: u16 = 11;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    pub(crate) const EARLY_DATA: u16 = 42;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    pub(crate) const COOKIE: u16 = 44;
    pub(crate) const KEY_SHARE: u16 = 51;
    pub(crate) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
    /// Its predecessor, encrypted SNI.
    pub(crate) const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
}

/// What a client offers. Lists are in the client's order; GREASE is in them where the name says nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The version field of the message itself, frozen at 1.2 since TLS 1.3.
    pub legacy_version: u16,
    /// The session that the client wants to resume, or filler (TLS 1.3).
    pub session_id: &'a [u8],
    /// Cipher suites, GREASE included.
    pub ciphers: Vec<u16>,
    /// Extensions by number, GREASE included.
    pub extensions: Vec<(u16, &'a [u8])>,
    /// Where the extensions broke off: those before it are true all the same.
    pub malformed: Option<Malformed>,
}

/// What the server chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version field of the message itself.
    pub legacy_version: u16,
    /// The session's id.
    pub session_id: &'a [u8],
    /// The cipher suite.
    pub cipher: u16,
    /// Whether this is a HelloRetryRequest in a ServerHello's clothes.
    pub retry: bool,
    /// Extensions by number.
    pub extensions: Vec<(u16, &'a [u8])>,
    /// Where the extensions broke off: those before it are true all the same.
    pub malformed: Option<Malformed>,
}

/// Reads a ClientHello (RFC 8446 §4.1.2) from a handshake message's body, without its 4-byte header.
///
/// # Errors
/// [`Malformed`] with the offset in `body` of the byte that can't be part of a hello.
pub fn client_hello(body: &[u8]) -> Result<ClientHello<'_>, Malformed> {
    let (_, hello) = tls_parser::parse_tls_handshake_client_hello(body)
        .map_err(|error| malformed(body, &error, "a ClientHello"))?;
    let (extensions, malformed) = extensions(body, hello.ext);
    Ok(ClientHello {
        legacy_version: hello.version.0,
        session_id: hello.session_id.unwrap_or_default(),
        ciphers: hello.ciphers.iter().map(|cipher| cipher.0).collect(),
        extensions,
        malformed,
    })
}

/// Reads a ServerHello (RFC 8446 §4.1.3) from a handshake message's body, without its 4-byte header.
///
/// # Errors
/// [`Malformed`] with the offset in `body` of the byte that can't be part of a hello.
pub fn server_hello(body: &[u8]) -> Result<ServerHello<'_>, Malformed> {
    let legacy_version = u16_at(body, 0).ok_or(Malformed { offset: 0, what: "a version" })?;
    // TLS 1.3 drafts up to 21 left out the session id and the compression method.
    if (0x7f00..=0x7f15).contains(&legacy_version) {
        let cipher = u16_at(body, 34).ok_or(Malformed { offset: 34, what: "a cipher suite" })?;
        let length = usize::from(u16_at(body, 36).unwrap_or(0));
        let (extensions, malformed) = extensions(body, body.get(38..38 + length));
        return Ok(ServerHello {
            legacy_version,
            session_id: &[],
            cipher,
            retry: false,
            extensions,
            malformed,
        });
    }
    // SSL 3.0 has no extensions. DTLS counts down from 0xfeff, but says the same.
    if !matches!(legacy_version, 0x0300..=0x0303 | 0xfefd | 0xfeff | 0x0100) {
        return Err(Malformed { offset: 0, what: "a version" });
    }
    let random = body.get(2..34).ok_or(Malformed { offset: body.len(), what: "a random" })?;
    let session_end = 35 + usize::from(*body.get(34).ok_or(Malformed { offset: 34, what: "a session id" })?);
    let session_id = body
        .get(35..session_end)
        .filter(|id| id.len() <= 32)
        .ok_or(Malformed { offset: 34, what: "a session id" })?;
    let cipher =
        u16_at(body, session_end).ok_or(Malformed { offset: session_end, what: "a cipher suite" })?;
    // One byte of compression in between.
    let block = body.get(session_end + 3..).and_then(after_length16).filter(|_| legacy_version != 0x0300);
    let (extensions, malformed) = extensions(body, block);
    Ok(ServerHello {
        legacy_version,
        session_id,
        cipher,
        retry: random == HELLO_RETRY,
        extensions,
        malformed,
    })
}

/// Reads a ClientHello of DTLS (RFC 6347 §4.2.1), which has a cookie after the session's id; `plain` takes the body
/// without it, of which the hello is then made.
///
/// # Errors
/// As [`client_hello`].
pub(crate) fn dtls_client_hello<'a>(
    body: &[u8],
    plain: &'a mut Vec<u8>,
) -> Result<ClientHello<'a>, Malformed> {
    let session_end = 35 + usize::from(*body.get(34).ok_or(Malformed { offset: 34, what: "a session id" })?);
    let cookie = body.get(session_end).ok_or(Malformed { offset: session_end, what: "a cookie" })?;
    let cookie_end = session_end + 1 + usize::from(*cookie);
    let rest = body.get(cookie_end..).ok_or(Malformed { offset: session_end, what: "a cookie" })?;
    plain.clear();
    plain.extend_from_slice(&body[..session_end]);
    plain.extend_from_slice(rest);
    client_hello(plain)
}

/// Reads the ClientHello of SSL 2.0 (RFC 5246 appendix E.2), in which old clients also offered SSL 3 and TLS 1.0:
/// the record's content, whose first byte is the message type.
///
/// # Errors
/// [`Malformed`] with the offset in `content` of the byte that can't be part of it.
pub fn sslv2_client_hello(content: &[u8]) -> Result<ClientHello<'_>, Malformed> {
    let field = |at| u16_at(content, at).ok_or(Malformed { offset: at, what: "an SSLv2 ClientHello" });
    let (legacy_version, specs, session) = (field(1)?, usize::from(field(3)?), usize::from(field(5)?));
    let specs_end = 9 + specs;
    let bytes = content.get(9..specs_end).ok_or(Malformed { offset: 9, what: "cipher specs" })?;
    let session_id = content
        .get(specs_end..specs_end + session)
        .ok_or(Malformed { offset: specs_end, what: "a session id" })?;
    // Three bytes a suite; those with a zero in front are TLS's own.
    let ciphers = bytes
        .chunks_exact(3)
        .filter(|spec| spec[0] == 0)
        .map(|spec| u16::from_be_bytes([spec[1], spec[2]]))
        .collect();
    Ok(ClientHello { legacy_version, session_id, ciphers, extensions: Vec::new(), malformed: None })
}

impl<'a> ClientHello<'a> {
    /// The content of the first extension of that number.
    pub fn extension(&self, number: u16) -> Option<&'a [u8]> {
        find(&self.extensions, number)
    }

    /// The name that the client asks for (RFC 6066 §3).
    pub fn sni(&self) -> Option<&'a [u8]> {
        let mut list = after_length16(self.extension(extension::SERVER_NAME)?)?;
        while let [kind, rest @ ..] = list {
            let (name, after) = prefixed16(rest)?;
            if *kind == 0 {
                return Some(name);
            }
            list = after;
        }
        None
    }

    /// The application protocols, in order.
    pub fn alpn(&self) -> Vec<&'a [u8]> {
        self.extension(extension::ALPN).map(protocols).unwrap_or_default()
    }

    /// The versions, GREASE left out: those of `supported_versions`, or the message's own.
    pub fn versions(&self) -> Vec<u16> {
        match self.supported_versions() {
            Some(versions) => versions,
            None => vec![self.legacy_version],
        }
    }

    /// The extension's versions alone, GREASE left out.
    pub fn supported_versions(&self) -> Option<Vec<u16>> {
        let [length, list @ ..] = self.extension(extension::SUPPORTED_VERSIONS)? else { return None };
        let list = list.get(..usize::from(*length)).unwrap_or(list);
        Some(numbers(list).filter(|version| !is_grease(*version)).collect())
    }

    /// Key exchange groups, GREASE included.
    pub fn groups(&self) -> Vec<u16> {
        list16(self.extension(extension::SUPPORTED_GROUPS))
    }

    /// Signature algorithms, GREASE included.
    pub fn signature_algorithms(&self) -> Vec<u16> {
        list16(self.extension(extension::SIGNATURE_ALGORITHMS))
    }

    /// Elliptic curve point formats.
    pub fn point_formats(&self) -> &'a [u8] {
        match self.extension(extension::EC_POINT_FORMATS) {
            Some([length, list @ ..]) => list.get(..usize::from(*length)).unwrap_or(list),
            _ => &[],
        }
    }

    /// The groups that the client already sent a key for, GREASE included.
    pub fn key_shares(&self) -> Vec<u16> {
        let mut shares = Vec::new();
        let mut list = self.extension(extension::KEY_SHARE).and_then(after_length16).unwrap_or_default();
        while let Some((group, rest)) = list.split_first_chunk::<2>() {
            shares.push(u16::from_be_bytes(*group));
            let Some((_, after)) = prefixed16(rest) else { break };
            list = after;
        }
        shares
    }

    /// Whether the client offers a pre-shared key, that is, wants to resume (TLS 1.3).
    pub fn offers_psk(&self) -> bool {
        self.extension(extension::PRE_SHARED_KEY).is_some()
    }

    /// Whether the client sends, or wants to send, 0-RTT data.
    pub fn early_data(&self) -> bool {
        self.extension(extension::EARLY_DATA).is_some()
    }

    /// Whether the client offers Encrypted ClientHello, or encrypted SNI as its drafts were called.
    pub fn ech(&self) -> bool {
        self.extension(extension::ENCRYPTED_CLIENT_HELLO).is_some()
            || self.extension(extension::ENCRYPTED_SERVER_NAME).is_some()
    }
}

impl<'a> ServerHello<'a> {
    /// The content of the first extension of that number.
    pub fn extension(&self, number: u16) -> Option<&'a [u8]> {
        find(&self.extensions, number)
    }

    /// The version negotiated.
    pub fn version(&self) -> u16 {
        self.extension(extension::SUPPORTED_VERSIONS)
            .and_then(|content| u16_at(content, 0))
            .unwrap_or(self.legacy_version)
    }

    /// The application protocol negotiated, where it is visible.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.extension(extension::ALPN).map(protocols)?.first().copied()
    }

    /// The group of the server's key share, or the one it asks for in a HelloRetryRequest.
    pub fn group(&self) -> Option<u16> {
        self.extension(extension::KEY_SHARE).and_then(|content| u16_at(content, 0))
    }

    /// Whether the server took a pre-shared key, that is, resumes (TLS 1.3).
    pub fn takes_psk(&self) -> bool {
        self.extension(extension::PRE_SHARED_KEY).is_some()
    }
}

/// Extensions by number, and where they break off. `block` is part of `body`, so that errors can point.
fn extensions<'a>(body: &'a [u8], block: Option<&'a [u8]>) -> (Vec<(u16, &'a [u8])>, Option<Malformed>) {
    let mut rest = block.unwrap_or_default();
    let mut found = Vec::with_capacity(20);
    while !rest.is_empty() {
        let entry = rest.split_first_chunk::<2>().and_then(|(number, after)| {
            let (content, after) = prefixed16(after)?;
            Some((u16::from_be_bytes(*number), content, after))
        });
        let Some((number, content, after)) = entry else {
            return (found, Some(Malformed { offset: offset_in(body, rest), what: "an extension" }));
        };
        found.push((number, content));
        rest = after;
    }
    (found, None)
}

fn malformed<'a>(
    body: &'a [u8],
    error: &tls_parser::nom::Err<tls_parser::nom::error::Error<&'a [u8]>>,
    what: &'static str,
) -> Malformed {
    use tls_parser::nom::Err;
    match error {
        Err::Incomplete(_) => Malformed { offset: body.len(), what },
        Err::Error(error) | Err::Failure(error) => Malformed { offset: offset_in(body, error.input), what },
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len())
}

fn find<'a>(extensions: &[(u16, &'a [u8])], number: u16) -> Option<&'a [u8]> {
    extensions.iter().find(|(known, _)| *known == number).map(|(_, content)| *content)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// What a 2-byte length in front covers, and what follows.
fn prefixed16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn after_length16(bytes: &[u8]) -> Option<&[u8]> {
    prefixed16(bytes).map(|(content, _)| content)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

fn list16(content: Option<&[u8]>) -> Vec<u16> {
    content.and_then(after_length16).map(|list| numbers(list).collect()).unwrap_or_default()
}

fn protocols(content: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut list = after_length16(content).unwrap_or_default();
    while let [length, rest @ ..] = list {
        let Some((name, after)) = rest.split_at_checked(usize::from(*length)) else { break };
        found.push(name);
        list = after;
    }
    found
}
