//! QUIC's versions: which salt and labels key their Initial packets, how they number packet types, what they are called.

use smol_str::{SmolStr, format_smolstr};

/// How a version protects its Initial packets (RFC 9001 §5.2). The salts are public on purpose: they keep out those
/// who don't know the version, not those who listen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) salt: [u8; 20],
    /// In front of `key`, `iv` and `hp` in the labels.
    pub(super) label: &'static str,
    /// Whether CRYPTO frames are Google's (type 8), before it took over the IETF's.
    pub(super) google_frames: bool,
}

const fn ietf(salt: [u8; 20]) -> Scheme {
    Scheme { salt, label: "quic ", google_frames: false }
}

const fn google(salt: [u8; 20]) -> Scheme {
    Scheme { salt, label: "quic ", google_frames: true }
}

const V1: Scheme = ietf([
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
]);
const V2: Scheme = Scheme {
    salt: [
        0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9,
        0xbd, 0x2e, 0xd9,
    ],
    label: "quicv2 ",
    google_frames: false,
};
/// Version 2 before it got its number.
const V2_DRAFT: Scheme = Scheme {
    salt: [
        0xa7, 0x07, 0xc2, 0x03, 0xa5, 0x9b, 0x47, 0x18, 0x4a, 0x1d, 0x62, 0xca, 0x57, 0x04, 0x06, 0xea, 0x7a,
        0xe3, 0xe5, 0xd3,
    ],
    label: "quicv2 ",
    google_frames: false,
};
/// Drafts 29 to 32.
const DRAFT_29: Scheme = ietf([
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43,
    0x90, 0xa8, 0x99,
]);
/// Drafts 23 to 28.
const DRAFT_23: Scheme = ietf([
    0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe,
    0xf9, 0xf5, 0x02,
]);
/// Drafts 21 and 22.
const DRAFT_22: Scheme = ietf([
    0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a, 0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd, 0x7a,
    0x02, 0x64, 0x4a,
]);
const Q050: Scheme = google([
    0x50, 0x45, 0x74, 0xef, 0xd0, 0x66, 0xfe, 0x2f, 0x9d, 0x94, 0x5c, 0xfc, 0xdb, 0xd3, 0xa7, 0xf0, 0xd3,
    0xb5, 0x6b, 0x45,
]);
const T050: Scheme = google([
    0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80, 0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c, 0x60,
    0x48, 0x83, 0x10,
]);
const T051: Scheme = google([
    0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50, 0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc, 0xda,
    0x6e, 0x03, 0x3d,
]);

pub(super) const NEGOTIATION: u32 = 0;
pub(super) const VERSION_1: u32 = 1;
pub(super) const VERSION_2: u32 = 0x6b33_43cf;
const VERSION_2_DRAFT: u32 = 0x709a_50c4;

/// What may key a version's Initial packets, likeliest first. Which one it was shows when a packet's tag is right, so a
/// version that nobody here heard of may well turn out to be an old one under another number.
pub(super) fn schemes(version: u32) -> &'static [&'static Scheme] {
    match version {
        VERSION_1 | 0xff00_0021..=0xff00_0022 => &[&V1],
        VERSION_2 => &[&V2],
        VERSION_2_DRAFT | 0xff02_0000 => &[&V2_DRAFT, &V2],
        0xff00_001d..=0xff00_0020 => &[&DRAFT_29],
        0xff00_0017..=0xff00_001c => &[&DRAFT_23],
        0x5130_3530..=0x5130_3539 => &[&Q050],
        0x5430_3530 => &[&T050],
        0x5430_3531 => &[&T051],
        0xff00_0015..=0xff00_0016 | 0xface_b001 => &[&DRAFT_22],
        _ if version >> 8 == 0x00fa_ceb0 => &[&DRAFT_23, &DRAFT_29, &V1, &DRAFT_22],
        _ => &[&V1, &V2, &DRAFT_29],
    }
}

/// Whether a version is one that exists, or one that is made up to keep others tolerant (`0x?a?a?a?a`).
pub(super) fn is_known(version: u32) -> bool {
    matches!(
        version,
        VERSION_1 | VERSION_2 | VERSION_2_DRAFT | 0xff00_0015..=0xff00_0022 | 0xff02_0000
            | 0x5130_3433..=0x5130_3539 | 0x5430_3530..=0x5430_3539)
        || version >> 8 == 0x00fa_ceb0
        || version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

/// Whether packet types are numbered as in version 2 (RFC 9369 §3.2).
pub(super) fn has_types_of_version_2(version: u32) -> bool {
    matches!(version, VERSION_2 | VERSION_2_DRAFT)
}

/// Whether the handshake in it is Google's own, with tags, and not TLS.
pub(super) fn is_google_crypto(version: u32) -> bool {
    version >> 24 == u32::from(b'Q')
}

/// The version as our column writes it: `1`, `2`, `draft-29`, `mvfst-27` (Facebook's), `Q050` and `T051` (Google's), or
/// the number as hex.
pub fn version_name(version: u32) -> SmolStr {
    match version {
        VERSION_1 => SmolStr::new_static("1"),
        VERSION_2 => SmolStr::new_static("2"),
        0xface_b001 => SmolStr::new_static("mvfst-22"),
        0xface_b002 => SmolStr::new_static("mvfst-27"),
        0xface_b00e => SmolStr::new_static("mvfst-exp"),
        0xff00_0000..=0xff00_00ff => format_smolstr!("draft-{:02}", version & 0xff),
        _ => {
            let name = version.to_be_bytes();
            let named = matches!(name[0], b'Q' | b'T') && name[1..].iter().all(u8::is_ascii_digit);
            if named {
                name.map(char::from).into_iter().collect()
            } else {
                format_smolstr!("0x{version:08x}")
            }
        }
    }
}
