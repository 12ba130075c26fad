//! Captures that are still being written, and callers that have had enough.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::*;

/// A file that grows: each read gives the next piece, and `Ok(0)` where an empty one stands.
struct Growing<'a> {
    pieces: VecDeque<&'a [u8]>,
}

impl<'a> Growing<'a> {
    fn new(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Growing { pieces: pieces.into_iter().collect() }
    }
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.pop_front() else { return Ok(0) };
        let now = piece.len().min(buffer.len());
        buffer[..now].copy_from_slice(&piece[..now]);
        if now < piece.len() {
            self.pieces.push_front(&piece[now..]);
        }
        Ok(now)
    }
}

/// Reads a file that was cut into `pieces`, with a wait after each.
fn follow_pieces(pieces: &[&[u8]]) -> Imported {
    let reader = Growing::new(pieces.iter().flat_map(|piece| [*piece, &[]]));
    let mut waits = 0;
    let wait = || {
        waits += 1;
        (waits <= 2 * pieces.len()).then_some(0)
    };
    let (mut flows, mut handshakes) = (Vec::new(), Vec::new());
    let on_rows = |rows: Rows| {
        flows.extend(rows.flows);
        handshakes.extend(rows.handshakes);
        ControlFlow::Continue(())
    };
    let report = follow(reader, Options::default(), wait, on_rows, |_| {}).unwrap();
    Imported { report, flows, handshakes }
}

/// A writer flushes where it likes: in the file's header, in a record's header, in a packet.
#[test]
fn a_file_that_grows_gives_the_rows_of_the_whole_file() {
    for file in [LITTLE.pcap(1, link::ETHERNET, &frames()), BIG.pcapng(&frames())] {
        let expected = read(&file);
        for size in [1, 7, 100, 5000] {
            let pieces: Vec<&[u8]> = file.chunks(size).collect();
            let imported = follow_pieces(&pieces);
            imported.has_the_rows_of(&expected, &format!("in pieces of {size}"));
            assert_eq!(imported.report.damage, None, "in pieces of {size}");
        }
    }
}

/// The file was there before its first byte: nothing is wrong with it yet.
#[test]
fn an_empty_file_may_still_become_a_capture() {
    let file = LITTLE.pcap(1, link::ETHERNET, &frames());
    assert_eq!(follow_pieces(&[&[], &[], &file]).report.packets, 106);
}

#[test]
fn what_is_over_is_handed_on_while_the_file_is_still_written() {
    let file = LITTLE.pcap(1, link::ETHERNET, &frames());
    let last_ns = frames().last().unwrap().0;
    let handed_on = Cell::new(0);
    let mut waits = 0;
    let mut before_the_end = 0;
    let wait = || {
        waits += 1;
        before_the_end = handed_on.get();
        // A minute goes by without a packet.
        (waits < 3).then_some(last_ns + 60_000_000_000)
    };
    let on_rows = |rows: Rows| {
        handed_on.set(handed_on.get() + rows.flows.len());
        ControlFlow::Continue(())
    };
    follow(&file[..], Options::default(), wait, on_rows, |_| {}).unwrap();
    assert_eq!((before_the_end, handed_on.get()), (8, 8));
}

/// A pipe that notes, at each read, how many rows were handed on by then.
struct Watched<'a> {
    inner: Growing<'a>,
    rows: &'a RefCell<Vec<FlowRow>>,
    seen: Vec<usize>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.seen.push(self.rows.borrow().len());
        self.inner.read(buffer)
    }
}

/// `tcpdump -w - | weir import -`: who waits for more must not sit on what is ready.
#[test]
fn a_pipe_gets_its_rows_before_more_is_read() {
    let frames = frames();
    let mut later = frames.clone();
    for frame in &mut later {
        frame.0 += 60_000_000_000;
    }
    let first = LITTLE.pcap(1, link::ETHERNET, &frames);
    let second: Vec<u8> =
        later.iter().flat_map(|(time_ns, bytes)| LITTLE.record(1, *time_ns, bytes)).collect();
    let rows = RefCell::new(Vec::new());
    let mut reader =
        Watched { inner: Growing::new([&first[..], &second, &[]]), rows: &rows, seen: Vec::new() };
    let on_rows = |ready: Rows| {
        rows.borrow_mut().extend(ready.flows);
        ControlFlow::Continue(())
    };
    import(&mut reader, Options::default(), on_rows, |_| {}).unwrap();
    assert_eq!(reader.seen[..3], [0, 0, 8], "the first eight are over when the second piece was read");
    assert_eq!(rows.borrow().len(), 16);
}

#[test]
fn a_caller_that_has_enough_stops_the_reading() {
    // Two captures an hour apart: the rows of the first are ready when the second's packets come.
    let mut frames = frames();
    let hour_later: Vec<Frame> =
        frames.iter().map(|(time_ns, bytes)| (time_ns + 3_600_000_000_000, bytes.clone())).collect();
    frames.extend(hour_later);
    let file = LITTLE.pcap(1, link::ETHERNET, &frames);
    let pieces = Growing::new(file.chunks(4096).chain([&[][..]]));
    let mut calls = 0;
    let on_rows = |_| {
        calls += 1;
        ControlFlow::Break(())
    };
    let report = import(pieces, Options::default(), on_rows, |_| {}).unwrap();
    assert!(report.packets < 212, "{} packets read", report.packets);
}

#[test]
fn a_disk_that_fails_says_where() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("I/O error"))
        }
    }
    let file = LITTLE.pcap(1, link::ETHERNET, &frames());
    let err = try_read(file[..1000].chain(Failing)).unwrap_err();
    assert!(err.to_string().starts_with("read the capture at byte "), "{err}");
    assert_eq!(std::error::Error::source(&err).unwrap().to_string(), "I/O error");
}
