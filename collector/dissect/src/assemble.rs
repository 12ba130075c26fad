//! Pieces at offsets, in any order, overlapping or sent again → bytes from the beginning, as far as they are whole.
//!
//! What came first stays. **Invariant**: holds no more than it was given, [`MAX_BYTES`] and [`MAX_PIECES`].

/// Furthest byte that is kept: post-quantum hellos and long certificate chains end far before it.
const MAX_BYTES: usize = 1 << 16;
/// Most islands at a time; a browser that scrambles its hello makes some twenty.
const MAX_PIECES: usize = 128;

/// One direction's bytes.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// Sorted, never touching each other.
    pieces: Vec<(usize, Vec<u8>)>,
}

impl Assembly {
    /// Takes a piece in; false where it had to be left out.
    pub(crate) fn insert(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let Some(end) = offset.checked_add(bytes.len()).filter(|end| *end <= MAX_BYTES) else { return false };
        if bytes.is_empty() {
            return true;
        }
        // Those that the new piece touches become one with it.
        let first = self.pieces.partition_point(|(start, piece)| start + piece.len() < offset);
        let last = first + self.pieces[first..].partition_point(|(start, _)| *start <= end);
        if first == last {
            if self.pieces.len() >= MAX_PIECES {
                return false;
            }
            self.pieces.insert(first, (offset, bytes.to_vec()));
            return true;
        }
        let (start, mut whole) = std::mem::take(&mut self.pieces[first]);
        if offset < start {
            // Known bytes go over new ones.
            let mut before = bytes[..start - offset].to_vec();
            before.append(&mut whole);
            whole = before;
        }
        let start = start.min(offset);
        let rest = self.pieces.drain(first + 1..last).collect::<Vec<_>>();
        for (at, piece) in rest {
            fill(start, &mut whole, offset, &bytes[..at - offset]);
            fill(start, &mut whole, at, &piece);
        }
        fill(start, &mut whole, offset, bytes);
        self.pieces[first] = (start, whole);
        true
    }

    /// The bytes from the beginning, up to the first hole.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self.pieces.first() {
            Some((0, bytes)) => bytes,
            _ => &[],
        }
    }
}

/// Appends what reaches beyond `whole`, which begins at `start`.
fn fill(start: usize, whole: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let known = (start + whole.len()).saturating_sub(offset);
    whole.extend_from_slice(bytes.get(known..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However bytes are cut, doubled and put out of order, the whole is the same, and no byte shows before those
        /// in front of it are there.
        #[test]
        fn any_order_of_pieces_gives_the_bytes(
            length in 1_usize..600,
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..90), 0..60),
        ) {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            let mut assembly = Assembly::default();
            let mut have = vec![false; length];
            for (at, size) in cuts {
                let at = at.index(length);
                let end = (at + size).min(length);
                prop_assert!(assembly.insert(at, &bytes[at..end]));
                have[at..end].fill(true);
                let whole = have.iter().take_while(|have| **have).count();
                prop_assert_eq!(assembly.prefix(), &bytes[..whole]);
            }
            for (at, byte) in bytes.iter().enumerate().rev() {
                assembly.insert(at, &[*byte]);
            }
            prop_assert_eq!(assembly.prefix(), &bytes[..]);
            prop_assert_eq!(assembly.pieces.len(), 1);
        }
    }

    #[test]
    fn what_came_first_stays() {
        let mut assembly = Assembly::default();
        assembly.insert(2, b"cd");
        assembly.insert(6, b"gh");
        assembly.insert(0, b"abXXefYY");
        assert_eq!(assembly.prefix(), b"abcdefgh");
    }

    #[test]
    fn it_holds_no_more_than_its_bounds() {
        let mut assembly = Assembly::default();
        assert!(!assembly.insert(MAX_BYTES, b"x"));
        assert!(!assembly.insert(usize::MAX, b"x"));
        for at in 0..MAX_PIECES {
            assert!(assembly.insert(at * 2 + 1, b"x"));
        }
        assert!(!assembly.insert(MAX_PIECES * 2 + 1, b"x"), "an island too many");
        assert!(assembly.insert(2, b"x"), "but a bridge is welcome");
    }
}
