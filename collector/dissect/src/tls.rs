//! TLS, as far as a bystander can read it: the handshake of one connection, out of both directions' first bytes.
//!
//! | file              | subject                                                                       |
//! |-------------------|-------------------------------------------------------------------------------|
//! | `conversation.rs` | both directions together: which message means what, until the handshake's end    |
//! | `stream.rs`       | one direction: bytes → records → handshake messages, over any number of segments |
//! | `certificate.rs`  | what a certificate says                                                         |
//! | `hello.rs`        | ClientHello and ServerHello, extensions by number                               |
//! | `ja3.rs`          | JA3 and JA3S                                                                    |
//! | `ja4.rs`          | JA4 of the client (`FoxIO`'s BSD-3 specification; nothing else of JA4+)          |
//! | `names.rs`        | IANA's names: versions, cipher suites, groups, alerts; GREASE                    |
//! | `handshake.rs`    | the facts, and the row that they fill                                           |
//!
//! QUIC and DTLS bring the same messages in other wrappings: `quic.rs` and `dtls.rs` unpack them and use this.
//! TLS is known by its bytes, not by its port, and may begin in the middle of a connection (STARTTLS, a proxy's
//! CONNECT). Never here: decryption, datagrams, certificate validation, payload kept after the handshake.

mod certificate;
mod conversation;
mod handshake;
mod hello;
mod ja3;
mod ja4;
pub mod names;
mod stream;
#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use conversation::Conversation;
pub use handshake::{Handshake, KnownBy, QuicIds};
pub use hello::{ClientHello, ServerHello, client_hello, server_hello, sslv2_client_hello};
pub use ja3::{ja3, ja3_text, ja3s, ja3s_text};
pub use ja4::{ja4, ja4_over, ja4_text};
pub(crate) use stream::Event;

/// An end of a TCP connection: the client opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The end that accepted it.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn peer(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// What carries the handshake's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Records over TCP.
    #[default]
    Tcp,
    /// CRYPTO frames in QUIC packets.
    Quic,
    /// DTLS records in datagrams.
    Dtls,
}

/// What [`Conversation::push`] made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake goes on, or could still begin: more bytes please.
    NeedMore,
    /// These bytes are not TLS. It may still begin in a later segment (STARTTLS): who can afford it goes on.
    NotTls,
    /// All that can be seen was seen; more bytes are ignored.
    Done,
}

/// Bytes that can't be part of what they were read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed TLS at byte {offset}: {what}")]
pub struct Malformed {
    /// Offset of the byte in what was read: the message, or the direction's stream.
    pub offset: usize,
    /// What should have been there.
    pub what: &'static str,
}
