//! What the probe does where a host lacks something, through its own binary.

use std::process::{Command, Stdio};

use crate::bench::{Hosts, collector};

/// Some hosts have cgroup v2 in the kernel and mounted nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_cgroup_v2_is_mounted_for_the_probe_alone() {
    let hosts = Hosts::new();
    let (keeper, endpoint) = collector().await;
    let state = tempfile::tempdir().unwrap();
    let mut probe = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "umount -t cgroup2 -a && exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_weir-probe"),
        ])
        .args(["--collector", &endpoint, "--node", "bare", "--state-dir"])
        .arg(state.path())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (listener, at) = hosts.listen("10.83.0.2");
    let began = std::time::Instant::now();
    while keeper.flows(at.port()).is_empty() {
        assert!(began.elapsed().as_secs() < 30, "no row came");
        drop(hosts.connect(at).unwrap());
        drop(listener.accept().unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(probe.id() as i32), nix::sys::signal::SIGTERM).unwrap();
    assert!(probe.wait().unwrap().success());
}

/// `weir up` goes on without the probe, and says this.
#[test]
fn without_root_the_probe_says_what_is_missing() {
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--clear-groups",
            "--inh-caps=-all",
            env!("CARGO_BIN_EXE_weir-probe"),
            "--check",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("without CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"), "{text}");
    assert!(text.contains("run as root"), "{text}");
}
