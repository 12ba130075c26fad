//! TLS that FTP carries in its own lines: after `AUTH GSSAPI` both ends wrap what they say in `ADAT` (RFC 2228 §3), base64,
//! and Globus' GSSAPI, which `GridFTP` speaks, says TLS.
//!
//! **Invariant**: holds at most [`MAX_LINE`] bytes of a line per direction. Never here: what the bytes mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::Side;

/// Longest line that is read: certificate chains in base64 fit.
const MAX_LINE: usize = 1 << 16;
/// What the client begins with.
const AUTH: &[u8] = b"AUTH GSSAPI";

/// Both directions' lines.
#[derive(Debug, Default)]
pub(super) struct Adat {
    lines: [Vec<u8>; 2],
}

impl Adat {
    /// Whether a client asks for this.
    pub(super) fn begins(side: Side, bytes: &[u8]) -> bool {
        side == Side::Client && bytes.starts_with(AUTH)
    }

    /// Takes the next bytes; calls `on_token` with what each line that is whole now carries.
    pub(super) fn read(&mut self, side: Side, bytes: &[u8], mut on_token: impl FnMut(&[u8])) {
        let line = &mut self.lines[side.index()];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.len() + piece.len() <= MAX_LINE {
                line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                if let Some(token) = token(line.trim_ascii_end()) {
                    on_token(&token);
                }
                line.clear();
            }
        }
    }
}

/// `ADAT …` of the client, `335 ADAT=…` or `235 ADAT=…` of the server.
fn token(line: &[u8]) -> Option<Vec<u8>> {
    let said = [&b"ADAT "[..], b"335 ADAT=", b"235 ADAT="];
    let text = said.into_iter().find_map(|before| line.strip_prefix(before))?;
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: Side, text: &[u8], expected: &[&[u8]]) {
        for cut in 0..text.len() {
            let (mut adat, mut tokens) = (Adat::default(), Vec::new());
            adat.read(side, &text[..cut], |token| tokens.push(token.to_vec()));
            adat.read(side, &text[cut..], |token| tokens.push(token.to_vec()));
            assert_eq!(tokens, expected, "cut at {cut}");
        }
    }

    #[test]
    fn tokens_are_read_however_lines_are_cut() {
        check(Side::Client, b"ADAT FgMB\r\nUSER me\r\nADAT AA==\r\n", &[&[0x16, 3, 1], &[0]]);
        check(Side::Server, b"334 go on\r\n335 ADAT=FgMB\r\n235 ADAT=/w==\r\n", &[&[0x16, 3, 1], &[255]]);
        check(Side::Client, b"ADAT no base64!\r\nADAT\r\nMIC FgMB\r\n", &[]);
    }

    #[test]
    fn a_line_without_end_holds_no_more_than_its_bound() {
        let mut adat = Adat::default();
        for _ in 0..100 {
            adat.read(Side::Client, &[b'A'; 4_000], |_| panic!("no line was whole"));
        }
        assert!(adat.lines[0].len() <= MAX_LINE);
    }
}
