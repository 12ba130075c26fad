//! Questions and answers → exchanges.
//!
//! An exchange is known by its conversation (what the caller says a conversation is: a 5-tuple, a socket), its id and
//! its question; an answer that repeats no question is matched by the id alone. A question that is sent again before
//! its answer is the same exchange; so is an answer that comes twice. Every question is reported once: with its answer,
//! or after [`TIMEOUT_NS`] without; every answer is, also where nobody saw the question.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::{Message, Question};

/// A question that is unanswered so long after it was last sent stays so; resolvers give up before that.
pub const TIMEOUT_NS: i64 = 10_000_000_000;

/// One of an exchange's two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half<T> {
    /// When it was (first) seen.
    pub time_ns: i64,
    /// What it says.
    pub message: Message,
    /// How long it was on the wire.
    pub bytes: usize,
    /// What the caller knows besides.
    pub tag: T,
}

/// A question, its answer, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<T> {
    /// Absent: nobody saw it.
    pub asked: Option<Half<T>>,
    /// Absent: it never came.
    pub answered: Option<Half<T>>,
    /// How often the question was sent again.
    pub retries: i64,
}

#[derive(Debug)]
struct Open<T> {
    number: u64,
    question: Option<Question>,
    last_ns: i64,
    /// `None`: it is answered, and remembered for another answer.
    asked: Option<Half<T>>,
    retries: i64,
}

/// The questions that are open, of all conversations.
#[derive(Debug)]
pub struct Pairs<K, T> {
    open: HashMap<(K, u16), Vec<Open<T>>>,
    /// When each was to be looked at again; oldest first, one for each that is open.
    order: VecDeque<(i64, K, u16, u64)>,
    count: usize,
    limit: usize,
    numbers: u64,
    evicted: u64,
}

impl<K: Hash + Eq + Clone, T> Pairs<K, T> {
    /// At most `limit` exchanges at once; beyond, the oldest are reported as they are.
    pub fn new(limit: usize) -> Pairs<K, T> {
        Pairs {
            open: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            limit: limit.max(1),
            numbers: 0,
            evicted: 0,
        }
    }

    /// Takes a message; `on_exchange` gets what it completes, and what there is no room for any more.
    pub fn message(&mut self, conversation: K, half: Half<T>, mut on_exchange: impl FnMut(Exchange<T>)) {
        if half.message.is_response {
            on_exchange_if(self.answer(conversation, half), &mut on_exchange);
        } else {
            self.question(conversation, half);
        }
        while self.count > self.limit {
            let Some((_, conversation, id, number)) = self.order.pop_front() else { break };
            let oldest = self.remove(&conversation, id, number);
            if let Some(exchange) = oldest.and_then(Open::unanswered) {
                self.evicted += 1;
                on_exchange(exchange);
            }
        }
    }

    /// Reports what is unanswered for too long.
    pub fn expire(&mut self, now_ns: i64, mut on_exchange: impl FnMut(Exchange<T>)) {
        while let Some((due_ns, ..)) = self.order.front().filter(|(due_ns, ..)| *due_ns <= now_ns) {
            let due_ns = *due_ns;
            let Some((_, conversation, id, number)) = self.order.pop_front() else { break };
            let last_ns = self.find(&conversation, id, number).map_or(i64::MIN, |open| open.last_ns);
            // Sent again in the meantime: its turn comes later.
            if last_ns.saturating_add(TIMEOUT_NS) > due_ns {
                self.order.push_back((last_ns.saturating_add(TIMEOUT_NS), conversation, id, number));
                continue;
            }
            let over = self.remove(&conversation, id, number);
            on_exchange_if(over.and_then(Open::unanswered), &mut on_exchange);
        }
    }

    /// Reports all that is open: nothing more will be seen.
    pub fn finish(&mut self, mut on_exchange: impl FnMut(Exchange<T>)) {
        while let Some((_, conversation, id, number)) = self.order.pop_front() {
            let open = self.remove(&conversation, id, number);
            on_exchange_if(open.and_then(Open::unanswered), &mut on_exchange);
        }
    }

    /// Questions that were reported before their time, because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn question(&mut self, conversation: K, half: Half<T>) {
        let id = half.message.id;
        let question = half.message.questions.first().cloned();
        let same = self.open.entry((conversation.clone(), id)).or_default();
        if let Some(open) = same.iter_mut().find(|open| open.question == question) {
            open.last_ns = open.last_ns.max(half.time_ns);
            if open.asked.is_some() {
                open.retries += 1;
            } else {
                // It was answered, but the answer didn't arrive, or the id is used again: asked anew.
                open.asked = Some(half);
                open.retries = 0;
            }
            return;
        }
        self.numbers += 1;
        self.count += 1;
        let (time_ns, number) = (half.time_ns, self.numbers);
        same.push(Open { number, question, last_ns: time_ns, asked: Some(half), retries: 0 });
        self.order.push_back((time_ns.saturating_add(TIMEOUT_NS), conversation, id, number));
    }

    fn answer(&mut self, conversation: K, half: Half<T>) -> Option<Exchange<T>> {
        let id = half.message.id;
        let question = half.message.questions.first();
        let known = self.open.get_mut(&(conversation.clone(), id)).and_then(|same| {
            // Servers that can't read a question repeat none.
            same.iter_mut().find(|open| question.is_none() || open.question.as_ref() == question)
        });
        if let Some(open) = known {
            open.last_ns = open.last_ns.max(half.time_ns);
            let asked = open.asked.take()?;
            return Some(Exchange { asked: Some(asked), answered: Some(half), retries: open.retries });
        }
        // Remembered, so that its second copy is not one more.
        self.numbers += 1;
        self.count += 1;
        let (time_ns, number) = (half.time_ns, self.numbers);
        let open = Open { number, question: question.cloned(), last_ns: time_ns, asked: None, retries: 0 };
        self.open.entry((conversation.clone(), id)).or_default().push(open);
        self.order.push_back((time_ns.saturating_add(TIMEOUT_NS), conversation, id, number));
        Some(Exchange { asked: None, answered: Some(half), retries: 0 })
    }

    fn find(&self, conversation: &K, id: u16, number: u64) -> Option<&Open<T>> {
        self.open.get(&(conversation.clone(), id))?.iter().find(|open| open.number == number)
    }

    fn remove(&mut self, conversation: &K, id: u16, number: u64) -> Option<Open<T>> {
        let key = (conversation.clone(), id);
        let same = self.open.get_mut(&key)?;
        let at = same.iter().position(|open| open.number == number)?;
        let open = same.swap_remove(at);
        if same.is_empty() {
            self.open.remove(&key);
        }
        self.count -= 1;
        Some(open)
    }
}

impl<T> Open<T> {
    fn unanswered(self) -> Option<Exchange<T>> {
        Some(Exchange { asked: Some(self.asked?), answered: None, retries: self.retries })
    }
}

impl<T> Exchange<T> {
    /// What is asked: the question's words, or the answer's where nobody saw the question.
    pub fn question(&self) -> Option<&Question> {
        let halves = [self.asked.as_ref(), self.answered.as_ref()];
        halves.into_iter().flatten().find_map(|half| half.message.questions.first())
    }

    /// The name that the answer's addresses were asked for, in this exchange.
    pub fn name(&self) -> Option<&SmolStr> {
        self.question().map(|question| &question.name)
    }

    /// From the first question to the answer, ns.
    pub fn latency_ns(&self) -> Option<i64> {
        Some((self.answered.as_ref()?.time_ns - self.asked.as_ref()?.time_ns).max(0))
    }
}

fn on_exchange_if<T>(exchange: Option<Exchange<T>>, on_exchange: &mut impl FnMut(Exchange<T>)) {
    if let Some(exchange) = exchange {
        on_exchange(exchange);
    }
}
