//! A kernel that lacks something for one feature loses that feature and nothing else, and is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_model::ProbeHealthRow;
use weir_probe::{Config, FeatureState, FeatureStatus, Level, Probe, ProbeError, try_features};

use crate::bench::{Bench, Hosts};

const OLDER: &str = "older connections";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The kernel programs, with one program's section made into something that the verifier refuses.
fn object_with_refused(section: &str, into: &Path) -> PathBuf {
    let mut object = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../bpf/weir.bpf.o")).unwrap();
    let word = |at: usize, bytes: &[u8]| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize, bytes: &[u8]| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    // ELF64: where the section headers are, how large one is, how many there are, which has the names.
    let (headers, size) = (word(0x28, &object), half(0x3a, &object));
    let (count, names) = (half(0x3c, &object), half(0x3e, &object));
    let header = |index: usize| headers + index * size;
    let names_at = word(header(names) + 0x18, &object);
    let at = (0..count)
        .find(|index| {
            let name = u32::from_le_bytes(object[header(*index)..][..4].try_into().unwrap()) as usize;
            object[names_at + name..].starts_with(format!("{section}\0").as_bytes())
        })
        .map(|index| word(header(index) + 0x18, &object))
        .unwrap();
    // No instruction has this opcode.
    object[at] = 0xff;
    let path = into.join("refused.bpf.o");
    std::fs::write(&path, object).unwrap();
    path
}

/// This kernel's types with one name changed.
pub(crate) fn types_without(name: &str, into: &Path) -> PathBuf {
    let mut types = std::fs::read(KERNEL_TYPES).unwrap();
    let needle = format!("\0{name}\0").into_bytes();
    let at = types.windows(needle.len()).position(|window| window == needle).unwrap();
    types[at + 1] = b'?';
    let path = into.join("types");
    std::fs::write(&path, types).unwrap();
    path
}

fn off(features: &[FeatureStatus]) -> Vec<(&str, &str)> {
    features
        .iter()
        .filter_map(|feature| match &feature.state {
            FeatureState::Off { reason, .. } => Some((feature.name, reason.as_str())),
            _ => None,
        })
        .collect()
}

#[test]
fn this_kernel_has_every_feature() {
    let features = try_features(&Config::default()).unwrap();
    assert_eq!(off(&features), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_the_verifier_refuses_costs_its_feature_only() {
    let directory = tempfile::tempdir().unwrap();
    let object = Some(object_with_refused("iter/task_file", directory.path()));
    let bench = Bench::with(Config { object, interval: Duration::from_secs(1), ..Config::default() }).await;
    let hosts = Hosts::new();
    let (listener, address) = hosts.listen("10.83.0.2");
    drop(hosts.connect(address).unwrap());
    drop(listener.accept().unwrap());
    bench.both_ends(address.port()).await;
    let told = |bench: &Bench| {
        let rows: Vec<ProbeHealthRow> = bench.rows();
        rows.into_iter().find(|row| row.kind.as_deref() == Some("off"))
    };
    let row = bench.until("news of the feature", told, Option::is_some).await.unwrap();
    assert_eq!(row.counter.as_deref(), Some(OLDER));
    let message = row.message.unwrap();
    assert!(message.contains("weir_backfill") && message.contains("were open before the probe"), "{message}");
    bench.stop().await;
}

#[test]
fn what_the_kernel_lacks_costs_its_feature_only() {
    for (type_name, feature, said) in [
        ("socket", OLDER, "no field socket.sk"),
        ("nd_net", "drops", "no field net_device.nd_net.net"),
        ("btf_trace_kfree_skb", "drops", "kfree_skb"),
        ("btf_trace_inet_sk_error_report", "socket errors", "inet_sk_error_report"),
        ("chrono_stat", "TCP losses and limits", "no field tcp_sock.chrono_stat"),
        ("sock_exterr_skb", "denied connects", "no field sock_exterr_skb.ee.ee_errno"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let kernel_types = types_without(type_name, directory.path());
        let features = try_features(&Config { kernel_types, ..Config::default() }).unwrap();
        let off = off(&features);
        assert_eq!(off.len(), 1, "{type_name}: {off:?}");
        assert!(off[0].0 == feature && off[0].1.contains(said), "{type_name}: {off:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_tracepoint_of_connections_the_probe_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let kernel_types = types_without("btf_trace_inet_sock_set_state", directory.path());
    let error = Probe::start(Config { kernel_types, ..Config::default() }).await.err().unwrap();
    assert!(matches!(error, ProbeError::Kernel(_)));
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("kernel program weir_tcp_state"), "{text}");
}

#[test]
fn packets_at_interfaces_are_lost_alone() {
    let directory = tempfile::tempdir().unwrap();
    let object = Some(object_with_refused("classifier", directory.path()));
    let interfaces = vec!["weir-none*".to_owned(), "weir-nil0".to_owned()];
    let chosen = Config { level: Level::Packets, interfaces, ..Config::default() };
    for (config, said) in [
        (Config { object, ..chosen.clone() }, "unknown opcode"),
        (chosen, "no interface is called weir-none* or weir-nil0"),
    ] {
        let features = try_features(&config).unwrap();
        let off = off(&features);
        assert_eq!(off.len(), 1, "{off:?}");
        assert!(off[0].0 == "packets at interfaces" && off[0].1.contains(said), "{off:?}");
    }
}
