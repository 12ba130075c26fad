//! Why the kernel drops packets: the names of its reasons, from its own types, since their numbers differ from kernel to
//! kernel; and which of them are a loss, and which somebody's decision.

use hashbrown::HashMap;
use smol_str::{SmolStr, format_smolstr};
use weir_abi::CORE_REASONS;

use crate::btf::{BtfError, Types};

const ENUM: &str = "skb_drop_reason";
const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYSTEM: &str = "SKB_DROP_REASON_SUBSYS_";
/// Reasons of one subsystem have its number above these bits.
const SUBSYSTEM_SHIFT: u32 = 16;

/// Reasons that are left at once, in the kernel: nothing is missing anywhere because of them.
const NO_LOSS: &[&str] = &[
    // The packet was used up.
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    // A RST that did its work.
    "TCP_RESET",
    // All of it had come before, or an acknowledgement told nothing new (keep-alive, window probe, retransmission).
    "TCP_OLD_DATA",
    "TCP_OLD_SEQUENCE",
    "TCP_OLD_ACK",
    "TCP_TOO_OLD_ACK",
    "TCP_OFOMERGE",
    "DUP_FRAG",
    // For another machine: a device that listens to everything heard it.
    "OTHERHOST",
    // The application closed its socket with something unread.
    "QUEUE_PURGE",
    "SOCKET_CLOSE",
    // Not of the network.
    "UNIX_DISCONNECT",
    "UNIX_SKIP_OOB",
    // Somebody's copy: a sniffer, a tap.
    "PACKET_SOCK_ERROR",
    "TAP_FILTER",
    "TAP_TXFILTER",
];

/// Reasons that are a rule's verdict: filters, cgroup and traffic-control programs (network policies), `IPsec` policy,
/// security modules.
const DENIALS: &[&str] = &[
    "NETFILTER_DROP",
    "BPF_CGROUP_EGRESS",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    "XFRM_POLICY",
    "SECURITY_HOOK",
    "OVS_DROP_LAST_ACTION",
    "OVS_DROP_EXPLICIT",
    "OVS_DROP_EXPLICIT_WITH_ERROR",
];

/// The reasons of the running kernel.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    names: HashMap<u32, SmolStr>,
    subsystems: HashMap<u32, SmolStr>,
}

impl Reasons {
    /// Reads them.
    ///
    /// # Errors
    /// [`BtfError`] where the types are damaged. A kernel without reasons has none of the names.
    pub(crate) fn read(types: &Types<'_>) -> Result<Reasons, BtfError> {
        let mut reasons = Reasons::default();
        for (of, name, value) in types.enumerators()? {
            if let Some(subsystem) = name.strip_prefix(SUBSYSTEM) {
                reasons.subsystems.insert(value, SmolStr::new(subsystem));
            } else if of == ENUM {
                reasons.names.insert(value, SmolStr::new(name.strip_prefix(PREFIX).unwrap_or(name)));
            } else if name.starts_with("OVS_DROP_") || name.starts_with("RX_DROP_U_") {
                // Subsystems that can be built in; as modules they bring types of their own, and keep their numbers.
                reasons.names.entry(value).or_insert_with(|| SmolStr::new(name));
            }
        }
        Ok(reasons)
    }

    /// A bit for each reason that the kernel programs leave at once.
    pub(crate) fn no_loss(&self) -> [u64; CORE_REASONS / 64] {
        let mut bits = [0; CORE_REASONS / 64];
        for (reason, name) in &self.names {
            let reason = *reason as usize;
            if reason < CORE_REASONS && NO_LOSS.contains(&name.as_str()) {
                bits[reason / 64] |= 1 << (reason % 64);
            }
        }
        bits
    }

    /// The reason's name, without the prefix that all have.
    pub(crate) fn name(&self, reason: u32) -> SmolStr {
        if let Some(name) = self.names.get(&reason) {
            return name.clone();
        }
        let (subsystem, number) = (reason >> SUBSYSTEM_SHIFT, reason & ((1 << SUBSYSTEM_SHIFT) - 1));
        match self.subsystems.get(&subsystem) {
            Some(name) if subsystem != 0 => format_smolstr!("{name}_{number}"),
            _ => format_smolstr!("REASON_{reason}"),
        }
    }

    /// Whether a rule decided it.
    pub(crate) fn is_denial(&self, reason: u32) -> bool {
        self.names.get(&reason).is_some_and(|name| DENIALS.contains(&name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_s_own_numbers_are_read() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let reasons = Reasons::read(&Types::read(&bytes).expect("types")).expect("reasons");
        let number = |name: &str| {
            *reasons.names.iter().find(|(_, known)| *known == name).unwrap_or_else(|| panic!("no {name}")).0
        };
        let dropped = number("NETFILTER_DROP");
        assert!(reasons.is_denial(dropped) && !reasons.is_denial(number("NO_SOCKET")));
        assert_eq!(reasons.name(dropped), "NETFILTER_DROP");
        let bits = reasons.no_loss();
        let is_left = |reason: u32| bits[reason as usize / 64] >> (reason % 64) & 1 == 1;
        assert!(is_left(number("SKB_CONSUMED")) && is_left(number("TCP_OLD_ACK")));
        assert!(!is_left(dropped) && !is_left(number("SOCKET_RCVBUFF")) && !is_left(number("NOT_SPECIFIED")));
        assert_eq!(
            reasons.name(2 << 16 | 7),
            "OPENVSWITCH_7",
            "a module's reason, whose name is not at hand"
        );
        assert_eq!(reasons.name(60_000), "REASON_60000");
    }
}
