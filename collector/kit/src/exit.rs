//! Exit codes (sysexits.h where it has one), and the one place that prints an error's chain.

use std::io;
use std::process::ExitCode;

use anyhow::Context;

/// Something failed at run time.
pub const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Standard output's reader has gone away (`| head`): there is nobody to go on for, and nothing is wrong.
#[derive(Debug, thiserror::Error)]
#[error("standard output's reader has gone")]
struct ReaderGone;

/// What became of writing to standard output, as [`fail`] understands it. Pipes and connections that break elsewhere
/// are failures like any other.
///
/// # Errors
/// Those of the writing.
pub fn stdout(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => other.context("write to standard output"),
    }
}

/// Prints `error` and its causes, one a line, and gives the code to end with; after [`stdout`] has found nobody to write
/// to, it says nothing and all is well.
#[expect(clippy::print_stderr, reason = "the last words of a process are for whoever started it")]
pub fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    if error.is::<ReaderGone>() {
        return ExitCode::SUCCESS;
    }
    eprintln!("weir: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_no_error() {
        let broken = || Error::from(ErrorKind::BrokenPipe);
        let gone =
            stdout(Err(broken())).map_err(|err| err.context("print the report")).expect_err("it is gone");
        assert_eq!(fail(FAILED, &gone), ExitCode::SUCCESS);
        let connection = anyhow::Error::from(broken()).context("send to the collector");
        assert_eq!(fail(FAILED, &connection), ExitCode::from(FAILED));
        let full = stdout(Err(ErrorKind::StorageFull.into())).expect_err("it is full");
        assert_eq!(fail(FAILED, &full), ExitCode::from(FAILED));
        assert!(stdout(Ok(())).is_ok());
    }
}
