//! This node's name, and an id for this run of the process.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The node's name: `NODE_NAME` (which a DaemonSet sets from `spec.nodeName`), else the host's name.
pub fn node_name() -> String {
    if let Ok(name) = std::env::var("NODE_NAME")
        && !name.trim().is_empty()
    {
        return name.trim().to_owned();
    }
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// A new id each time that a process starts, so that its batch sequences never meet those of an earlier run:
/// start time in nanoseconds and process id, hex.
pub fn boot_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{now:x}-{:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_never_share_a_boot_id() {
        assert_ne!(boot_id(), boot_id());
    }

    #[test]
    fn a_node_always_has_a_name() {
        assert!(!node_name().is_empty());
    }
}
