//! What is remembered for a while: a map that forgets what came first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    entries: HashMap<K, V>,
    /// In the order in which they came.
    order: VecDeque<(i64, K)>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Memory { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    /// A later one takes the place of an earlier one, and is forgotten with it.
    pub(crate) fn insert(&mut self, key: K, value: V, now_ns: i64) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back((now_ns, key));
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Those that came before `since`, and the first ones beyond `most`.
    pub(crate) fn forget(&mut self, since: i64, most: usize) {
        while let Some((at, _)) = self.order.front()
            && (*at < since || self.order.len() > most)
            && let Some((_, key)) = self.order.pop_front()
        {
            self.entries.remove(&key);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.order.is_empty()
    }
}
