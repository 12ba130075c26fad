//! Any bytes as a message and as a stream of messages: no panic, and how a stream was cut into segments changes nothing
//! of what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_dissect::dns::{Half, History, Messages, Pairs, message};

/// The messages of a stream, in segments of that length.
fn messages(bytes: &[u8], segment: usize) -> Vec<Vec<u8>> {
    let mut stream = Messages::from_start(0);
    let mut all = Vec::new();
    let mut position = 0;
    for part in bytes.chunks(segment) {
        stream.push(0, position, part, part.len(), |_, message| all.push(message.to_vec()));
        position += part.len() as u32;
    }
    all
}

fuzz_target!(|bytes: &[u8]| {
    let _ = message(bytes);
    let whole = messages(bytes, usize::MAX);
    assert_eq!(messages(bytes, 7), whole);
    // Joined in the middle.
    let mut astray = Messages::default();
    for (index, part) in bytes.chunks(50).enumerate() {
        astray.push(index as i64, (index * 61) as u32, part, part.len(), |_, _| {});
    }
    astray.finish(|_, _| {});
    let (mut pairs, mut history) = (Pairs::new(8), History::new(8));
    let (mut questions, mut told) = (0, 0);
    for (index, bytes) in whole.iter().enumerate() {
        let Ok(message) = message(bytes) else { continue };
        questions += i64::from(!message.is_response);
        let half = Half { time_ns: index as i64, message, bytes: bytes.len(), tag: () };
        pairs.message((), half, |exchange| {
            told += exchange.asked.as_ref().map_or(0, |_| 1 + exchange.retries);
            if let (Some(name), Some(answered)) = (exchange.name(), &exchange.answered) {
                history.learn(&(), 0, answered.time_ns, name, &answered.message);
            }
        });
    }
    pairs.finish(|exchange| told += exchange.asked.map_or(0, |_| 1 + exchange.retries));
    assert_eq!(told, questions, "each question is told once");
});
