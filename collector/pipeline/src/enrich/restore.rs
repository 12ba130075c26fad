//! `k8s_objects` → the history that an earlier Weir had, so that rows which come late, after a restart, are named as before;
//! and what ended while Weir was down gets its end by the watch's first list.

use std::collections::HashMap;

use serde_json::Value;
use tracing::info;
use weir_identity::kinds::{KINDS, Kind};
use weir_identity::{History, Limits, Named, Object};
use weir_model::tables::{K8S_OBJECTS, K8sObjectRow};
use weir_model::{Row, SmolStr};
use weir_store::Store;

use crate::readback;

/// What the store has of the time that is still asked for.
pub(super) async fn history(store: &Store, limits: Limits, now: i64) -> History {
    let since = now.saturating_sub(limits.keep_ns);
    // Of versions that last, the beginning is older than that.
    let rows =
        readback::rows(store, &K8S_OBJECTS, &[], i64::MIN, 2 * (limits.live + limits.ended), move |batch| {
            let rows = K8sObjectRow::from_batch(batch).unwrap_or_default();
            rows.into_iter().filter(|row| row.end_time.is_none_or(|end| end >= since)).collect()
        })
        .await;
    let count = rows.len();
    let history = replay(rows, limits);
    if count > 0 {
        info!(versions = count, "who had which address is known from before");
    }
    history
}

/// A version, by what tells it from all others.
type Key = (SmolStr, SmolStr, i64);

/// What happened, in the order in which it did.
fn replay(rows: Vec<K8sObjectRow>, limits: Limits) -> History {
    let mut versions: HashMap<Key, K8sObjectRow> = HashMap::new();
    for row in rows {
        let (Some(uid), Some(version)) = (row.uid.clone(), row.resource_version.clone()) else { continue };
        let known = versions.entry((uid, version, row.time)).or_insert_with(|| row.clone());
        // The row of its beginning and, where it has ended, that of its end.
        known.end_time = known.end_time.or(row.end_time);
    }
    let objects = versions.into_values().filter_map(|row| Some((row.time, row.end_time, object(&row)?)));
    let mut objects: Vec<(i64, Option<i64>, Object)> = objects.collect();
    objects.sort_by_key(|(from, ..)| *from);
    // Beginnings before ends: a version that the next one ends is taken over by that.
    let mut ends: Vec<(i64, usize)> =
        objects.iter().enumerate().filter_map(|(place, (_, to, _))| Some(((*to)?, place))).collect();
    ends.sort_unstable();
    let ended: Vec<Object> = objects.iter().map(|(.., object)| object.clone()).collect();
    let mut history = History::new(limits);
    let mut ends = ends.into_iter().peekable();
    for (from, _, object) in objects {
        while let Some((to, place)) = ends.next_if(|(to, _)| *to < from) {
            history.end_version(&ended[place], to);
        }
        history.apply(object, from, false);
    }
    for (to, place) in ends {
        history.end_version(&ended[place], to);
    }
    history
}

fn object(row: &K8sObjectRow) -> Option<Object> {
    let rest: Value = serde_json::from_str(row.object.as_deref()?).ok()?;
    let group = rest["apiGroup"].as_str().unwrap_or_default();
    let is_it = |kind: &&Kind| row.kind.as_deref() == Some(kind.kind) && kind.group == group;
    let kind = *KINDS.iter().find(is_it)?;
    let named = Named {
        namespace: row.namespace.as_deref(),
        name: row.name.as_deref()?,
        uid: row.uid.as_deref()?,
        resource_version: row.resource_version.as_deref()?,
        labels: &row.labels,
    };
    Object::restore(kind, &named, &rest).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::enrich::watch::row;

    const SECOND: i64 = 1_000_000_000;

    fn pod(name: &str, version: &str, ip: &str) -> Object {
        let json = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version,
                "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:00:01Z",
                "ownerReferences": [{"kind": "DaemonSet", "name": "agent", "uid": "d", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 2}]}]},
            "status": {"podIP": ip, "hostIP": "192.0.2.1"},
        });
        Object::read(KINDS[0], &json).expect("a pod")
    }

    /// Whatever order rows are read in, and however often one is there.
    #[test]
    fn a_restarted_collector_knows_who_had_an_address() {
        let mut first = History::default();
        let mut rows = Vec::new();
        let mut note = |versions: Vec<weir_identity::Version>| rows.extend(versions.iter().map(row));
        note(first.apply(pod("a", "1", ""), 5 * SECOND, false));
        note(first.apply(pod("a", "2", "10.0.0.1"), 6 * SECOND, false));
        note(first.remove(KINDS[0], Some("shop"), "a", 9 * SECOND).into_iter().collect());
        note(first.apply(pod("b", "3", "10.0.0.1"), 9 * SECOND, false));
        assert_eq!(rows.len(), 5, "{rows:?}");
        rows.extend(rows.clone());
        rows.reverse();

        let again = replay(rows, Limits::default());
        let address = "10.0.0.1".parse().expect("an address");
        for at in [4, 6, 7, 8, 9, 100].map(|second| second * SECOND) {
            assert_eq!(again.who(address, None, at), first.who(address, None, at), "at {at}");
        }
        let on_node =
            again.who("192.0.2.1".parse().expect("an address"), Some(2), 100 * SECOND).expect("known");
        assert_eq!((on_node.pod.as_deref(), on_node.workload.as_deref()), (Some("b"), Some("agent")));
        for uid in ["uid-a", "uid-b"] {
            assert_eq!(again.pod_by_uid(uid, 100 * SECOND), first.pod_by_uid(uid, 100 * SECOND));
        }
        assert_eq!(again.count(KINDS[0]), 1);
    }

    /// Rows out of a damaged or a later version's file.
    #[test]
    fn rows_that_say_nothing_are_left_out() {
        let odd = |object: &str| K8sObjectRow {
            kind: Some("Pod".into()),
            name: Some("p".into()),
            uid: Some("u".into()),
            resource_version: Some("1".into()),
            object: Some(object.into()),
            ..K8sObjectRow::default()
        };
        for object in ["", "7", "[]", "{\"metadata\": 7}", "{\"apiGroup\": \"other.example\"}"] {
            let _ = replay(vec![odd(object)], Limits::default());
        }
        assert!(replay(vec![K8sObjectRow::default()], Limits::default()).is_empty());
    }
}
