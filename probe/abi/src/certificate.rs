//! Certificates that a TLS library was given to read, and how its functions are called.

use crate::GoLayout;

/// First byte of every record: a certificate ([`CertificateHead`], then its DER).
pub const KIND_CERTIFICATE: u8 = 12;

/// Most bytes of a small certificate: nearly all of them.
pub const CERTIFICATE_SMALL: usize = 2_048;
/// Most bytes of any certificate that is copied.
pub const CERTIFICATE_LARGE: usize = 16_384;

/// How a function gets the certificate: second argument: where a pointer to it lies; third: its length. It lies within its
/// message. OpenSSL's `d2i_X509`.
pub const CALL_POINTER: u64 = 1;
/// First argument: where a pointer and a length lie. It lies within its message. `BoringSSL`'s `CRYPTO_BUFFER_new_from_CBS`.
pub const CALL_SPAN: u64 = 2;
/// Second argument: where a pointer and a 32-bit length lie. `GnuTLS`'s `gnutls_x509_crt_import`.
pub const CALL_DATUM: u64 = 3;
/// Second argument: pointer; third: length. rustls, behind the place for its result.
pub const CALL_SLICE: u64 = 4;
/// Go's registers: a slice of slices behind the receiver. `crypto/tls.(*Conn).verifyServerCertificate`.
pub const CALL_GO_SLICES: u64 = 5;
/// Go's stack: a struct that begins with a slice of slices. `crypto/tls.(*Conn).processCertsFromClient`.
pub const CALL_GO_STRUCT: u64 = 6;
/// No certificate: a handshake of Go's begins, in a process whose goroutines are as [`layout_of`] says.
pub const CALL_GO_BEGINS: u64 = 7;

/// A probe's cookie that says how the function is called and, of Go's, where goroutines have their ids. `None` where that
/// doesn't fit.
pub fn cookie_of(call: u64, layout: GoLayout) -> Option<u64> {
    let (goid, parent) = (u16::try_from(layout.goid).ok()?, u16::try_from(layout.parent).ok()?);
    let g = i16::try_from(layout.g).ok()?;
    Some(call | u64::from(goid) << 16 | u64::from(parent) << 32 | u64::from(g.cast_unsigned()) << 48)
}

/// `CALL_*` of a probe's cookie.
#[inline]
pub const fn call_of(cookie: u64) -> u64 {
    cookie & 0xffff
}

/// The layout of a probe's cookie.
#[inline]
pub fn layout_of(cookie: u64) -> GoLayout {
    GoLayout {
        g: i32::from((cookie >> 48) as u16 as i16),
        goid: u32::from((cookie >> 16) as u16),
        parent: u32::from((cookie >> 32) as u16),
        _pad: 0,
    }
}

/// A certificate that a library reads while a handshake is under way; `len` bytes follow it in the record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateHead {
    /// `KIND_CERTIFICATE`.
    pub kind: u8,
    /// Named: holes are not allowed.
    pub _pad: u8,
    /// How many bytes follow.
    pub len: u16,
    /// How far a client had read the server's stream when it last received; 0 at a server.
    pub received: u32,
    /// When.
    pub time_ns: u64,
    /// The connection's socket cookie.
    pub cookie: u64,
}

/// A certificate as it is reserved in the ring.
#[repr(C)]
pub struct Certificate<const N: usize> {
    /// Whose.
    pub head: CertificateHead,
    /// The bytes; only `head.len` of them are set.
    pub bytes: [u8; N],
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<CertificateHead>() == 24);
    assert!(size_of::<Certificate<CERTIFICATE_SMALL>>() == 2_072);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_keeps_what_it_was_made_of() {
        for g in [-8, -0x1238, 0, i32::from(i16::MAX)] {
            let layout = GoLayout { g, goid: 152, parent: 280, _pad: 0 };
            let cookie = cookie_of(CALL_GO_BEGINS, layout).unwrap();
            assert_eq!((call_of(cookie), layout_of(cookie)), (CALL_GO_BEGINS, layout));
        }
        assert_eq!(cookie_of(CALL_GO_BEGINS, GoLayout { g: -40_000, ..GoLayout::default() }), None);
        assert_eq!(call_of(CALL_POINTER), CALL_POINTER);
    }
}
