//! An `EventList` of audit.k8s.io/v1 → rows. Fields that we don't keep, bodies of requests above all, are passed over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use weir_model::SmolStr;
use weir_model::tables::K8sAuditRow;

/// Events, as the API server sends them.
#[derive(Debug, Deserialize)]
struct List {
    kind: Option<SmolStr>,
    #[serde(default)]
    items: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: Option<SmolStr>,
    stage: Option<SmolStr>,
    #[serde(rename = "requestURI")]
    request_uri: Option<SmolStr>,
    verb: Option<SmolStr>,
    user: User,
    impersonated_user: Option<User>,
    #[serde(rename = "sourceIPs")]
    source_ips: Option<Vec<SmolStr>>,
    user_agent: Option<SmolStr>,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    request_received_timestamp: Option<Timestamp>,
    stage_timestamp: Option<Timestamp>,
    annotations: Option<BTreeMap<SmolStr, SmolStr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: Option<SmolStr>,
    groups: Option<Vec<SmolStr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: Option<SmolStr>,
    namespace: Option<SmolStr>,
    name: Option<SmolStr>,
    api_group: Option<SmolStr>,
    subresource: Option<SmolStr>,
}

#[derive(Debug, Deserialize)]
struct Status {
    code: Option<i64>,
}

/// The rows of a list, and how many of its events have no time, so that nothing would find them.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn rows(body: &[u8]) -> Result<(Vec<K8sAuditRow>, u64), String> {
    let list: List = serde_json::from_slice(body).map_err(|err| err.to_string())?;
    if list.kind.as_deref() != Some("EventList") {
        return Err(format!("its kind is {:?}", list.kind.unwrap_or_default()));
    }
    let events = list.items.len();
    let rows: Vec<K8sAuditRow> = list.items.into_iter().filter_map(row).collect();
    let refused = (events - rows.len()) as u64;
    Ok((rows, refused))
}

fn row(event: Event) -> Option<K8sAuditRow> {
    let ns = |time: Timestamp| i64::try_from(time.as_nanosecond()).ok();
    let time = event.request_received_timestamp.and_then(ns)?;
    let object = event.object_ref.unwrap_or_default();
    let mut annotations = event.annotations.unwrap_or_default();
    let source_ips = event.source_ips.unwrap_or_default();
    // Cluster-wide objects have an empty namespace, the core's an empty group.
    let filled = |text: Option<SmolStr>| text.filter(|text| !text.is_empty());
    Some(K8sAuditRow {
        time,
        end_time: event.stage_timestamp.and_then(ns),
        audit_id: event.audit_id,
        stage: event.stage,
        verb: event.verb,
        username: filled(event.user.username),
        user_groups: event.user.groups.unwrap_or_default(),
        impersonated: event.impersonated_user.and_then(|user| filled(user.username)),
        client_ip: source_ips.first().cloned(),
        source_ips,
        user_agent: filled(event.user_agent),
        request_uri: event.request_uri,
        api_group: filled(object.api_group),
        resource: filled(object.resource),
        subresource: filled(object.subresource),
        namespace: filled(object.namespace),
        name: filled(object.name),
        response_code: event.response_status.and_then(|status| status.code),
        decision: annotations.remove("authorization.k8s.io/decision"),
        reason: annotations.remove("authorization.k8s.io/reason").filter(|reason| !reason.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[
        {"level":"RequestResponse","auditID":"a-1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/cart/exec?command=sh",
         "verb":"create","user":{"username":"eve","uid":"7","groups":["dev","system:authenticated"]},"impersonatedUser":{"username":"root"},
         "sourceIPs":["10.0.0.7","192.0.2.1"],"userAgent":"kubectl/v1.36","objectRef":{"resource":"pods","namespace":"shop","name":"cart",
         "apiVersion":"v1","subresource":"exec"},"responseStatus":{"metadata":{},"status":"Failure","code":403},
         "requestObject":{"secret":"x"},"requestReceivedTimestamp":"2026-11-24T08:00:00.123456Z","stageTimestamp":"2026-11-24T08:00:00.223456Z",
         "annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"no RBAC policy matched"}},
        {"auditID":"a-2","stage":"Panic"}]}"#;

    #[test]
    fn an_event_says_who_did_what_from_where_and_what_came_of_it() {
        let (rows, refused) = rows(LIST.as_bytes()).expect("reads");
        assert_eq!((rows.len(), refused), (1, 1), "one has no time");
        let expected = K8sAuditRow {
            time: 1_795_507_200_123_456_000,
            end_time: Some(1_795_507_200_223_456_000),
            audit_id: Some("a-1".into()),
            stage: Some("ResponseComplete".into()),
            verb: Some("create".into()),
            username: Some("eve".into()),
            user_groups: vec!["dev".into(), "system:authenticated".into()],
            impersonated: Some("root".into()),
            source_ips: vec!["10.0.0.7".into(), "192.0.2.1".into()],
            client_ip: Some("10.0.0.7".into()),
            user_agent: Some("kubectl/v1.36".into()),
            request_uri: Some("/api/v1/namespaces/shop/pods/cart/exec?command=sh".into()),
            api_group: None,
            resource: Some("pods".into()),
            subresource: Some("exec".into()),
            namespace: Some("shop".into()),
            name: Some("cart".into()),
            response_code: Some(403),
            decision: Some("forbid".into()),
            reason: Some("no RBAC policy matched".into()),
        };
        assert_eq!(rows[0], expected);
    }

    #[test]
    fn what_is_no_list_of_events_is_said() {
        assert!(rows(b"{").expect_err("broken").contains("EOF"));
        assert_eq!(rows(br#"{"kind":"Pod"}"#), Err("its kind is \"Pod\"".to_owned()));
        assert!(rows(br#"{"kind":"EventList","items":[{"requestReceivedTimestamp":"yesterday"}]}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_body_is_too_wild(at in 0..LIST.len(), with in any::<u8>(), cut in 0..LIST.len()) {
            let mut bytes = LIST.as_bytes().to_vec();
            bytes[at] = with;
            let _ = rows(&bytes);
            bytes.truncate(cut);
            let _ = rows(&bytes);
        }
    }
}
