use super::*;
use crate::kinds::KINDS;

fn kind(name: &str) -> Kind {
    *KINDS.iter().find(|kind| kind.kind == name).expect("a kind that is watched")
}

#[test]
fn a_pod_keeps_what_identity_needs_and_no_secret() {
    let json = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
            "creationTimestamp": "2026-11-30T04:00:00Z", "labels": {"app": "web"},
            "annotations": {"token": "hunter2"},
            "ownerReferences": [{"kind": "X", "name": "x", "uid": "x"},
                {"kind": "ReplicaSet", "name": "web", "uid": "r1", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "command": ["hunter2"],
            "env": [{"name": "PASSWORD", "value": "hunter2"}], "ports": [{"containerPort": 80, "hostPort": 8080}]}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "startTime": "2026-11-30T04:00:01Z"},
    });
    let pod = Object::read(kind("Pod"), &json).expect("a pod");
    assert_eq!(
        pod.addresses,
        ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().expect("an address"))
    );
    assert_eq!(pod.owner.as_ref().map(|owner| owner.kind.as_str()), Some("ReplicaSet"));
    assert_eq!(pod.created, Some(1_796_011_200_000_000_000));
    let Detail::Pod { host_ports, is_over, started, .. } = &pod.detail else { panic!("no pod: {pod:?}") };
    assert_eq!((host_ports.as_slice(), *is_over), (&[8080][..], false));
    assert_eq!(*started, Some(1_796_011_201_000_000_000));
    assert!(!format!("{pod:?}").contains("hunter2"), "{pod:?}");
}

#[test]
fn a_leaving_pod_whose_containers_have_ended_is_over() {
    let over = |status: Value, deletion: Value| {
        let json =
            json!({"metadata": {"name": "a", "uid": "u", "deletionTimestamp": deletion}, "status": status});
        let Detail::Pod { is_over, .. } = Object::read(kind("Pod"), &json).expect("a pod").detail else {
            panic!("no pod")
        };
        is_over
    };
    let ended =
        json!({"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]});
    let now = json!("2026-11-30T04:00:00Z");
    assert!(over(json!({"phase": "Succeeded"}), Value::Null));
    assert!(over(ended.clone(), now.clone()));
    assert!(!over(ended, Value::Null), "its containers start again");
    assert!(!over(json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}), now));
}

/// As `k8s_objects` has it and a restarted collector reads it.
#[test]
fn what_is_kept_reads_as_the_same_object() {
    let json = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
            "creationTimestamp": "2026-11-30T04:00:00Z", "deletionTimestamp": "2026-11-30T05:00:00Z",
            "labels": {"app": "web", "topology.kubernetes.io/zone": "z", "kubernetes.io/service-name": "s"},
            "annotations": {"kubernetes.io/config.mirror": "hash", "other": "no"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "r1", "controller": true}]},
        "spec": {"nodeName": "n1", "hostNetwork": true, "podCIDRs": ["10.0.0.0/24"], "clusterIP": "10.96.0.1",
            "externalIPs": ["192.0.2.9"], "egressIPs": ["192.0.2.50"], "hosts": ["bank.example"], "addresses": ["192.0.2.8"],
            "podSelector": {}, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "startTime": "2026-11-30T04:00:01Z", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}],
            "addresses": [{"address": "192.0.2.1", "value": "192.0.2.60"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
            "loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}, "items": [{"egressIP": "192.0.2.50", "node": "n1"}]},
        "ports": [{"port": 53}],
        "endpoints": [{"addresses": ["10.0.0.7"], "targetRef": {"kind": "Pod", "name": "p", "uid": "x"}, "hostname": "h"}],
    });
    for kind in KINDS {
        let object = Object::read(kind, &json).expect("an object");
        let named = Named {
            namespace: object.namespace.as_deref(),
            name: &object.name,
            uid: &object.uid,
            resource_version: &object.resource_version,
            labels: &object.labels,
        };
        let text = object.rest.to_string();
        let rest = serde_json::from_str(&text).expect("JSON");
        assert_eq!(Object::restore(kind, &named, &rest), Ok(object.clone()), "{text}");
        for damaged in [Value::Null, json!([]), json!({"metadata": 7})] {
            assert!(Object::restore(kind, &named, &damaged).is_ok());
        }
    }
}

#[test]
fn what_is_no_object_is_refused_by_what_it_lacks() {
    assert_eq!(
        Object::read(kind("Node"), &json!({"metadata": {"name": "n"}})).map_err(|bad| bad.to_string()),
        Err("a Node without a UID".to_owned())
    );
    // Whatever else is of the wrong type is as if it were not there.
    let odd = json!({"metadata": {"name": "n", "uid": "u", "labels": 7}, "spec": [], "status": {"addresses": "no"}});
    for kind in KINDS {
        assert!(Object::read(kind, &odd).is_ok(), "{kind:?}");
    }
}
