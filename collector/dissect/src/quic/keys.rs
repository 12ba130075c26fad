//! Keys of Initial packets, which everyone can derive from the packets themselves (RFC 9001 §5).

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use ring::hkdf;

use super::version::Scheme;

const SAMPLE: usize = 16;

/// The keys of one direction.
pub(super) struct Keys {
    packet: LessSafeKey,
    header: quic::HeaderProtectionKey,
    iv: [u8; 12],
    /// The highest packet number so far, which the next one's is told from.
    largest: Option<u64>,
}

/// Both directions' keys: what the client sends, what the server sends.
pub(super) fn derive(scheme: &Scheme, dcid: &[u8]) -> Option<[Keys; 2]> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &scheme.salt).extract(dcid);
    let direction = |label| {
        let secret: hkdf::Prk = expand(&secret, "", label, hkdf::HKDF_SHA256, 32, |okm| okm.into())?;
        Some(Keys {
            packet: LessSafeKey::new(expand(&secret, scheme.label, "key", &AES_128_GCM, 16, |okm| {
                UnboundKey::from(okm)
            })?),
            header: expand(&secret, scheme.label, "hp", &quic::AES_128, 16, |okm| okm.into())?,
            iv: expand(&secret, scheme.label, "iv", Iv, 12, |okm| {
                let mut iv = [0; 12];
                okm.fill(&mut iv).map(|()| iv)
            })?
            .ok()?,
            largest: None,
        })
    };
    Some([direction("client in")?, direction("server in")?])
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
fn expand<L: hkdf::KeyType, T>(
    secret: &hkdf::Prk,
    prefix: &str,
    label: &str,
    kind: L,
    length: u8,
    take: impl FnOnce(hkdf::Okm<'_, L>) -> T,
) -> Option<T> {
    let whole = "tls13 ".len() + prefix.len() + label.len();
    let head = [0, length, u8::try_from(whole).ok()?];
    let info = [&head[..], b"tls13 ", prefix.as_bytes(), label.as_bytes(), &[0]];
    secret.expand(&info, kind).ok().map(take)
}

struct Iv;

impl hkdf::KeyType for Iv {
    fn len(&self) -> usize {
        12
    }
}

impl Keys {
    /// The frames of a packet whose number begins at `number_at`, decrypted into `scratch`; `None` where the keys are
    /// not its own, or it was changed on the way.
    pub(super) fn open<'a>(
        &mut self,
        packet: &[u8],
        number_at: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        // As if the number were four bytes long, whatever it is (RFC 9001 §5.4.2).
        let sample = packet.get(number_at + 4..number_at + 4 + SAMPLE)?;
        let mask = self.header.new_mask(sample).ok()?;
        scratch.clear();
        scratch.extend_from_slice(packet);
        scratch[0] ^= mask[0] & 0x0f;
        let number_length = usize::from(scratch[0] & 3) + 1;
        let number_end = number_at + number_length;
        let mut truncated = 0;
        for (byte, mask) in scratch[number_at..number_end].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
            truncated = truncated << 8 | u64::from(*byte);
        }
        let number = whole_number(self.largest, truncated, 8 * number_length as u32);
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        let (header, content) = scratch.split_at_mut(number_end);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let frames = self.packet.open_in_place(nonce, Aad::from(&*header), content).ok()?;
        self.largest = self.largest.max(Some(number));
        Some(frames)
    }
}

#[cfg(test)]
impl Keys {
    /// The reverse of [`Keys::open`]: `header` ends with a packet number of two bytes, and has room for the length
    /// of what follows it, tag included.
    pub(super) fn seal(&self, header: &[u8], number: u16, frames: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        nonce[10] ^= (number >> 8) as u8;
        nonce[11] ^= number as u8;
        let mut content = frames.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.packet.seal_in_place_separate_tag(nonce, Aad::from(header), &mut content).unwrap();
        content.extend(tag.as_ref());
        let mut packet = header.to_vec();
        let number_at = packet.len() - 2;
        packet.extend(content);
        let mask = self.header.new_mask(&packet[number_at + 4..number_at + 4 + SAMPLE]).unwrap();
        packet[0] ^= mask[0] & 0x0f;
        packet[number_at] ^= mask[1];
        packet[number_at + 1] ^= mask[2];
        packet
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("largest", &self.largest).finish_non_exhaustive()
    }
}

/// The packet number whose last `bits` were sent: the one nearest to what comes next (RFC 9000 appendix A.3).
fn whole_number(largest: Option<u64>, truncated: u64, bits: u32) -> u64 {
    let expected = largest.map_or(0, |largest| largest + 1);
    let window = 1_u64 << bits;
    let candidate = expected & !(window - 1) | truncated;
    if candidate + window / 2 <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_their_last_bits() {
        // The example of RFC 9000 appendix A.3, and both sides of a window.
        assert_eq!(whole_number(Some(0xa82f_30ea), 0x9b32, 16), 0xa82f_9b32);
        assert_eq!(whole_number(None, 0, 8), 0);
        assert_eq!(whole_number(None, 200, 8), 200);
        assert_eq!(whole_number(Some(255), 0, 8), 256);
        assert_eq!(whole_number(Some(256), 255, 8), 255);
    }
}
