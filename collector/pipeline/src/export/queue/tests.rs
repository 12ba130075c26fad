use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn open(dir: &TempDir, most_bytes: u64) -> Queue {
    let (queue, damaged) = Queue::open(dir.path(), most_bytes).expect("opens");
    assert_eq!(damaged, 0);
    queue
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A record's payload: its number, and as many bytes more.
fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + size, 7);
    payload
}

fn number(record: &Record) -> u64 {
    u64::from_le_bytes(record.payload[..8].try_into().expect("eight bytes"))
}

/// The numbers of all that waits, in order; taken.
fn drain(queue: &mut Queue) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(record) = queue.peek().expect("reads") {
        numbers.push(number(&record));
        queue.done(&record).expect("is noted");
    }
    numbers
}

#[test]
fn what_is_not_acknowledged_comes_again_after_a_restart_and_nothing_else() {
    let dir = dir();
    let mut queue = open(&dir, 1 << 20);
    for n in 0..5 {
        assert_eq!(queue.push(Kind::Spans, 1, &payload(n, 10)).expect("writes"), []);
    }
    for n in 0..2 {
        let record = queue.peek().expect("reads").expect("one");
        assert_eq!((number(&record), record.kind, record.items), (n, Kind::Spans, 1));
        queue.done(&record).expect("is noted");
    }
    // Read, and not answered.
    assert_eq!(number(&queue.peek().expect("reads").expect("one")), 2);
    drop(queue);
    let mut queue = open(&dir, 1 << 20);
    queue.push(Kind::Points, 3, &payload(5, 0)).expect("writes");
    assert_eq!(drain(&mut queue), [2, 3, 4, 5]);
    assert_eq!(queue.bytes(), 0);
    drop(queue);
    assert!(drain(&mut open(&dir, 1 << 20)).is_empty());
    let files = fs::read_dir(dir.path()).expect("lists").count();
    assert!(files <= 4, "what was sent is deleted: {files} files");
}

#[test]
fn a_torn_end_is_cut_and_a_damaged_record_is_counted() {
    let dir = dir();
    let mut queue = open(&dir, 1 << 20);
    for n in 0..3 {
        queue.push(Kind::Spans, 1, &payload(n, 10)).expect("writes");
    }
    let path = path_of(dir.path(), 1);
    let whole = fs::read(&path).expect("reads");
    drop(queue);
    for cut in 1..(whole.len() / 3) {
        fs::write(&path, &whole[..whole.len() - cut]).expect("writes");
        let (mut queue, damaged) = Queue::open(dir.path(), 1 << 20).expect("opens");
        assert_eq!((drain(&mut queue), damaged), (vec![0, 1], 0), "{cut} bytes short");
        let _ = fs::remove_file(dir.path().join("cursor"));
    }
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&path, &damaged).expect("writes");
    let (mut queue, count) = Queue::open(dir.path(), 1 << 20).expect("opens");
    assert_eq!((drain(&mut queue), count), (vec![0, 1], 1));
}

#[test]
fn a_record_that_is_larger_than_the_bound_is_given_up_alone() {
    let dir = dir();
    let mut queue = open(&dir, 1_000);
    queue.push(Kind::Spans, 1, &payload(0, 0)).expect("writes");
    assert_eq!(queue.push(Kind::Points, 9, &payload(1, 2_000)).expect("writes"), [(Kind::Points, 9)]);
    assert_eq!(drain(&mut queue), [0]);
}

proptest! {
    // Each has a folder of its own, and files in it.
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is pushed, sent, and begun again in between: each item was sent or counted as given up, in order, and no more
    /// waits than may.
    #[test]
    fn nothing_goes_missing_uncounted(
        steps in prop::collection::vec((0..6_u8, 0..400_usize), 1..100),
        most_bytes in 1_000..8_000_u64,
    ) {
        let dir = dir();
        let mut queue = open(&dir, most_bytes);
        let (mut pushed, mut sent, mut given_up) = (0, Vec::new(), 0);
        for (step, size) in steps {
            match step {
                0..3 => {
                    let gone = queue.push(Kind::Spans, 1, &payload(pushed, size)).expect("writes");
                    given_up += gone.into_iter().map(|(_, items)| items).sum::<u64>();
                    pushed += 1;
                }
                3..5 => {
                    if let Some(record) = queue.peek().expect("reads") {
                        sent.push(number(&record));
                        queue.done(&record).expect("is noted");
                    }
                }
                _ => {
                    drop(queue);
                    queue = open(&dir, most_bytes);
                }
            }
            prop_assert!(queue.bytes() <= most_bytes);
        }
        sent.extend(drain(&mut queue));
        prop_assert!(sent.is_sorted_by(|earlier, later| earlier < later), "{sent:?}");
        prop_assert_eq!(sent.len() as u64 + given_up, pushed);
    }

    /// Files that something else wrote.
    #[test]
    fn no_bytes_are_too_wild(bytes in prop::collection::vec(any::<u8>(), 0..300), cursor in ".{0,20}") {
        let dir = dir();
        fs::write(path_of(dir.path(), 3), &bytes).expect("writes");
        fs::write(dir.path().join("cursor"), cursor).expect("writes");
        let (mut queue, _) = Queue::open(dir.path(), 1 << 20).expect("opens");
        queue.push(Kind::Spans, 1, &payload(1, 1)).expect("writes");
        prop_assert_eq!(queue.peek().expect("reads").map(|record| record.items), Some(1));
    }
}
