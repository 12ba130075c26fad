//! What is known of each of very many connections, by the kernel's socket cookie.

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// Values side by side, beside a table of where each is: a hash that holds them itself is half empty where it has just
/// grown, and while it grows is there twice. With 100,000 connections that is more than all the rest of the probe.
/// Take out by `swap_remove`: the order is of no use.
pub(crate) type ByCookie<V> = IndexMap<u64, V, RandomState>;

/// Gives memory back that a time of many more connections has left.
pub(crate) fn shrink<V>(map: &mut ByCookie<V>) {
    if map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}
