//! One connection's bytes: whole messages in, buffered messages out.
//!
//! pgwire reads and writes the messages; it trusts their lengths, so each is cut out here, within bounds, before it sees it, and
//! what it stumbles over ends this connection only.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgwire::messages::{DecodeContext, Message, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What may come as one message: a question, or its values.
const MOST_BYTES: usize = 4 << 20;
/// The same of the first, before anything is known of the client; PostgreSQL's own bound.
const MOST_FIRST_BYTES: usize = 10_000;
/// So much is collected before it is sent.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// A client that takes nothing for so long has left.
const STALLED: Duration = Duration::from_mins(1);

/// Both directions of a connection.
pub(super) struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    received: BytesMut,
    /// What is to be sent; whoever fills it beyond [`PIECE_BYTES`] flushes it.
    pub(super) unsent: BytesMut,
    context: DecodeContext,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        // Answers are sent when they are whole, or a piece is: waiting for more helps nobody.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        Wire { reader, writer, received: BytesMut::new(), unsent: BytesMut::new(), context }
    }

    /// What a client says before it has begun: a wish for encryption, a beginning, or a wish to cancel. `None`: it has left.
    ///
    /// # Errors
    /// What is none of these, or too long for one.
    pub(super) async fn first(&mut self) -> io::Result<Option<PgWireFrontendMessage>> {
        let Some(mut packet) = self.packet(0, MOST_FIRST_BYTES).await? else { return Ok(None) };
        self.context.awaiting_frontend_ssl = true;
        self.context.awaiting_frontend_startup = true;
        let message = decode(&mut packet, &self.context)?;
        if !matches!(&message, PgWireFrontendMessage::SslNegotiation(asked) if is_none(asked)) {
            return Ok(Some(message));
        }
        self.context.awaiting_frontend_ssl = false;
        decode(&mut packet, &self.context).map(Some)
    }

    /// The next message of a client that has begun. `None`: it has left.
    ///
    /// # Errors
    /// What can't be read, or is too long.
    pub(super) async fn next(&mut self) -> io::Result<Option<PgWireFrontendMessage>> {
        let Some(mut packet) = self.packet(1, MOST_BYTES).await? else { return Ok(None) };
        self.context.awaiting_frontend_ssl = false;
        self.context.awaiting_frontend_startup = false;
        decode(&mut packet, &self.context).map(Some)
    }

    /// One packet, whole; its length stands behind `before` bytes and counts itself.
    async fn packet(&mut self, before: usize, most: usize) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(length) = self.received.get(before..before + 4) {
                let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
                if !(4..=most).contains(&length) {
                    return Err(broken(format!("a message of {length} bytes: 4 to {most} can be read here")));
                }
                if self.received.len() >= before + length {
                    return Ok(Some(self.received.split_to(before + length)));
                }
                // No more room than is filled: a length is quickly said.
                self.received.reserve((before + length - self.received.len()).min(PIECE_BYTES));
            }
            if self.reader.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Until the client leaves; what it sends on meanwhile is kept.
    pub(super) async fn left(reader: &mut OwnedReadHalf, received: &mut BytesMut) {
        while received.len() < MOST_BYTES {
            if !matches!(reader.read_buf(received).await, Ok(1..)) {
                return;
            }
        }
        // It is far ahead: it hasn't left.
        std::future::pending::<()>().await;
    }

    /// `work`, or `None` where the client leaves before it is done.
    pub(super) async fn unless_left<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = Wire::left(&mut self.reader, &mut self.received) => None,
        }
    }

    /// Adds a message to what is sent next.
    pub(super) fn put(&mut self, message: &impl Message) -> io::Result<()> {
        message.encode(&mut self.unsent).map_err(|err| broken(err.to_string()))
    }

    /// Sends what there is, as fast as the client takes it.
    ///
    /// # Errors
    /// When it has left, or takes nothing.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while self.unsent.has_remaining() {
            let written = tokio::time::timeout(STALLED, self.writer.write_buf(&mut self.unsent)).await;
            let written =
                written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))?;
            if written? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

fn is_none(asked: &pgwire::messages::SslNegotiationMetaMessage) -> bool {
    matches!(asked, pgwire::messages::SslNegotiationMetaMessage::None)
}

/// One whole packet as a message. It is read to its end, or not at all.
fn decode(packet: &mut BytesMut, context: &DecodeContext) -> io::Result<PgWireFrontendMessage> {
    let decoded = catch_unwind(AssertUnwindSafe(|| PgWireFrontendMessage::decode(packet, context)));
    match decoded {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) | Err(_) => Err(broken("a message that ends before its parts do".to_owned())),
        Ok(Err(err)) => Err(broken(err.to_string())),
    }
}

/// The client says what can't be understood: there is no telling where its next message begins.
fn broken(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
