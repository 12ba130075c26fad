use serde_json::json;
use weir_identity::Object;
use weir_identity::kinds::KINDS;
use weir_model::{BatchMeta, FlowRow, Row};

use super::*;
use crate::stage::now;

const POD: &str = "11111111-1111-4111-8111-111111111111";

fn enricher() -> (Arc<Enricher>, Counters) {
    let status = Arc::new(Status::new(now()));
    status.is_current(KINDS[0], now());
    let enricher = Enricher::new(&IdentityConfig::default(), Some(status)).expect("nothing to read");
    (Arc::new(enricher), Counters::default())
}

fn flow(age: Duration) -> Part {
    let row = FlowRow {
        time: now() - age.as_nanos() as i64,
        client_ip: Some("10.0.0.1".into()),
        client_pod: Some(POD.into()),
        ..FlowRow::default()
    };
    Part { meta: BatchMeta::of::<FlowRow>("n", "b", 1), batch: FlowRow::to_batch(&[row]), ipc: None }
}

fn pod_of(part: &Part) -> String {
    let rows = FlowRow::from_batch(&part.batch).expect("rows");
    rows[0].client_pod.clone().unwrap_or_default().into()
}

#[tokio::test]
async fn rows_wait_for_a_pod_that_is_about_to_be_told_of() {
    let (enricher, counters) = enricher();
    let telling = enricher.clone();
    let teller = tokio::spawn(async move {
        // Once the stage listens, it waits.
        while telling.changed.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        let json = json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": POD}});
        let object = Object::read(KINDS[0], &json).expect("a pod");
        telling.history.write().apply(object, now(), false);
        telling.changed.send_modify(|changes| *changes += 1);
    });
    let began = Instant::now();
    assert_eq!(pod_of(&enricher.enrich(flow(Duration::ZERO), &counters).await), "web-1");
    teller.await.expect("told");
    assert!(began.elapsed() < HOLD, "it did not wait for longer than it had to");
    assert_eq!(counters.counts().unknown_ends, 0);
}

#[tokio::test]
async fn rows_of_a_pod_that_nobody_tells_of_go_on_when_they_are_old_enough() {
    let (enricher, counters) = enricher();
    let nearly = HOLD.mul_f32(0.9);
    assert_eq!(pod_of(&enricher.enrich(flow(nearly), &counters).await), POD);
    assert_eq!((counters.counts().held, counters.counts().unknown_ends), (1, 1));
    let began = Instant::now();
    enricher.enrich(flow(Duration::ZERO), &counters).await;
    assert!(began.elapsed() < HOLD / 2, "nobody waits in vain twice for one pod");
    assert_eq!((counters.counts().held, counters.counts().unknown_ends), (1, 2));
}

#[tokio::test]
async fn nobody_waits_while_the_watch_is_broken() {
    let (enricher, counters) = enricher();
    if let Some(status) = &enricher.status {
        status.is_stale(KINDS[0], "connection refused".to_owned(), now());
    }
    let began = Instant::now();
    enricher.enrich(flow(Duration::ZERO), &counters).await;
    assert!(began.elapsed() < HOLD / 2);
    assert_eq!((counters.counts().held, counters.counts().unknown_ends), (0, 1));
}
