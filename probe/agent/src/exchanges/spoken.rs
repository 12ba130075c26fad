//! What a connection's first bytes say is spoken on it. A hint: sixteen bytes each way, no more.

use smol_str::SmolStr;
use weir_abi::Heads;

/// What is spoken, as far as the first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// The beginning was not seen.
    Unseen,
    /// They say nothing.
    Unknown,
    /// Encrypted; its handshake tells more.
    Tls,
    Http1,
    Http2,
    Postgresql,
    Mysql,
    Redis,
    Smtp,
    Ssh,
}

impl Spoken {
    /// By a connection's first bytes, which are not there of one that is older than the probe.
    pub(super) fn of(heads: &Heads, is_older: bool) -> Spoken {
        const METHODS: [&[u8]; 9] = [
            b"GET ",
            b"POST ",
            b"PUT ",
            b"HEAD ",
            b"DELETE ",
            b"PATCH ",
            b"OPTIONS ",
            b"CONNECT ",
            b"TRACE ",
        ];
        if is_older {
            return Spoken::Unseen;
        }
        let [client, server] = &heads.bytes;
        let server_first = heads.first_ns[1] != 0 && heads.first_ns[1] < heads.first_ns[0];
        // Length and, of the first packet, the version: a startup message of protocol 3, or a request for TLS.
        let is_postgresql =
            client[..2] == [0, 0] && (client[4..8] == [0, 3, 0, 0] || client[4..6] == [4, 0xd2]);
        let is_mysql = server_first && server[3] == 0 && server[4] == 10 && server[5].is_ascii_digit();
        if client.starts_with(b"\x16\x03") {
            Spoken::Tls
        } else if client.starts_with(b"PRI * HTTP/2.0") {
            Spoken::Http2
        } else if METHODS.iter().any(|method| client.starts_with(method)) {
            Spoken::Http1
        } else if is_postgresql {
            Spoken::Postgresql
        } else if is_mysql {
            Spoken::Mysql
        } else if client[0] == b'*' && client[1].is_ascii_digit() && client[..6].contains(&b'\n') {
            Spoken::Redis
        } else if client.starts_with(b"SSH-") || server.starts_with(b"SSH-") {
            Spoken::Ssh
        } else if server_first && (server.starts_with(b"220 ") || server.starts_with(b"220-")) {
            Spoken::Smtp
        } else {
            Spoken::Unknown
        }
    }

    /// As ALPN names it, or the field.
    pub(super) fn name(self) -> Option<SmolStr> {
        let name = match self {
            Spoken::Unseen | Spoken::Unknown | Spoken::Tls => return None,
            Spoken::Http1 => "http/1.1",
            Spoken::Http2 => "h2",
            Spoken::Postgresql => "postgresql",
            Spoken::Mysql => "mysql",
            Spoken::Redis => "redis",
            Spoken::Smtp => "smtp",
            Spoken::Ssh => "ssh",
        };
        Some(SmolStr::new_static(name))
    }

    /// Whether several requests may be under way at once.
    pub(super) fn is_multiplexed(self) -> Option<bool> {
        match self {
            Spoken::Unseen | Spoken::Tls => None,
            Spoken::Http2 | Spoken::Ssh => Some(true),
            _ => Some(false),
        }
    }

    /// Whether it is encrypted.
    pub(super) fn is_tls(self) -> bool {
        self == Spoken::Tls
    }

    /// Whether a request without an answer is a request all the same.
    pub(super) fn has_answers(self) -> bool {
        !matches!(self, Spoken::Unseen | Spoken::Unknown | Spoken::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(client: &[u8], server: &[u8], server_first: bool, expected: Spoken) {
        let mut heads = Heads { first_ns: if server_first { [2, 1] } else { [1, 2] }, ..Heads::default() };
        heads.bytes[0][..client.len()].copy_from_slice(client);
        heads.bytes[1][..server.len()].copy_from_slice(server);
        assert_eq!(Spoken::of(&heads, false), expected, "{client:?} {server:?}");
        assert_eq!(Spoken::of(&heads, true), Spoken::Unseen);
    }

    #[test]
    fn first_bytes_tell_what_is_spoken() {
        check(b"GET /index.html ", b"HTTP/1.1 200 OK\r", false, Spoken::Http1);
        check(b"PRI * HTTP/2.0\r\n", b"\0\0\x12\x04", false, Spoken::Http2);
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", false, Spoken::Postgresql);
        check(b"\0\0\0\x29\0\x03\0\0user", b"R", false, Spoken::Postgresql);
        check(b"\x20\0\0\x01", b"\x4a\0\0\0\x0a8.0.36", true, Spoken::Mysql);
        check(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", false, Spoken::Redis);
        check(b"EHLO me\r\n", b"220 mail ESMTP", true, Spoken::Smtp);
        check(b"SSH-2.0-OpenSSH", b"SSH-2.0-OpenSSH", true, Spoken::Ssh);
        check(b"\x16\x03\x01\x02", b"\x16\x03\x03", false, Spoken::Tls);
        check(b"", b"", false, Spoken::Unknown);
    }
}
