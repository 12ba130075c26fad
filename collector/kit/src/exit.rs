//! Exit codes (sysexits.h where it has one), and the one place that prints an error's chain.

use std::process::ExitCode;

/// Something failed at run time.
pub const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Prints `error` and its causes, one a line, and gives the code to end with.
#[expect(clippy::print_stderr, reason = "the last words of a process are for whoever started it")]
pub fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("weir: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(code)
}
