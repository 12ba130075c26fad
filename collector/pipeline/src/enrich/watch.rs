//! Kubernetes' API → history, and rows of `k8s_objects`.
//!
//! One watch a kind: a list in pages, then events from where it ended, with bookmarks, so that a broken connection goes on
//! from there; where the API server forgot that place, a new list tells what ended meanwhile. Kinds that not every cluster
//! has are watched once discovery has them. A kind that may not be watched (RBAC) leaves the others alone. A pod that came
//! and went while nobody watched is never known.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config as WatchConfig, Event};
use kube::{Client, Config};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use weir_identity::kinds::{KINDS, Kind};
use weir_identity::{Object, Version};
use weir_model::tables::K8sObjectRow;
use weir_model::{SmolStr, ToSmolStr};

use super::Enricher;
use super::status::Status;
use crate::stage::{Stage, now};

/// Between two looks for kinds that were installed meanwhile.
const DISCOVER_EVERY: Duration = Duration::from_mins(1);

/// Between two questions whether a watch that broke works again; Kubernetes says nothing while nothing changes.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Events that are taken in and stored at a time.
const AT_A_TIME: usize = 512;

/// Where Kubernetes' API is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// The pod's own service account.
    InCluster,
    /// A kubeconfig file; its current context.
    Kubeconfig(PathBuf),
}

impl Kubernetes {
    /// In a pod with a service account's token, its cluster.
    pub fn around_us() -> Option<Kubernetes> {
        let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
        let is_in_pod =
            std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && std::fs::exists(token).unwrap_or(false);
        is_in_pod.then_some(Kubernetes::InCluster)
    }

    /// A client; nothing is asked yet.
    pub(crate) async fn client(&self) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let config = match self {
            Kubernetes::InCluster => Config::incluster()?,
            Kubernetes::Kubeconfig(path) => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
        };
        Ok(Client::try_from(config)?)
    }
}

/// Everything that one kind's watch needs.
#[derive(Clone)]
struct Watch {
    client: Client,
    stage: Arc<Stage>,
    enricher: Arc<Enricher>,
    status: Arc<Status>,
}

/// Watches until `stop`.
pub(crate) async fn run(client: Client, stage: Arc<Stage>, status: Arc<Status>, stop: CancellationToken) {
    let enricher = stage.enricher().clone();
    let watch = Watch { client, stage, enricher, status };
    let mut watched = Vec::new();
    let mut tasks = JoinSet::new();
    for kind in KINDS.into_iter().filter(|kind| kind.is_built_in) {
        watched.push(kind);
        tasks.spawn(watch.clone().kind(kind, built_in(kind)));
    }
    let discovering = async {
        loop {
            match watch.installed(&watched).await {
                Ok(found) => {
                    for (kind, resource) in found {
                        info!(kind = kind.kind, group = kind.group, "watching a kind that is installed here");
                        watched.push(kind);
                        tasks.spawn(watch.clone().kind(kind, resource));
                    }
                }
                Err(err) => debug!(%err, "Kubernetes' kinds can't be discovered; asked again in a minute"),
            }
            watch.enricher.history.write().forget(now());
            tokio::time::sleep(DISCOVER_EVERY).await;
        }
    };
    tokio::select! {
        () = discovering => {}
        () = stop.cancelled() => {}
    }
    // What was taken in is stored: rows are appended before the next event is taken.
    tasks.shutdown().await;
}

/// Built-in kinds are where they are in every cluster since 1.21.
fn built_in(kind: Kind) -> ApiResource {
    let group_version = kube::core::GroupVersion::gv(kind.group, "v1");
    let gvk = group_version.with_kind(kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

impl Watch {
    /// Kinds that this cluster has, but for those that are watched already.
    async fn installed(&self, watched: &[Kind]) -> Result<Vec<(Kind, ApiResource)>, kube::Error> {
        let groups = self.client.list_api_groups().await?;
        let mut found = Vec::new();
        for group in &groups.groups {
            let wanted: Vec<Kind> = KINDS
                .into_iter()
                .filter(|kind| kind.group == group.name && !watched.contains(kind))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let group = kube::discovery::group(&self.client, &group.name).await?;
            for kind in wanted {
                if let Some((resource, _)) = group.recommended_kind(kind.kind) {
                    found.push((kind, resource));
                }
            }
        }
        Ok(found)
    }

    async fn kind(self, kind: Kind, resource: ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let config = WatchConfig::default();
        if kind.metadata_only {
            let metadata: Api<PartialObjectMeta<DynamicObject>> =
                Api::all_with(self.client.clone(), &resource);
            self.follow(kind, &api, watcher::watcher(metadata, config)).await;
        } else {
            self.follow(kind, &api, watcher::watcher(api.clone(), config)).await;
        }
    }

    async fn follow<K: Serialize>(
        &self,
        kind: Kind,
        api: &Api<DynamicObject>,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    ) {
        let events = events.backoff(Retry::default()).into_stream().ready_chunks(AT_A_TIME);
        let mut events = std::pin::pin!(events);
        let mut is_broken = false;
        loop {
            let chunk = tokio::select! {
                chunk = events.next() => chunk,
                () = self.works_again(api), if is_broken => {
                    is_broken = false;
                    self.current(kind);
                    continue;
                }
            };
            let Some(chunk) = chunk else { return };
            let mut good = Vec::with_capacity(chunk.len());
            let mut broke = None;
            for event in chunk {
                match event {
                    Ok(event) => {
                        broke = None;
                        good.push(event);
                    }
                    Err(err) => broke = Some(err),
                }
            }
            let is_listed = good.iter().any(|event| !matches!(event, Event::Init | Event::InitApply(_)));
            let rows = self.take(kind, good);
            self.store(&rows).await;
            if let Some(err) = broke {
                is_broken = true;
                self.broken(kind, &err);
            } else if is_listed {
                is_broken = false;
                self.current(kind);
            }
        }
    }

    /// Takes events in; the rows of what began and ended.
    fn take<K: Serialize>(&self, kind: Kind, events: Vec<Event<K>>) -> Vec<K8sObjectRow> {
        let at = now();
        let read = |object: K| {
            let json = serde_json::to_value(object).unwrap_or(Value::Null);
            let object = Object::read(kind, &json);
            if let Err(err) = &object {
                debug!(%err, "an object that can't be kept");
                self.stage.counters().unreadable_object();
            }
            object.ok()
        };
        // Reading is most of the work, and done before anybody has to wait.
        let events: Vec<Event<Option<Object>>> = events.into_iter().map(|event| map(event, read)).collect();
        let mut versions: Vec<Version> = Vec::new();
        {
            let mut history = self.enricher.history.write();
            for event in events {
                match event {
                    Event::Init => history.begin_list(kind),
                    Event::InitApply(Some(object)) => versions.extend(history.apply(object, at, true)),
                    Event::InitDone => versions.extend(history.finish_list(kind, at)),
                    Event::Apply(Some(object)) => versions.extend(history.apply(object, at, false)),
                    Event::Delete(Some(object)) => {
                        versions.extend(history.remove(kind, object.namespace.as_deref(), &object.name, at));
                    }
                    Event::InitApply(None) | Event::Apply(None) | Event::Delete(None) => {}
                }
            }
        }
        self.enricher.changed.send_modify(|changes| *changes += 1);
        versions.iter().map(row).collect()
    }

    /// Stores rows, however long the store needs: the API server waits for us, and remembers for minutes.
    async fn store(&self, rows: &[K8sObjectRow]) {
        if rows.is_empty() {
            return;
        }
        while let Err(err) = self.stage.append_own(rows).await {
            warn!(%err, rows = rows.len(), "versions of Kubernetes' objects could not be stored; tried again in a second");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn current(&self, kind: Kind) {
        if self.status.is_current(kind, now()) {
            info!("the view of Kubernetes is current");
        }
    }

    fn broken(&self, kind: Kind, err: &watcher::Error) {
        let text = reason(err);
        if self.status.is_stale(kind, text.clone(), now()) {
            warn!(kind = kind.kind, err = text, "a watch of Kubernetes broke; tried again until it works");
        }
    }

    /// Returns once Kubernetes answers for this kind.
    async fn works_again(&self, api: &Api<DynamicObject>) {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if api.list_metadata(&ListParams::default().limit(1)).await.is_ok() {
                return;
            }
        }
    }
}

fn map<K, T>(event: Event<K>, with: impl Fn(K) -> T) -> Event<T> {
    match event {
        Event::Apply(object) => Event::Apply(with(object)),
        Event::Delete(object) => Event::Delete(with(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(with(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// A version has a row when it begins and, with its end, another when it ends.
pub(super) fn row(version: &Version) -> K8sObjectRow {
    let object = &version.object;
    K8sObjectRow {
        time: version.from,
        end_time: version.to,
        kind: Some(SmolStr::new_static(object.kind.kind)),
        namespace: object.namespace.clone(),
        name: Some(object.name.clone()),
        uid: Some(object.uid.clone()),
        resource_version: Some(object.resource_version.clone()),
        addresses: object.addresses.iter().map(ToSmolStr::to_smolstr).collect(),
        node: object.node.clone(),
        labels: object.labels.clone(),
        object: (!object.rest.is_null()).then(|| object.rest.to_string().into()),
    }
}

/// What Kubernetes says, or else the whole chain: the innermost cause is what helps.
fn reason(err: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match err {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status.message.clone(),
        InitialListFailed(err) | WatchStartFailed(err) | WatchFailed(err) => chain(err),
        NoResourceVersion => err.to_string(),
    }
}

fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        let cause = err.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = err.source();
    }
    text
}

/// 0.2 s, doubled up to 5 s: of few watchers, and rows wait for them.
#[derive(Clone, Debug, Default)]
struct Retry {
    failures: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(200) * (1 << self.failures.min(5));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(5)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
