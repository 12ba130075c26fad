//! SCTP's chunks (RFC 9260), as far as a flow needs them: who opens and who ends an association, and how much user data
//! each chunk carries. Never here: what the data mean, checksums, addresses of a multi-homed end.

/// The chunks of a packet of which `bytes` were captured and `length` were on the wire, from behind its common header. Ends
/// where the capture does, or where a chunk's length can't be true.
pub fn chunks(bytes: &[u8], length: usize) -> Chunks<'_> {
    Chunks { bytes, left: length }
}

/// See [`chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    bytes: &'a [u8],
    left: usize,
}

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// DATA, or I-DATA (RFC 8260): a piece of a user's message.
    Data {
        /// Its transmission sequence number; the same in a copy that is sent again.
        tsn: u32,
        /// Bytes of user data, by its header.
        length: u32,
    },
    /// The client asks for an association.
    Init(Tags),
    /// The server agrees.
    InitAck(Tags),
    /// Everything below `tsn` arrived.
    Sack {
        /// One after the cumulative acknowledgement.
        tsn: u32,
    },
    /// The client shows that it got the server's answer.
    CookieEcho,
    /// The association is open at both ends.
    CookieAck,
    /// The association ends at once.
    Abort,
    /// Both ends were through, and the association is over.
    ShutdownComplete,
    /// Nothing that a flow tells.
    Other,
}

/// What an end begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// What the other end must put into its packets: the association's name at this end.
    pub initiate: u32,
    /// The number of its first DATA chunk.
    pub tsn: u32,
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let header = self.bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < 4 || length > self.left {
            self.bytes = &[];
            return None;
        }
        let chunk = read(header[0], length as u32, self.bytes);
        // Padded to four bytes, which the length doesn't count.
        let padded = length.next_multiple_of(4);
        self.bytes = self.bytes.get(padded..).unwrap_or_default();
        self.left = self.left.saturating_sub(padded);
        Some(chunk)
    }
}

fn read(kind: u8, length: u32, bytes: &[u8]) -> Chunk {
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    let tags = || Some(Tags { initiate: word(4)?, tsn: word(16)? });
    let chunk = match kind {
        0 => word(4).map(|tsn| Chunk::Data { tsn, length: length.saturating_sub(16) }),
        64 => word(4).map(|tsn| Chunk::Data { tsn, length: length.saturating_sub(20) }),
        1 => tags().map(Chunk::Init),
        2 => tags().map(Chunk::InitAck),
        3 => word(4).map(|cumulative| Chunk::Sack { tsn: cumulative.wrapping_add(1) }),
        6 => Some(Chunk::Abort),
        10 => Some(Chunk::CookieEcho),
        11 => Some(Chunk::CookieAck),
        14 => Some(Chunk::ShutdownComplete),
        _ => None,
    };
    chunk.unwrap_or(Chunk::Other)
}
