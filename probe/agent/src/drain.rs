//! Bytes out of the kernel → records.

use weir_abi::{
    CertificateHead, ChunkHead, ConnRecord, DatagramHead, ExchangeRecord, FirstExchange, KIND_CERTIFICATE,
    KIND_CHUNK, KIND_CLOSED, KIND_DATAGRAM, KIND_EXCHANGE, KIND_FIRST_EXCHANGE, KIND_LIVING, KIND_UDP,
    UdpRecord,
};

use crate::sys;

/// One record.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// A connection ended or lives.
    Conn(ConnRecord),
    /// Bytes of a handshake.
    Chunk(ChunkHead, &'a [u8]),
    /// A certificate that a TLS library read.
    Certificate(CertificateHead, &'a [u8]),
    /// A turn is over.
    Exchange(ExchangeRecord),
    /// The same, with its connection.
    FirstExchange(Box<FirstExchange>),
    /// A UDP flow began.
    Udp(UdpRecord),
    /// A datagram.
    Datagram(DatagramHead, &'a [u8]),
}

/// Reads one record; `None` if it is none that we know.
pub(crate) fn record(bytes: &[u8]) -> Option<Record<'_>> {
    match *bytes.first()? {
        KIND_CLOSED | KIND_LIVING => Some(Record::Conn(sys::read(bytes)?)),
        KIND_CHUNK => {
            let head: ChunkHead = sys::read(bytes)?;
            let start = size_of::<ChunkHead>();
            Some(Record::Chunk(head, bytes.get(start..start + usize::from(head.len))?))
        }
        KIND_CERTIFICATE => {
            let head: CertificateHead = sys::read(bytes)?;
            let start = size_of::<CertificateHead>();
            Some(Record::Certificate(head, bytes.get(start..start + usize::from(head.len))?))
        }
        KIND_EXCHANGE => Some(Record::Exchange(sys::read(bytes)?)),
        KIND_FIRST_EXCHANGE => Some(Record::FirstExchange(Box::new(sys::read(bytes)?))),
        KIND_UDP => Some(Record::Udp(sys::read(bytes)?)),
        KIND_DATAGRAM => {
            let head: DatagramHead = sys::read(bytes)?;
            let start = size_of::<DatagramHead>();
            Some(Record::Datagram(head, bytes.get(start..start + usize::from(head.len))?))
        }
        _ => None,
    }
}

/// The turns of an iterator's output.
pub(crate) fn silent(bytes: &[u8]) -> impl Iterator<Item = FirstExchange> {
    bytes.chunks_exact(size_of::<FirstExchange>()).filter_map(sys::read)
}

/// The records of an iterator's output.
pub(crate) fn living(bytes: &[u8]) -> impl Iterator<Item = ConnRecord> {
    bytes.chunks_exact(size_of::<ConnRecord>()).filter_map(sys::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_cut_is_none() {
        let bytes = vec![KIND_CLOSED; size_of::<ConnRecord>()];
        assert!(matches!(record(&bytes), Some(Record::Conn(_))));
        assert!(record(&bytes[1..]).is_none());
        assert!(record(&[]).is_none());
        assert!(record(&[99; 300]).is_none());
        let mut chunk = vec![0; size_of::<ChunkHead>() + 4];
        chunk[0] = KIND_CHUNK;
        chunk[2..4].copy_from_slice(&5_u16.to_ne_bytes());
        assert!(record(&chunk).is_none(), "five bytes said, four there");
        chunk[2..4].copy_from_slice(&4_u16.to_ne_bytes());
        assert!(matches!(record(&chunk), Some(Record::Chunk(_, [0, 0, 0, 0]))));
        let mut certificate = vec![0; size_of::<CertificateHead>() + 4];
        certificate[0] = KIND_CERTIFICATE;
        certificate[2..4].copy_from_slice(&5_u16.to_ne_bytes());
        assert!(record(&certificate).is_none(), "five bytes said, four there");
        let mut datagram = vec![0; size_of::<DatagramHead>() + 4];
        datagram[0] = KIND_DATAGRAM;
        datagram[2..4].copy_from_slice(&5_u16.to_ne_bytes());
        assert!(record(&datagram).is_none(), "five bytes said, four there");
        datagram[2..4].copy_from_slice(&4_u16.to_ne_bytes());
        assert!(matches!(record(&datagram), Some(Record::Datagram(_, [0, 0, 0, 0]))));
    }
}
