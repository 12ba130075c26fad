//! Domain names on the wire → text.

use std::fmt::Write as _;

use smol_str::SmolStr;

/// Longest name on the wire, length bytes included (RFC 1035 §3.1).
const MAX_WIRE: usize = 255;

/// Reads a name that begins at `at`: its text, and where it ends in the message. `None`: no name is there.
///
/// In lower case, since case carries nothing in a name and resolvers scramble it on purpose (0x20); without the dot at
/// its end; the root is `.`. A dot or backslash in a label is escaped by a backslash, what can't be printed by three
/// digits (RFC 1035 §5.1).
pub(super) fn read(message: &[u8], at: usize) -> Option<(SmolStr, usize)> {
    let mut text = String::new();
    let end = walk(message, at, |label| {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                0x21..=0x7e => text.push(char::from(byte.to_ascii_lowercase())),
                other => {
                    // Writing to a string can't fail.
                    let _ = write!(text, "\\{other:03}");
                }
            }
        }
    })?;
    Some((if text.is_empty() { SmolStr::new_static(".") } else { SmolStr::new(text) }, end))
}

/// Where the name that begins at `at` ends, without following pointers.
pub(super) fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// Calls `label` for each label of a name; returns where the name ends.
fn walk(message: &[u8], start: usize, mut label: impl FnMut(&[u8])) -> Option<usize> {
    let (mut at, mut end, mut wire) = (start, None, 1);
    // Where the part that is being read began: a pointer must lead before it, so that it can't lead in a circle.
    let mut begin = start;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(end.unwrap_or(at + 1)),
            1..=63 => {
                let length = usize::from(length);
                wire += 1 + length;
                if wire > MAX_WIRE {
                    return None;
                }
                label(message.get(at + 1..at + 1 + length)?);
                at += 1 + length;
            }
            0xc0.. => {
                let target = usize::from(u16::from_be_bytes([length & 0x3f, *message.get(at + 1)?]));
                end.get_or_insert(at + 2);
                if target >= begin {
                    return None;
                }
                (at, begin) = (target, target);
            }
            // Extended label types never came to be (RFC 6891 §5).
            _ => return None,
        }
    }
}
