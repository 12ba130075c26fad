//! Exit codes (sysexits.h where it has one), and the one place that prints an error's chain.

use std::process::ExitCode;

/// Something failed at run time.
pub const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Prints `error` and its causes, one a line, and gives the code to end with. A reader that has gone away (`| head`) is
/// no error: then it says nothing.
#[expect(clippy::print_stderr, reason = "the last words of a process are for whoever started it")]
pub fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    if reader_is_gone(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("weir: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(code)
}

fn reader_is_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_no_error() {
        let gone =
            anyhow::Error::from(Error::from(ErrorKind::BrokenPipe)).context("write to standard output");
        assert!(reader_is_gone(&gone));
        assert!(!reader_is_gone(&Error::from(ErrorKind::StorageFull).into()));
    }
}
