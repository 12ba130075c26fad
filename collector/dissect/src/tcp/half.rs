//! One direction of a connection: which of its numbers are new, which were sent again, and how long the other end takes
//! to acknowledge them. TCP numbers bytes, SCTP DATA chunks.

/// Holes that are remembered at once, in which segments may still arrive.
const MAX_HOLES: usize = 16;
/// A jump ahead that no window allows (RFC 7323 caps it at 1 GiB): sequence numbers that were rewritten, or a gap in the capture.
const MAX_JUMP: u32 = 1 << 30;
/// A segment that fills a hole later than this was sent again; earlier, the network swapped two.
const REORDER_NS: i64 = 3_000_000;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Its initial sequence number, where its SYN (or an answer to it) was seen; SCTP's initiate tag.
    pub(super) isn: Option<u32>,
    /// The sequence number after the highest byte seen.
    next: Option<u32>,
    /// What is missing below `next`: from, to, and when the hole was first seen.
    holes: Vec<(u32, u32, i64)>,
    /// Whether its FIN was seen.
    pub(super) finished: bool,
    /// The byte whose acknowledgement is being timed, and when it was sent.
    timed: Option<(u32, i64)>,
    /// Smoothed time from here to the other end and back, ns.
    pub(super) srtt_ns: Option<i64>,
    /// The smallest such time, ns.
    pub(super) min_rtt_ns: Option<i64>,
    /// Of this interval.
    pub(super) bytes: i64,
    /// Of this interval.
    pub(super) packets: i64,
    /// Of this interval.
    pub(super) retransmits: i64,
}

impl Half {
    /// Counts a segment: `length` bytes of payload, plus one number each for SYN and FIN.
    pub(super) fn sent(&mut self, time_ns: i64, sequence: u32, length: u32, syn: bool, fin: bool) {
        self.packets += 1;
        let span = length + u32::from(syn) + u32::from(fin);
        if span == 0 {
            // A keep-alive has nothing new either, and lies one below; both are no news.
            self.next.get_or_insert(sequence);
            return;
        }
        // A keep-alive's byte is the last one again, on purpose; a SYN or FIN there was lost and is sent again.
        let is_keep_alive =
            length <= 1 && !syn && !fin && self.next.is_some_and(|next| sequence == next.wrapping_sub(1));
        if !is_keep_alive {
            self.bytes += i64::from(self.numbers(time_ns, sequence, span).min(length));
        }
        self.finished |= fin;
    }

    /// Counts a DATA chunk of SCTP: one number, however long it is.
    pub(super) fn chunk(&mut self, time_ns: i64, tsn: u32, length: u32) {
        if self.numbers(time_ns, tsn, 1) > 0 {
            self.bytes += i64::from(length);
        }
    }

    /// Its numbers begin there.
    pub(super) fn begins(&mut self, number: u32) {
        self.next.get_or_insert(number);
    }

    /// Takes `span` numbers from `sequence` on; how many of them are new.
    fn numbers(&mut self, time_ns: i64, sequence: u32, span: u32) -> u32 {
        let end = sequence.wrapping_add(span);
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead < MAX_JUMP {
            if ahead > 0 {
                if self.holes.len() == MAX_HOLES {
                    self.holes.remove(0);
                }
                self.holes.push((next, sequence, time_ns));
            }
            self.next = Some(end);
            self.time(end, time_ns);
            span
        } else if ahead <= u32::MAX - MAX_JUMP {
            // Not below and not ahead within any window: begin anew from here.
            self.holes.clear();
            self.next = Some(end);
            span
        } else {
            self.sent_below(time_ns, sequence, end, next)
        }
    }

    /// Numbers that begin below what was seen already; how many of them are new.
    fn sent_below(&mut self, time_ns: i64, sequence: u32, end: u32, next: u32) -> u32 {
        let beyond = distance(next, end).max(0);
        let mut fresh = beyond;
        let mut reordered = false;
        for (from, to, seen_ns) in &mut self.holes {
            let filled = distance(later(*from, sequence), earlier(*to, end));
            if filled > 0 {
                fresh += filled;
                reordered |= time_ns - *seen_ns < REORDER_NS;
                // What is left of the hole is the larger piece; a segment hardly ever lands in its middle.
                let (before, after) = (distance(*from, sequence), distance(end, *to));
                if before >= after {
                    *to = later(*from, sequence);
                } else {
                    *from = earlier(*to, end);
                }
            }
        }
        self.holes.retain(|(from, to, _)| distance(*from, *to) > 0);
        if beyond > 0 {
            self.next = Some(end);
        }
        if !reordered {
            self.retransmits += 1;
            // Karn: which of the two is being acknowledged can't be known.
            self.timed = None;
        }
        fresh.max(0) as u32
    }

    /// Begins to time the acknowledgement up to `end`, one at a time as RFC 6298 §3 has it.
    fn time(&mut self, end: u32, time_ns: i64) {
        self.timed.get_or_insert((end, time_ns));
    }

    /// Whether anything but resets was seen of it, in whatever interval.
    pub(super) fn spoke(&self) -> bool {
        self.next.is_some()
    }

    /// The other end acknowledged everything below `acknowledged`.
    pub(super) fn acknowledged(&mut self, time_ns: i64, acknowledged: u32) {
        let Some((end, sent_ns)) = self.timed else { return };
        if distance(end, acknowledged) < 0 {
            return;
        }
        self.timed = None;
        let sample = (time_ns - sent_ns).max(0);
        self.srtt_ns = Some(self.srtt_ns.map_or(sample, |smooth| smooth - smooth / 8 + sample / 8));
        self.min_rtt_ns = Some(self.min_rtt_ns.map_or(sample, |least| least.min(sample)));
    }
}

/// How far `to` lies after `from`, in the arithmetic of sequence numbers.
pub(super) fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

fn later(left: u32, right: u32) -> u32 {
    if distance(left, right) > 0 { right } else { left }
}

fn earlier(left: u32, right: u32) -> u32 {
    if distance(left, right) > 0 { left } else { right }
}
