//! Request/response turns, and what caused them.

use crate::{Conn, Heads};

/// First byte of a record: a turn is over ([`ExchangeRecord`]).
pub const KIND_EXCHANGE: u8 = 16;
/// First byte of a record: the first turn of a connection that is told ([`FirstExchange`]).
pub const KIND_FIRST_EXCHANGE: u8 = 17;

/// [`ExchangeRecord::ended`]: the client sent its next request.
pub const ENDED_BY_NEXT: u8 = 1;
/// [`ExchangeRecord::ended`]: the connection is over.
pub const ENDED_BY_CLOSE: u8 = 2;
/// [`ExchangeRecord::ended`]: nothing moved for [`EXCHANGE_QUIET_NS`] after the answer's last byte.
pub const ENDED_BY_SILENCE: u8 = 3;
/// [`ExchangeRecord::ended`]: the answer switched to another protocol. No turns follow (HTTP 101), or they begin behind
/// the TLS handshake that does (STARTTLS).
pub const ENDED_BY_UPGRADE: u8 = 4;

/// An answer that pauses for so long is taken to be over.
pub const EXCHANGE_QUIET_NS: u64 = 2_000_000_000;

/// [`ExchangeRecord::flags`]: the client had sent more before it had this answer whole.
pub const EXCHANGE_PIPELINED: u8 = 1;
/// [`ExchangeRecord::flags`]: part of the answer was still under way when the connection ended.
pub const EXCHANGE_CUT: u8 = 2;
/// [`ExchangeRecord::flags`]: the first behind a TLS handshake.
pub const EXCHANGE_FOLLOWS_TLS: u8 = 4;

/// [`Cause::method`]: nothing is known.
pub const CAUSE_NONE: u8 = 0;
/// [`Cause::method`]: the thread had this one exchange open and no other.
pub const CAUSE_THREAD: u8 = 1;
/// [`Cause::method`]: the thread had several open; this is the one that it last received for.
pub const CAUSE_EVENT_LOOP: u8 = 2;
/// [`Cause::method`]: the same goroutine received the request.
pub const CAUSE_GOROUTINE: u8 = 3;
/// [`Cause::method`]: the goroutine that started this one received the request.
pub const CAUSE_GOROUTINE_PARENT: u8 = 4;

/// Which inbound exchange an outbound one is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Initial sequence number of its connection's client.
    pub client_isn: u32,
    /// Initial sequence number of its connection's server.
    pub server_isn: u32,
    /// Position of its request's first byte in the client's stream.
    pub request_seq: u32,
    /// `CAUSE_*`.
    pub method: u8,
    /// Named: holes are not allowed.
    pub _pad: u8,
    /// How many inbound exchanges the task had open: the fewer, the surer.
    pub open: u16,
}

/// One turn on a connection: what the client asked, what the server answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeRecord {
    /// `KIND_EXCHANGE`, or `KIND_FIRST_EXCHANGE` in a [`FirstExchange`].
    pub kind: u8,
    /// `EXCHANGE_*`.
    pub flags: u8,
    /// `ENDED_*`.
    pub ended: u8,
    /// TCP state before the close, where that ended it.
    pub state: u8,
    /// Which turn of the connection, from 1.
    pub number: u32,
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// The request's first byte: sent by the client's program, read by the server's.
    pub begin_ns: u64,
    /// The answer's first byte; 0: none came.
    pub first_ns: u64,
    /// The answer's last byte; 0: none came. The connection's end where it ended without an answer.
    pub end_ns: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// Position of the request's first byte in the client's stream, modulo 2³²: the same at both ends.
    pub request_seq: u32,
    /// errno of the socket where the connection's end ended it; 0: none.
    pub error: u32,
    /// Process that sent or read the request's first byte.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// Its goroutine; 0: none or unknown.
    pub goroutine: u64,
    /// The thread's name, zero-padded.
    pub comm: [u8; 16],
    /// What this exchange is for, at the client's end.
    pub cause: Cause,
}

/// The first turn of a connection that is told: with what the connection is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstExchange {
    /// The turn.
    pub exchange: ExchangeRecord,
    /// The connection.
    pub conn: Conn,
    /// Its first bytes.
    pub heads: Heads,
}

/// Where a Go program keeps what tells its goroutines apart; value of `WEIR_GO`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoLayout {
    /// From the thread's own storage to the pointer to the running goroutine.
    pub g: i32,
    /// `runtime.g.goid`.
    pub goid: u32,
    /// `runtime.g.parentGoid`; 0: this version of Go has none.
    pub parent: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<Cause>() == 16);
    assert!(size_of::<ExchangeRecord>() == 112);
    assert!(size_of::<FirstExchange>() == 272);
    assert!(size_of::<GoLayout>() == 16);
};
