//! `weir-probe --verify` on this kernel.

use std::process::Command;

#[test]
fn each_program_s_verifier_work_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir-probe"))
        .args(["--verify", "--level", "packets"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for program in [
        "weir_tcp_state",
        "weir_packet_in",
        "weir_packet_out",
        "weir_sweep",
        "weir_backfill",
        "weir_capture_in",
        "weir_capture_ou",
        "weir_path_in",
        "weir_path_out",
        "weir_ip_in",
        "weir_ip_out",
    ] {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(program)).collect();
        let [line] = lines[..] else { panic!("one line of {program} in\n{text}") };
        let numbers: Vec<u32> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3, "{line}");
        assert!(numbers.iter().all(|number| (100..1_000_000).contains(number)), "{line}");
    }
}
