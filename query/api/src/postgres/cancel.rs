//! Who may cancel what: a client is given a number and a secret, by which another connection of it ends its question.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections there are.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: i32,
    connections: HashMap<i32, (i32, Arc<Notify>)>,
}

/// One connection, known as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    known: Arc<Known>,
    /// Its number, positive.
    pub(super) number: i32,
    pub(super) secret: i32,
    /// Tells the question that is under way, if there is one, to end.
    pub(super) cancelled: Arc<Notify>,
}

impl Known {
    /// Makes one known.
    pub(super) fn enter(self: &Arc<Known>) -> Place {
        // The system's randomness doesn't fail on Linux; a number that can be guessed would let anybody cancel.
        let secret = getrandom::u32().expect("the system's randomness").cast_signed();
        let cancelled = Arc::new(Notify::new());
        let mut state = self.state.lock();
        let number = loop {
            state.last = state.last.checked_add(1).unwrap_or(1);
            if !state.connections.contains_key(&state.last) {
                break state.last;
            }
        };
        state.connections.insert(number, (secret, cancelled.clone()));
        Place { known: self.clone(), number, secret, cancelled }
    }

    /// Ends the question of that connection, where the secret is its own.
    pub(super) fn cancel(&self, number: i32, secret: i32) {
        if let Some((known, cancelled)) = self.state.lock().connections.get(&number)
            && *known == secret
        {
            cancelled.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known.state.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_knows_the_secret_cancels_and_only_what_is_under_way() {
        let known = Arc::new(Known::default());
        let (one, other) = (known.enter(), known.enter());
        assert_ne!(one.number, other.number);
        known.cancel(one.number, one.secret);
        let cancelled = one.cancelled.clone();
        let waits = cancelled.notified();
        tokio::pin!(waits);
        assert!(!waits.as_mut().enable(), "what was told before it began is not for it");
        known.cancel(one.number, one.secret.wrapping_add(1));
        known.cancel(other.number, other.secret);
        assert!(!waits.as_mut().enable());
        known.cancel(one.number, one.secret);
        waits.await;
        let number = one.number;
        drop(one);
        assert!(!known.state.lock().connections.contains_key(&number));
    }
}
