//! Which bytes are new, which were sent again, how long the way is.

use super::*;
use Side::{Client, Server};

#[test]
fn what_is_sent_again_is_a_retransmission_and_no_new_bytes() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, &[1; 100]).wait(200 * MS).again(Client, 100, ACK, &[1; 100]);
    // Half of it new, as a sender does that packs anew.
    talk.wait(200 * MS).again(Client, 50, ACK, &[1; 80]);
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((130, 0), (2, 0)));
}

/// The kernel counts them too (`tcpi_total_retrans`).
#[test]
fn a_syn_an_answer_and_a_fin_are_sent_again_like_anything() {
    let mut talk = Talk::new();
    talk.say(Client, SYN, &[]).wait(SECOND_NS).again(Client, 1, SYN, &[]);
    talk.say(Server, SYN | ACK, &[]).wait(SECOND_NS).again(Server, 1, SYN | ACK, &[]);
    talk.say(Client, ACK, b"x").say(Client, FIN | ACK, &[]).wait(200 * MS).again(Client, 1, FIN | ACK, &[]);
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((1, 0), (2, 1)));
}

/// It repeats the last byte on purpose, or none.
#[test]
fn a_keep_alive_is_no_retransmission() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, b"question");
    for probe in [&b"n"[..], b""] {
        talk.wait(SECOND_NS).again(Client, 1, ACK, probe).say(Server, ACK, &[]);
    }
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((8, 0), (0, 0)));
}

#[test]
fn what_the_network_swapped_is_no_retransmission() {
    let mut talk = Talk::new();
    talk.open().skip(Server, 100).say(Server, ACK, &[2; 100]).wait(MS).again(Server, 200, ACK, &[1; 100]);
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((0, 200), (0, 0)));
}

/// It was lost before it came to where we look.
#[test]
fn a_hole_that_is_filled_late_was_sent_again() {
    let mut talk = Talk::new();
    talk.open()
        .skip(Server, 100)
        .say(Server, ACK, &[2; 100])
        .wait(50 * MS)
        .again(Server, 200, ACK, &[1; 100]);
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row)), ((0, 200), (0, 1)));
}

#[test]
fn holes_are_filled_piece_by_piece_and_by_pieces_too_large() {
    let mut talk = Talk::new();
    talk.open().skip(Client, 300).say(Client, ACK, &[4; 100]);
    talk.again(Client, 400, ACK, &[1; 100]).again(Client, 200, ACK, &[3; 150]);
    talk.again(Client, 320, ACK, &[2; 200]);
    assert_eq!(talk.flow().client_bytes, 400, "each byte once");
}

/// A capture may lose a gigabyte, a middlebox may rewrite the numbers: neither adds bytes that nobody saw.
#[test]
fn a_jump_of_the_numbers_counts_what_was_seen() {
    for jump in [100_000, 1 << 30, 1 << 31, (3 << 30) - 1] {
        let mut talk = Talk::new();
        talk.open().say(Client, ACK, &[1; 100]).skip(Client, jump).say(Client, ACK, &[2; 100]);
        talk.say(Client, ACK, &[3; 100]);
        assert_eq!(talk.flow().client_bytes, 300, "a jump of {jump}");
    }
}

#[test]
fn the_way_is_timed_in_both_directions() {
    let mut talk = Talk::new();
    talk.open();
    for _ in 0..20 {
        talk.say(Client, ACK, b"question").wait(10 * MS).say(Server, ACK, b"answer").wait(MS);
        talk.say(Client, ACK, &[]);
    }
    let row = talk.flow();
    assert_eq!((row.rtt_us, row.rtt_min_us), (Some(11_000), Some(11_000)));
}

#[test]
fn the_time_is_smoothed_and_the_least_is_kept() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, b"question").wait(90 * MS).say(Server, ACK, &[]);
    let row = talk.flow();
    // RFC 6298: 7/8 of 10 ms and 1/8 of 90 ms, and the client's side of 1 ms.
    assert_eq!((row.rtt_us, row.rtt_min_us), (Some(21_000), Some(11_000)));
}

/// Karn's rule: which of the two was acknowledged can't be known.
#[test]
fn what_was_sent_twice_is_not_timed() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, b"question").wait(200 * MS).again(Client, 8, ACK, b"question");
    talk.wait(10 * MS).say(Server, ACK, &[]);
    let row = talk.flow();
    assert_eq!((row.rtt_us, row.rtt_min_us), (Some(11_000), Some(11_000)));
}

#[test]
fn numbers_wrap_around() {
    let close_to_the_end = u32::MAX - 3;
    let mut talk = Talk::between(close_to_the_end, close_to_the_end);
    talk.open().say(Client, ACK, &[1; 10]).wait(10 * MS).say(Server, ACK, &[2; 20]).wait(MS);
    talk.say(Client, ACK, &[]).again(Client, 10, ACK, &[1; 10]).close();
    let row = talk.flow();
    assert_eq!((bytes(&row), retransmits(&row), life(&row)), ((10, 20), (1, 0), ("only", Some("fin"))));
    assert_eq!((row.rtt_us, row.rtt_min_us), (Some(11_000), Some(11_000)));
}

#[test]
fn a_snapshot_length_doesnt_change_the_numbers() {
    let conversation = |snaplen| {
        let mut talk = Talk::new();
        talk.snaplen = snaplen;
        talk.open().say(Client, ACK, &[b'x'; 500]).wait(MS).say(Server, ACK, &[b'y'; 700]).close();
        let mut row = talk.flow();
        row.encryption = None;
        row
    };
    let whole = conversation(usize::MAX);
    for snaplen in [0, 1, 64, 499] {
        assert_eq!(conversation(snaplen), whole, "of {snaplen} bytes");
    }
}
