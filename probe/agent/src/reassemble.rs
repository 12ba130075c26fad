//! One direction's first bytes in stream order, out of chunks that come late, twice or overlapping.

use std::collections::BTreeMap;

use weir_abi::HELLO_LIMIT;

/// What was received of one direction.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Position of the next byte in order.
    next: u32,
    /// Chunks beyond it, by position; the kernel copies no more than [`HELLO_LIMIT`].
    waiting: BTreeMap<u32, Vec<u8>>,
}

impl Stream {
    /// Takes a chunk; calls `in_order` with what can be read now, in order, each byte once.
    pub(crate) fn push(&mut self, offset: u32, bytes: &[u8], mut in_order: impl FnMut(&[u8])) {
        if offset > self.next {
            if offset < HELLO_LIMIT {
                let chunk = self.waiting.entry(offset).or_default();
                if chunk.len() < bytes.len() {
                    bytes.clone_into(chunk);
                }
            }
            return;
        }
        self.take(offset, bytes, &mut in_order);
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= self.next) {
            let (offset, bytes) = first.remove_entry();
            self.take(offset, &bytes, &mut in_order);
        }
    }

    /// Whether bytes wait for others that did not come.
    pub(crate) fn has_gap(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn take(&mut self, offset: u32, bytes: &[u8], in_order: &mut impl FnMut(&[u8])) {
        let seen = (self.next - offset) as usize;
        if let Some(new) = bytes.get(seen..).filter(|new| !new.is_empty()) {
            self.next += new.len() as u32;
            in_order(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[(u32, &str)], expected: &str) {
        let mut stream = Stream::default();
        let mut read = Vec::new();
        for (offset, text) in chunks {
            stream.push(*offset, text.as_bytes(), |bytes| read.extend_from_slice(bytes));
        }
        assert_eq!(String::from_utf8_lossy(&read), expected, "{chunks:?}");
    }

    #[test]
    fn each_byte_comes_once_and_in_order() {
        check(&[(0, "abc"), (3, "def")], "abcdef");
        check(&[(3, "def"), (0, "abc")], "abcdef");
        check(&[(0, "abc"), (0, "abc"), (1, "bcde")], "abcde");
        check(&[(4, "ef"), (2, "cdef"), (0, "ab"), (6, "g")], "abcdefg");
        check(&[(2, "c"), (2, "cde"), (0, "ab")], "abcde");
    }

    #[test]
    fn nothing_is_read_beyond_a_hole() {
        check(&[(0, "ab"), (3, "d")], "ab");
        check(&[(HELLO_LIMIT + 1, "x")], "");
    }
}
