//! Whose turn it is: so many requests are worked on at once, and some of them at most for each caller; the rest waits in a
//! queue with an end. Who has fewest under way is called first, then who was called longest ago, then who came first: a
//! caller with a hundred requests in the queue holds up one with a single request for one turn.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::caller::Caller;
use crate::error::QueryError;
use crate::limits::Limits;

/// The queue.
#[derive(Debug)]
pub(crate) struct Turns {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Those who have something under way or waiting; so it is bounded as those are.
    callers: HashMap<Caller, Standing>,
    /// In the order they came.
    waiting: Vec<Waiting>,
    /// Counts those who were called and those who came, so that each has a number.
    count: u64,
}

#[derive(Debug, Default)]
struct Standing {
    running: usize,
    waiting: usize,
    /// When it was last called.
    called: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    caller: Caller,
    call: oneshot::Sender<Turn>,
}

/// A request that is worked on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    caller: Caller,
}

impl Turns {
    pub(crate) fn new(limits: Limits) -> Arc<Turns> {
        Arc::new(Turns { limits, state: Mutex::default() })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `limit.busy` where too many wait, or it took too long.
    pub(crate) async fn take(self: &Arc<Turns>, caller: Caller) -> Result<Turn, QueryError> {
        let (number, called) = {
            let mut state = self.state.lock();
            let standing = state.callers.get(&caller);
            let (running, waiting) = standing.map_or((0, 0), |standing| (standing.running, standing.waiting));
            // Nobody waits who could have this turn: they would have been called.
            if state.running < self.limits.at_once && running < self.limits.at_once_each {
                state.begin(&caller);
                return Ok(Turn { turns: self.clone(), caller });
            }
            if state.waiting.len() >= self.limits.waiting || waiting >= self.limits.waiting_each {
                return Err(QueryError::busy(state.running, state.waiting.len()));
            }
            let (call, called) = oneshot::channel();
            state.count += 1;
            let number = state.count;
            state.callers.entry(caller.clone()).or_default().waiting += 1;
            state.waiting.push(Waiting { number, caller, call });
            (number, called)
        };
        let _place = Place { turns: self, number };
        if let Ok(Ok(turn)) = tokio::time::timeout(self.limits.patience, called).await {
            return Ok(turn);
        }
        let state = self.state.lock();
        Err(QueryError::busy(state.running, state.waiting.len()))
    }

    /// Calls whoever may begin now.
    fn call(self: &Arc<Turns>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                if state.running >= self.limits.at_once {
                    return;
                }
                let Some(next) = state.next(self.limits.at_once_each) else { return };
                state.begin(&next.caller);
                next
            };
            // Whoever has left gives the turn back, and the next is called from there.
            let turn = Turn { turns: self.clone(), caller: next.caller };
            let _ = next.call.send(turn);
        }
    }
}

impl State {
    fn begin(&mut self, caller: &Caller) {
        self.count += 1;
        self.running += 1;
        let standing = self.callers.entry(caller.clone()).or_default();
        standing.running += 1;
        standing.called = self.count;
    }

    /// Takes the one whose turn it is out of the queue.
    fn next(&mut self, at_once_each: usize) -> Option<Waiting> {
        let standing = |waiting: &Waiting| self.callers.get(&waiting.caller);
        let may_begin = self.waiting.iter().enumerate().filter_map(|(index, waiting)| {
            let standing = standing(waiting)?;
            (standing.running < at_once_each).then_some((standing.running, standing.called, index))
        });
        let (_, _, index) = may_begin.min()?;
        Some(self.leave(index))
    }

    fn leave(&mut self, index: usize) -> Waiting {
        let waiting = self.waiting.remove(index);
        if let Some(standing) = self.callers.get_mut(&waiting.caller) {
            standing.waiting -= 1;
        }
        self.forget(&waiting.caller);
        waiting
    }

    fn forget(&mut self, caller: &Caller) {
        if self.callers.get(caller).is_some_and(|standing| standing.running + standing.waiting == 0) {
            self.callers.remove(caller);
        }
    }
}

/// A place in the queue, given up when whoever waits leaves.
struct Place<'a> {
    turns: &'a Arc<Turns>,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if let Some(index) = state.waiting.iter().position(|waiting| waiting.number == self.number) {
            state.leave(index);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state.lock();
            state.running -= 1;
            if let Some(standing) = state.callers.get_mut(&self.caller) {
                standing.running -= 1;
            }
            state.forget(&self.caller);
        }
        self.turns.call();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn caller(number: u8) -> Caller {
        Caller::at([10, 0, 0, number].into())
    }

    fn turns(at_once: usize, at_once_each: usize) -> Arc<Turns> {
        let limits = Limits { at_once, at_once_each, waiting: 5, waiting_each: 3, ..Limits::default() };
        Turns::new(limits)
    }

    /// A request that waits; `told` says when it is called.
    fn wait(
        turns: &Arc<Turns>,
        caller: Caller,
        told: &Arc<Mutex<Vec<Caller>>>,
    ) -> tokio::task::JoinHandle<()> {
        let (turns, told) = (turns.clone(), told.clone());
        tokio::spawn(async move {
            let turn = turns.take(caller.clone()).await.expect("a turn");
            told.lock().push(caller);
            drop(turn);
        })
    }

    async fn until_waiting(turns: &Arc<Turns>, many: usize) {
        while turns.state.lock().waiting.len() != many {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_asks_much_holds_up_who_asks_little_for_one_turn() {
        let turns = turns(1, 1);
        let told = Arc::default();
        let first = turns.take(caller(1)).await.expect("a turn");
        let mut waiting = Vec::new();
        for (number, of) in [1, 1, 1, 2].into_iter().enumerate() {
            waiting.push(wait(&turns, caller(of), &told));
            until_waiting(&turns, number + 1).await;
        }
        drop(first);
        for waiting in waiting {
            waiting.await.expect("answered");
        }
        assert_eq!(*told.lock(), [caller(2), caller(1), caller(1), caller(1)]);
        assert!(turns.state.lock().callers.is_empty(), "nothing is remembered of who has left");
    }

    #[tokio::test]
    async fn one_caller_leaves_room_for_others() {
        let turns = turns(3, 2);
        let _first = turns.take(caller(1)).await.expect("a turn");
        let _second = turns.take(caller(1)).await.expect("a turn");
        let third = wait(&turns, caller(1), &Arc::default());
        until_waiting(&turns, 1).await;
        let _other = turns.take(caller(2)).await.expect("a turn, past the one that waits");
        third.abort();
        let _ = third.await;
        assert_eq!(turns.state.lock().waiting.len(), 0, "who leaves gives its place up");
    }

    #[tokio::test]
    async fn the_queue_has_an_end_for_all_and_for_each() {
        let turns = turns(1, 1);
        let held = turns.take(caller(9)).await.expect("a turn");
        let told = Arc::default();
        let mut waiting = Vec::new();
        for (number, of) in [1, 1, 1, 2, 2].into_iter().enumerate() {
            if number == 3 {
                let busy = turns.take(caller(1)).await.expect_err("three wait");
                assert_eq!((busy.code, busy.hint.is_some()), ("limit.busy", true));
            }
            waiting.push(wait(&turns, caller(of), &told));
            until_waiting(&turns, number + 1).await;
        }
        assert_eq!(turns.take(caller(3)).await.expect_err("five wait").code, "limit.busy");
        drop(held);
        for waiting in waiting {
            waiting.await.expect("answered");
        }
        assert_eq!(turns.state.lock().running, 0);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_sent_away() {
        let patience = Duration::from_millis(1);
        let turns = Turns::new(Limits { at_once: 1, patience, ..Limits::default() });
        let held = turns.take(caller(1)).await.expect("a turn");
        assert_eq!(turns.take(caller(2)).await.expect_err("no turn").code, "limit.busy");
        assert_eq!(turns.state.lock().waiting.len(), 0);
        drop(held);
        turns.take(caller(2)).await.expect("a turn");
    }
}
