//! The frames of an Initial packet (RFC 9000 §19, as far as §12.4 allows them there).

use super::packet::varint;

/// A frame, as far as it tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A piece of the handshake.
    Crypto { offset: u64, bytes: &'a [u8] },
    /// The end, and why.
    Close { error: u64 },
    /// Padding, a PING, an acknowledgement: never handed on.
    Other,
}

/// Hands on each frame, up to one that can't be read.
pub(super) fn frames<'a>(mut rest: &'a [u8], google: bool, mut on_frame: impl FnMut(Frame<'a>)) {
    while !rest.is_empty() {
        match frame(&mut rest, google) {
            Some(Frame::Other) => {}
            Some(frame) => on_frame(frame),
            None => return,
        }
    }
}

fn frame<'a>(rest: &mut &'a [u8], google: bool) -> Option<Frame<'a>> {
    const PADDING: u64 = 0x00;
    const PING: u64 = 0x01;
    const ACK: u64 = 0x02;
    const ACK_ECN: u64 = 0x03;
    const CRYPTO: u64 = 0x06;
    const GOOGLE_PING: u64 = 0x07;
    const GOOGLE_CRYPTO: u64 = 0x08;
    const CONNECTION_CLOSE: u64 = 0x1c;
    match varint(rest)? {
        PADDING => {
            let end = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
            *rest = &rest[end..];
            Some(Frame::Other)
        }
        PING => Some(Frame::Other),
        GOOGLE_PING if google => Some(Frame::Other),
        kind @ (ACK | ACK_ECN) => {
            let _largest = varint(rest)?;
            let _delay = varint(rest)?;
            let ranges = varint(rest)?;
            let _first = varint(rest)?;
            // Each takes two bytes at least, so the packet's end bounds this.
            for _ in 0..ranges {
                varint(rest)?;
                varint(rest)?;
            }
            if kind == ACK_ECN {
                for _ in 0..3 {
                    varint(rest)?;
                }
            }
            Some(Frame::Other)
        }
        kind if kind == if google { GOOGLE_CRYPTO } else { CRYPTO } => {
            let offset = varint(rest)?;
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Some(Frame::Crypto { offset, bytes })
        }
        CONNECTION_CLOSE => {
            let error = varint(rest)?;
            let _frame = varint(rest)?;
            let reason = usize::try_from(varint(rest)?).ok()?;
            *rest = rest.get(reason..)?;
            Some(Frame::Close { error })
        }
        _ => None,
    }
}

/// A transport error's name (RFC 9000 §20.1), lower case as all our reasons are; crypto errors are TLS alerts.
pub(super) fn error_name(error: u64) -> Option<&'static str> {
    Some(match error {
        0x00 => "no_error",
        0x01 => "internal_error",
        0x02 => "connection_refused",
        0x03 => "flow_control_error",
        0x04 => "stream_limit_error",
        0x05 => "stream_state_error",
        0x06 => "final_size_error",
        0x07 => "frame_encoding_error",
        0x08 => "transport_parameter_error",
        0x09 => "connection_id_limit_error",
        0x0a => "protocol_violation",
        0x0b => "invalid_token",
        0x0c => "application_error",
        0x0d => "crypto_buffer_exceeded",
        0x0e => "key_update_error",
        0x0f => "aead_limit_reached",
        0x10 => "no_viable_path",
        0x11 => "version_negotiation_error",
        _ => return None,
    })
}
