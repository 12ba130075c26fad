//! DNS over TCP: every message once, whatever the segments.

use proptest::prelude::*;

use super::*;

const START: u32 = u32::MAX - 50;

fn stream(messages: &[Vec<u8>]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat())
        .collect()
}

fn messages(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| Wire::question(index as u16, "a.rather.long.example.org", A).bytes).collect()
}

#[test]
fn a_hole_costs_the_messages_in_it() {
    let sent = messages(6);
    let bytes = stream(&sent);
    let length = bytes.len() / 6;
    let mut read = Vec::new();
    let mut direction = Messages::from_start(START);
    // The second one's end and the third one never came; the fourth has a segment of its own.
    for (from, to) in [(0, length + 20), (3 * length, 5 * length), (5 * length, 6 * length)] {
        let position = START.wrapping_add(from as u32);
        direction.push(0, position, &bytes[from..to], to - from, |_, message| read.push(message.to_vec()));
    }
    assert_eq!(read.len(), 1);
    direction.finish(|_, message| read.push(message.to_vec()));
    let begun = sent[1][..18].to_vec();
    assert_eq!(read, [sent[0].clone(), begun, sent[3].clone(), sent[4].clone(), sent[5].clone()]);
    assert_eq!(direction.gaps(), 1);
}

/// A capture that lost a packet: who acknowledges it has it, and nobody sends it again.
#[test]
fn what_the_other_end_has_is_not_waited_for() {
    let sent = messages(3);
    let bytes = stream(&sent);
    let length = bytes.len() / 3;
    let mut read = Vec::new();
    let mut direction = Messages::from_start(0);
    direction.push(5, length as u32, &bytes[length..2 * length], length, |_, _| unreachable!("it waits"));
    direction.acknowledged(length as u32, |_, _| unreachable!("it may still come"));
    direction.acknowledged(2 * length as u32, |time_ns, message| read.push((time_ns, message.to_vec())));
    assert_eq!(read, [(5, sent[1].clone())], "with the time that it came at");
    // Neither is what nobody sent again for a second.
    direction.push(7, 3 * length as u32, &bytes[..length], length, |_, _| unreachable!("it waits"));
    let later = 7 + 1_000_000_001;
    direction.push(later, 4 * length as u32, &bytes[length..2 * length], length, |time_ns, message| {
        read.push((time_ns, message.to_vec()));
    });
    assert_eq!(read[1..], [(7, sent[0].clone()), (later, sent[1].clone())]);
}

/// `tcpdump -s 100`: what a segment's end would have said is lost, the next begins anew.
#[test]
fn a_segment_that_the_capture_cut_costs_its_end() {
    let sent = messages(4);
    let bytes = stream(&sent);
    let length = bytes.len() / 4;
    let mut read = Vec::new();
    let mut direction = Messages::from_start(0);
    direction.push(0, 0, &bytes[..length + 9], 2 * length, |_, message| read.push(message.to_vec()));
    direction.push(0, 2 * length as u32, &bytes[2 * length..], 2 * length, |_, message| {
        read.push(message.to_vec());
    });
    assert_eq!(read, [sent[0].clone(), sent[1][..7].to_vec(), sent[2].clone(), sent[3].clone()]);
}

#[test]
fn a_stream_that_began_before_us_is_joined_at_a_message() {
    let sent = messages(2);
    let bytes = stream(&sent);
    let mut read = Vec::new();
    let mut direction = Messages::default();
    direction.push(0, 70, b"the end of something older", 26, |_, message| read.push(message.to_vec()));
    direction.push(0, 96, &bytes, bytes.len(), |_, message| read.push(message.to_vec()));
    assert_eq!(read, sent);
}

#[test]
fn what_waits_is_bounded() {
    let mut direction = Messages::from_start(0);
    let mut read = 0;
    for index in 1..1000_u32 {
        let message = stream(&messages(1));
        direction.push(0, index * 1000, &[&message[..], &[0; 900]].concat(), 999, |_, _| read += 1);
    }
    assert!(direction.gaps() > 500, "{}", direction.gaps());
    assert!(read > 500, "{read}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn segments_in_any_order_give_each_message_once(
        lengths in proptest::collection::vec(0_usize..700, 1..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        order in any::<u64>(),
        again in any::<prop::sample::Index>(),
    ) {
        let sent: Vec<Vec<u8>> = lengths.iter().map(|length| vec![*length as u8; *length]).collect();
        let bytes = stream(&sent);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut segments: Vec<(usize, usize)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        // One comes twice, and longer.
        let (from, _) = segments[again.index(segments.len())];
        segments.push((from, bytes.len()));
        segments.sort_by_key(|(from, to)| (order.rotate_left(*from as u32 % 64) ^ *to as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut read = Vec::new();
        let mut direction = Messages::from_start(START);
        for (from, to) in segments {
            let position = START.wrapping_add(from as u32);
            direction.push(0, position, &bytes[from..to], to - from, |_, message| read.push(message.to_vec()));
        }
        prop_assert_eq!(read, sent);
        prop_assert_eq!(direction.gaps(), 0);
    }

    #[test]
    fn any_segments_are_taken(
        segments in proptest::collection::vec((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..60), 0_usize..9), 0..30),
    ) {
        let mut direction = Messages::default();
        for (position, bytes, beyond) in segments {
            direction.push(0, position % 400, &bytes, bytes.len() + beyond, |_, _| {});
        }
        direction.finish(|_, _| {});
    }
}
