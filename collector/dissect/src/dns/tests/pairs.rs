//! Questions and answers find each other, and none is told twice or forgotten.

use proptest::prelude::*;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

fn half(time_ns: i64, wire: &Wire) -> Half<()> {
    Half { time_ns, message: wire.parse(), bytes: wire.bytes.len(), tag: () }
}

/// What becomes of messages: `(conversation, seconds, message)`.
fn exchanges(messages: &[(u8, i64, Wire)]) -> Vec<Exchange<()>> {
    let mut pairs = Pairs::new(100);
    let mut all = Vec::new();
    for (conversation, seconds, wire) in messages {
        pairs.expire(seconds * SECOND_NS, |exchange| all.push(exchange));
        pairs.message(*conversation, half(seconds * SECOND_NS, wire), |exchange| all.push(exchange));
    }
    pairs.finish(|exchange| all.push(exchange));
    all
}

/// Name asked, whether asked and answered, retries, latency in seconds.
fn told(messages: &[(u8, i64, Wire)]) -> Vec<(String, bool, bool, i64, Option<i64>)> {
    let tell = |exchange: &Exchange<()>| {
        let name = exchange.name().map(ToString::to_string).unwrap_or_default();
        let latency = exchange.latency_ns().map(|latency_ns| latency_ns / SECOND_NS);
        (name, exchange.asked.is_some(), exchange.answered.is_some(), exchange.retries, latency)
    };
    exchanges(messages).iter().map(tell).collect()
}

fn ask(id: u16, name: &str) -> Wire {
    Wire::question(id, name, A)
}

fn reply(id: u16, name: &str) -> Wire {
    Wire::answer(id, name, A, 0)
}

#[test]
fn an_answer_finds_its_question_by_id_name_and_conversation() {
    let told = told(&[
        (1, 0, ask(7, "a")),
        (2, 1, ask(7, "b")),
        (1, 1, Wire::question(7, "a", AAAA)),
        (2, 3, reply(7, "B")),
        (1, 4, reply(7, "a")),
        (1, 5, Wire::answer(7, "a", AAAA, 0)),
    ]);
    let expected = [("b", Some(2)), ("a", Some(4)), ("a", Some(4))];
    assert_eq!(told, expected.map(|(name, latency)| (name.to_owned(), true, true, 0, latency)));
}

#[test]
fn a_question_sent_again_is_one_question() {
    let told = told(&[
        (1, 0, ask(7, "a")),
        (1, 5, ask(7, "a")),
        // Ten seconds after the first, five after the second: not yet given up.
        (2, 11, ask(1, "other")),
        (1, 12, reply(7, "a")),
        // The answer to the second.
        (1, 13, reply(7, "a")),
    ]);
    let expected = [("a".to_owned(), true, true, 1, Some(12)), ("other".to_owned(), true, false, 0, None)];
    assert_eq!(told, expected);
}

#[test]
fn a_question_without_answer_is_told_in_time() {
    let told = told(&[
        (1, 0, ask(7, "a")),
        (9, 11, ask(1, "other")),
        (1, 12, reply(7, "a")),
        (9, 12, reply(1, "other")),
        // The same question much later is another one.
        (1, 40, ask(7, "a")),
        (1, 41, reply(7, "a")),
    ]);
    let expected = [
        ("a", true, false, None),
        ("a", false, true, None),
        ("other", true, true, Some(1)),
        ("a", true, true, Some(1)),
    ];
    assert_eq!(
        told,
        expected.map(|(name, asked, answered, latency)| (name.to_owned(), asked, answered, 0, latency))
    );
}

/// FORMERR of servers that can't read the question.
#[test]
fn an_answer_that_repeats_no_question_is_matched_by_its_id() {
    let mut wire = reply(7, "a");
    wire.bytes.truncate(12);
    (wire.bytes[3], wire.bytes[5]) = (0x81, 0);
    let told = told(&[(1, 0, ask(7, "a")), (1, 1, wire)]);
    assert_eq!(told, [("a".to_owned(), true, true, 0, Some(1))]);
}

#[test]
fn too_many_open_questions_are_told_early_and_counted() {
    let mut pairs = Pairs::new(10);
    let mut told = Vec::new();
    for id in 0..100 {
        pairs.message((), half(0, &ask(id, "a")), |exchange| told.push(exchange.asked.unwrap().message.id));
    }
    assert_eq!(told, (0..90).collect::<Vec<u16>>());
    assert_eq!(pairs.evicted(), 90);
}

proptest! {
    /// Each question is in exactly one exchange, as its first or as a retry; each answer in one, or a copy of one.
    #[test]
    fn nothing_is_lost_or_doubled(
        messages in proptest::collection::vec((0_u8..3, 0_i64..4, 0_u16..3, 0_u8..3, any::<bool>()), 0..80),
        limit in 1_usize..20,
    ) {
        let mut pairs = Pairs::new(limit);
        let mut all: Vec<Exchange<()>> = Vec::new();
        let (mut now_ns, mut questions, mut answers) = (0, 0, 0);
        for (conversation, after, id, name, is_answer) in messages {
            now_ns += after * SECOND_NS;
            let name = ["a", "b", "c"][usize::from(name)];
            let wire = if is_answer { reply(id, name) } else { ask(id, name) };
            *(if is_answer { &mut answers } else { &mut questions }) += 1;
            pairs.expire(now_ns, |exchange| all.push(exchange));
            pairs.message(conversation, half(now_ns, &wire), |exchange| all.push(exchange));
        }
        pairs.finish(|exchange| all.push(exchange));
        let asked: i64 = all.iter().filter(|exchange| exchange.asked.is_some()).map(|exchange| 1 + exchange.retries).sum();
        prop_assert_eq!(asked, questions);
        let answered = all.iter().filter(|exchange| exchange.answered.is_some()).count() as i64;
        prop_assert!(answered <= answers);
        prop_assert!(all.iter().all(|exchange| exchange.latency_ns().is_none_or(|latency_ns| latency_ns >= 0)));
        if answers > 0 {
            prop_assert!(answered > 0);
        }
        pairs.finish(|_| unreachable!("all was told"));
    }
}
