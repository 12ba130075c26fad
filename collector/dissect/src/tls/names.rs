//! IANA's names of what a handshake negotiates.

use smol_str::{SmolStr, format_smolstr};

/// Whether a value is one that clients throw in at random so that servers stay tolerant (RFC 8701).
pub fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The version as our columns write it: `1.3`, `1.2`, `1.1`, `1.0`, `ssl3`, `ssl2`; `dtls1.3`, `dtls1.2`, `dtls1.0`.
pub fn version(value: u16) -> SmolStr {
    SmolStr::new_static(match value {
        0x0303 => "1.2",
        0x0302 => "1.1",
        0x0301 => "1.0",
        0x0300 => "ssl3",
        0x0002 => "ssl2",
        0xfefc => "dtls1.3",
        0xfefd => "dtls1.2",
        // 0x0100 is what OpenSSL spoke before RFC 4347 was done.
        0xfeff | 0x0100 => "dtls1.0",
        // And drafts and experiments on the way to RFC 8446: IETF's, Google's and Facebook's numbers.
        0x0304 | 0x7f00..=0x7fff | 0x7e01..=0x7e04 | 0xfb17..=0xfb28 => "1.3",
        _ => return format_smolstr!("0x{value:04x}"),
    })
}

/// Whether that is TLS 1.3 or one of its drafts, where everything after the ServerHello is encrypted.
pub fn is_tls13(value: u16) -> bool {
    matches!(value, 0x0304 | 0xfefc | 0x7f00..=0x7fff | 0x7e01..=0x7e04 | 0xfb17..=0xfb28)
}

/// The cipher suite's IANA name; its number as hex where IANA has none.
pub fn cipher(value: u16) -> SmolStr {
    tls_parser::TlsCipherSuite::from_id(value)
        .map_or_else(|| format_smolstr!("0x{value:04x}"), |suite| SmolStr::new_static(suite.name))
}

/// The key exchange group's IANA name; its number as hex where we know none.
pub fn group(value: u16) -> SmolStr {
    SmolStr::new_static(match value {
        1 => "sect163k1",
        3 => "sect163r2",
        6 => "sect233k1",
        7 => "sect233r1",
        9 => "sect283k1",
        10 => "sect283r1",
        11 => "sect409k1",
        12 => "sect409r1",
        13 => "sect571k1",
        14 => "sect571r1",
        15 => "secp160k1",
        16 => "secp160r1",
        18 => "secp192k1",
        19 => "secp192r1",
        20 => "secp224k1",
        21 => "secp224r1",
        22 => "secp256k1",
        23 => "secp256r1",
        24 => "secp384r1",
        25 => "secp521r1",
        26 => "brainpoolP256r1",
        27 => "brainpoolP384r1",
        28 => "brainpoolP512r1",
        29 => "x25519",
        30 => "x448",
        31 => "brainpoolP256r1tls13",
        32 => "brainpoolP384r1tls13",
        33 => "brainpoolP512r1tls13",
        41 => "curveSM2",
        0x0100 => "ffdhe2048",
        0x0101 => "ffdhe3072",
        0x0102 => "ffdhe4096",
        0x0103 => "ffdhe6144",
        0x0104 => "ffdhe8192",
        0x0200 => "MLKEM512",
        0x0201 => "MLKEM768",
        0x0202 => "MLKEM1024",
        0x11eb => "SecP256r1MLKEM768",
        0x11ec => "X25519MLKEM768",
        0x11ed => "SecP384r1MLKEM1024",
        0x11ee => "curveSM2MLKEM768",
        0x6399 => "X25519Kyber768Draft00",
        0x639a => "SecP256r1Kyber768Draft00",
        _ => return format_smolstr!("0x{value:04x}"),
    })
}

/// Whether a group withstands a quantum computer: ML-KEM, alone or as half of a hybrid, and its Kyber drafts.
pub fn is_post_quantum(group: u16) -> bool {
    matches!(group, 0x0200..=0x0202 | 0x11eb..=0x11ee | 0x6399 | 0x639a | 0xfe30..=0xfe33)
}

/// The alert's name (RFC 8446 §6 and its predecessors), in the specifications' spelling.
pub fn alert(value: u8) -> SmolStr {
    SmolStr::new_static(match value {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return format_smolstr!("alert_{value}"),
    })
}
