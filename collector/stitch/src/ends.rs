//! The two ends of a connection, and what OpenTelemetry calls the one that made a span.

use weir_model::{ExchangeRow, FlowRow, SmolStr, SpanRow, TlsHandshakeRow};

use crate::attributes::Attributes;

/// Which end a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    /// Both ends of a paired row, else the observer's own. An observer on the path stands in for the client.
    pub(crate) fn of_observer(observer: Option<&str>) -> &'static [Side] {
        match observer {
            Some("server") => &[Side::Server],
            Some("both") => &[Side::Client, Side::Server],
            _ => &[Side::Client],
        }
    }

    /// The same of a flow; nobody's where a node's probe tells of it beside the ends', who have their own spans: only what
    /// was denied there stands for a client that may have no probe.
    pub(crate) fn of_flow(flow: &FlowRow) -> &'static [Side] {
        let is_beside = flow.observer.as_deref() == Some("path") && flow.source.as_deref() == Some("probe");
        if is_beside && flow.close_reason.as_deref() != Some("denied") {
            return &[];
        }
        Side::of_observer(flow.observer.as_deref())
    }

    /// The role whose span is the connection as this end had it.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }

    /// Of `client` and `server`, this end's.
    pub(crate) fn pick<T>(self, client: T, server: T) -> T {
        match self {
            Side::Client => client,
            Side::Server => server,
        }
    }

    /// Of `client` and `server`, the other end's.
    pub(crate) fn peer<T>(self, client: T, server: T) -> T {
        self.pick(server, client)
    }
}

/// What is known of one end. References into the row: an end is looked at, never kept.
#[derive(Default)]
pub(crate) struct End<'a> {
    pub(crate) ip: Option<&'a SmolStr>,
    pub(crate) port: Option<u16>,
    name: Option<&'a SmolStr>,
    pid: Option<i64>,
    process: Option<&'a SmolStr>,
    container: Option<&'a SmolStr>,
    pod: Option<&'a SmolStr>,
    namespace: Option<&'a SmolStr>,
    workload: Option<&'a SmolStr>,
    workload_kind: Option<&'a SmolStr>,
    node: Option<&'a SmolStr>,
    zone: Option<&'a SmolStr>,
}

/// (client, server) of a flow.
pub(crate) fn of_flow(flow: &FlowRow) -> (End<'_>, End<'_>) {
    let client = End {
        ip: flow.client_ip.as_ref(),
        port: flow.client_port,
        name: flow.client_name.as_ref(),
        pid: flow.client_pid,
        process: flow.client_process.as_ref(),
        container: flow.client_container.as_ref(),
        pod: flow.client_pod.as_ref(),
        namespace: flow.client_namespace.as_ref(),
        workload: flow.client_workload.as_ref(),
        workload_kind: flow.client_workload_kind.as_ref(),
        node: flow.client_node.as_ref(),
        zone: flow.client_zone.as_ref(),
    };
    let server = End {
        ip: flow.server_ip.as_ref(),
        port: flow.server_port,
        name: flow.server_name.as_ref(),
        pid: flow.server_pid,
        process: flow.server_process.as_ref(),
        container: flow.server_container.as_ref(),
        pod: flow.server_pod.as_ref(),
        namespace: flow.server_namespace.as_ref(),
        workload: flow.server_workload.as_ref(),
        workload_kind: flow.server_workload_kind.as_ref(),
        node: flow.server_node.as_ref(),
        zone: flow.server_zone.as_ref(),
    };
    (client, server)
}

/// (client, server) of a handshake.
pub(crate) fn of_handshake(row: &TlsHandshakeRow) -> (End<'_>, End<'_>) {
    let client = End {
        ip: row.client_ip.as_ref(),
        port: row.client_port,
        pid: row.client_pid,
        process: row.client_process.as_ref(),
        ..End::default()
    };
    let server = End {
        ip: row.server_ip.as_ref(),
        port: row.server_port,
        pid: row.server_pid,
        process: row.server_process.as_ref(),
        ..End::default()
    };
    (client, server)
}

/// (client, server) of a turn: each end as it saw itself, or where it saw nothing, by what the other saw of it.
pub(crate) fn of_turn<'a>(
    client: Option<&'a ExchangeRow>,
    server: Option<&'a ExchangeRow>,
) -> (End<'a>, End<'a>) {
    // The client's view of the server is what it dialled, and the server's of the client what came out of the way.
    let any = client.or(server);
    let client_end = End {
        ip: any.and_then(|row| row.client_ip.as_ref()),
        port: any.and_then(|row| row.client_port),
        ..client.map(of_exchange).unwrap_or_default()
    };
    let any = server.or(client);
    let server_end = End {
        ip: any.and_then(|row| row.server_ip.as_ref()),
        port: any.and_then(|row| row.server_port),
        ..server.map(of_exchange).unwrap_or_default()
    };
    (client_end, server_end)
}

/// The observer's own end, but for its address.
fn of_exchange(row: &ExchangeRow) -> End<'_> {
    End {
        pid: row.pid,
        process: row.process.as_ref(),
        container: row.container.as_ref(),
        pod: row.pod.as_ref(),
        namespace: row.namespace.as_ref(),
        workload: row.workload.as_ref(),
        workload_kind: row.workload_kind.as_ref(),
        node: row.node.as_ref(),
        ..End::default()
    }
}

impl End<'_> {
    /// The service: the pod's workload, else the process, else the name outside the cluster, else the address.
    pub(crate) fn service(&self) -> Option<&SmolStr> {
        self.known_service().or(self.name).or(self.ip)
    }

    /// The service as far as somebody saw who it is. A systemd unit is not one: `user@1000.service` holds all
    /// that a person runs.
    pub(crate) fn known_service(&self) -> Option<&SmolStr> {
        self.workload.filter(|_| self.workload_kind.is_some_and(|kind| kind != "unit")).or(self.process)
    }

    /// The name outside the cluster.
    pub(crate) fn name(&self) -> Option<&SmolStr> {
        self.name
    }

    /// The name to reach it by from outside, else the address.
    pub(crate) fn address(&self) -> Option<&SmolStr> {
        self.name.or(self.ip)
    }

    /// Makes `span` this end's: service and resource. `node` is where the observer ran.
    pub(crate) fn own(&self, span: &mut SpanRow, node: Option<&SmolStr>) {
        let service = self.service();
        let mut resource = Attributes::default();
        resource.text("service.name", service);
        resource.text("service.namespace", self.namespace);
        resource.int("process.pid", self.pid);
        resource.text("process.executable.name", self.process);
        resource.text("container.id", self.container);
        resource.text("k8s.namespace.name", self.namespace);
        resource.text("k8s.pod.name", self.pod);
        if let Some(key) = self.workload_kind.and_then(|kind| workload_key(kind)) {
            resource.text(key, self.workload);
        }
        // A node is worth naming only where a process was seen on it: an observer on the path is elsewhere.
        resource.text("k8s.node.name", self.node.or(node.filter(|_| self.pid.is_some())));
        resource.text("cloud.availability_zone", self.zone);
        span.service = service.cloned();
        (span.resource_attributes, span.resource_attribute_types) = resource.finish();
    }
}

/// OpenTelemetry's name for a workload of that kind.
fn workload_key(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Deployment" => "k8s.deployment.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "Job" => "k8s.job.name",
        "CronJob" => "k8s.cronjob.name",
        "unit" => "weir.systemd.unit",
        _ => return None,
    })
}

/// Attributes that say between whom, as the end `side` sees it. `dialled` is the name that the client asked for.
pub(crate) fn between(
    attributes: &mut Attributes,
    side: Side,
    client: &End<'_>,
    server: &End<'_>,
    transport: Option<&SmolStr>,
    dialled: Option<&SmolStr>,
) {
    attributes.text("network.transport", transport);
    let family = server.ip.map(|ip| SmolStr::new_static(if ip.contains(':') { "ipv6" } else { "ipv4" }));
    attributes.text("network.type", family.as_ref());
    attributes.text("client.address", client.address());
    attributes.port("client.port", client.port);
    attributes.text("server.address", dialled.or(server.address()));
    attributes.port("server.port", server.port);
    let (peer, own) = (side.peer(client, server), side.pick(client, server));
    attributes.text("network.peer.address", peer.ip);
    attributes.port("network.peer.port", peer.port);
    attributes.text("network.local.address", own.ip);
    attributes.port("network.local.port", own.port);
    attributes.text("service.peer.name", peer.known_service());
}
