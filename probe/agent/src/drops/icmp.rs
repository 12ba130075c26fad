//! ICMP errors: what they say, by type and code, or by the errno that the kernel made of them.

use smol_str::SmolStr;
use weir_abi::{DropKey, REASON_CLASS, REASON_ICMP, REASON_ICMP6, REASON_SOCKET};

/// Where an error was seen. Both may tell of the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// This node sent it.
    Sent,
    /// The socket was told.
    Told,
}

/// Whether the entry is of an ICMP error, and where that was seen.
pub(super) fn seen(key: &DropKey) -> Option<Seen> {
    match key.reason & REASON_CLASS {
        REASON_ICMP | REASON_ICMP6 => Some(Seen::Sent),
        REASON_SOCKET => Some(Seen::Told),
        _ => None,
    }
}

/// What it says.
pub(super) fn name(reason: u32) -> SmolStr {
    let (kind, code) = (reason >> 8 & 0xff, reason & 0xff);
    SmolStr::new_static(match (reason & REASON_CLASS, kind) {
        (REASON_ICMP, 3) => match code {
            0 | 6 | 11 => "net_unreachable",
            1 | 7 | 12 => "host_unreachable",
            2 => "protocol_unreachable",
            3 => "port_unreachable",
            4 => "fragmentation_needed",
            9 | 10 | 13 => "admin_prohibited",
            _ => "unreachable",
        },
        (REASON_ICMP6, 1) => match code {
            0 => "net_unreachable",
            1 | 5 | 6 => "admin_prohibited",
            3 => "host_unreachable",
            4 => "port_unreachable",
            _ => "unreachable",
        },
        (REASON_ICMP6, 2) => "packet_too_big",
        (REASON_ICMP, 11) | (REASON_ICMP6, 3) => "time_exceeded",
        (REASON_SOCKET, _) => match code as i32 {
            libc::ECONNREFUSED => "port_unreachable",
            libc::EHOSTUNREACH => "host_unreachable",
            libc::ENETUNREACH => "net_unreachable",
            libc::ENOPROTOOPT => "protocol_unreachable",
            libc::EMSGSIZE => "packet_too_big",
            libc::EACCES => "admin_prohibited",
            libc::EPROTO => "parameter_problem",
            _ => "unreachable",
        },
        _ => "parameter_problem",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_name() {
        // Type and code.
        let told = |family: u32, of: [u8; 2]| family | u32::from(u16::from_be_bytes(of));
        for (reason, expected) in [
            (told(REASON_ICMP, [3, 3]), "port_unreachable"),
            (told(REASON_ICMP, [3, 13]), "admin_prohibited"),
            (told(REASON_ICMP, [11, 0]), "time_exceeded"),
            (told(REASON_ICMP6, [1, 4]), "port_unreachable"),
            (told(REASON_ICMP6, [2, 0]), "packet_too_big"),
            (REASON_SOCKET | libc::EHOSTUNREACH as u32, "host_unreachable"),
        ] {
            assert_eq!(name(reason), expected, "{reason:#x}");
            assert!(seen(&DropKey { reason, ..DropKey::default() }).is_some());
        }
        assert_eq!(seen(&DropKey { reason: 2 << 16 | 1, ..DropKey::default() }), None, "a subsystem's drop");
    }
}
