//! A store that several writers have in common, on an object store: where it is, and what each of them does beside its own
//! work, which is to follow what the others commit and to delete what nobody needs any more.
//!
//! Who reads a file can't be known here: one that left its table stays for [`Shared::grace`], and what no commit names (its
//! writer died, or is about to name it) for [`Shared::unnamed`]. Ages are by the clocks of writers and of the object store,
//! which have to agree to some minutes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, RetryConfig};
use tracing::{info, warn};

use crate::catalog::{Catalog, Commit, FileEntry, LostRows, State};
use crate::objects::Objects;
use crate::store::{CatalogState, Inner, Opened};
use crate::view::View;
use crate::{StoreError, check, commit};

/// How long a request may take.
const REQUEST: Duration = Duration::from_mins(1);
/// How often a request is made again, and for how long.
const RETRIES: (usize, Duration) = (5, Duration::from_secs(15));
/// Each so-many-th look for commits finds out, too, whether this writer has missed so many that they aren't there any more.
const THOROUGHLY: u32 = 15;
/// A writer that committed nothing for so long merges nothing.
const AWAY: Duration = Duration::from_mins(15);

/// Where several writers have one store.
#[derive(Clone)]
pub struct Shared {
    objects: Arc<dyn ObjectStore>,
    /// Where that is a folder of this machine's.
    root: Option<PathBuf>,
    name: String,
    /// How often it is looked for what others committed.
    pub refresh: Duration,
    /// How long a file stays that is not its table's any more: longer than any question takes.
    pub grace: Duration,
    /// How long a file stays that no commit names: longer than any file takes to be written.
    pub unnamed: Duration,
}

impl std::fmt::Debug for Shared {
    /// Without the object store, which knows its credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({})", self.name)
    }
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Shared {
    /// By its URL: `s3://bucket/prefix`, with credentials, region and endpoint as the `AWS_*` variables of the environment
    /// say; or `file:///folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Place`] where the URL or a variable can't be understood. Nothing is asked of the object store yet.
    pub fn open(url: &str) -> Result<Shared, StoreError> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Shared::open_with(url, std::env::vars_os().filter_map(text))
    }

    /// The same in another environment.
    ///
    /// # Errors
    /// As [`Shared::open`].
    pub fn open_with(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Shared, StoreError> {
        let wrong = |why: String| StoreError::Place { url: url.to_owned(), why };
        if let Some(folder) = url.strip_prefix("file://") {
            let folder = PathBuf::from(folder);
            if !folder.is_absolute() {
                return Err(wrong("a folder's URL has three slashes: file:///srv/weir".to_owned()));
            }
            std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
            let folder = std::fs::canonicalize(&folder).map_err(StoreError::io(&folder))?;
            let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder)?);
            return Ok(Shared { root: Some(folder), ..Shared::of(objects, url) });
        }
        let Some(place) = url.strip_prefix("s3://") else {
            return Err(wrong("it begins with s3:// or file://".to_owned()));
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || place.contains(['?', '#', '@']) {
            // It may have a secret in it.
            let url = "the URL of --store".to_owned();
            let why =
                "it is s3://BUCKET or s3://BUCKET/PREFIX; credentials go into AWS_* variables".to_owned();
            return Err(StoreError::Place { url, why });
        }
        let objects = s3(bucket, variables).map_err(|err| wrong(err.to_string()))?;
        let prefix = Path::parse(prefix).map_err(|err| wrong(err.to_string()))?;
        Ok(Shared::of(Arc::new(PrefixStore::new(objects, prefix)), url))
    }

    /// Any object store that makes an object only where none is ([`object_store::PutMode::Create`]); `name` is for people.
    pub fn of(objects: Arc<dyn ObjectStore>, name: &str) -> Shared {
        Shared {
            objects,
            root: None,
            name: name.trim_end_matches('/').to_owned(),
            refresh: Duration::from_secs(2),
            grace: Duration::from_mins(15),
            unnamed: Duration::from_hours(24),
        }
    }

    /// Where it is a folder of this machine's.
    pub fn root(&self) -> Option<&FsPath> {
        self.root.as_deref()
    }

    /// What is kept there, for those that read files by the names that the catalog has.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }
}

/// A bucket, as the `AWS_*` variables say.
fn s3(
    bucket: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<AmazonS3, object_store::Error> {
    let mut builder = AmazonS3Builder::new();
    let mut endpoints = [None, None];
    for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "AWS_ENDPOINT_URL_S3" => endpoints[0] = Some(value),
            "AWS_ENDPOINT_URL" | "AWS_ENDPOINT" => endpoints[1] = Some(value),
            _ if name.starts_with("AWS_") => {
                // Others are other tools'.
                if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            _ => {}
        }
    }
    let endpoint = endpoints.into_iter().flatten().next();
    let options = ClientOptions::new()
        .with_timeout(REQUEST)
        // Only who names such an endpoint has it.
        .with_allow_http(endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            max_retries: RETRIES.0,
            retry_timeout: RETRIES.1,
            ..RetryConfig::default()
        })
        .with_client_options(options)
        .build()
}

/// Follows and tidies up for as long as the store lives.
pub(crate) async fn run(store: Weak<Inner>, shared: Shared) {
    let mut swept = Instant::now();
    for turn in 1_u32.. {
        tokio::time::sleep(shared.refresh).await;
        let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else { return };
        if let Err(err) = follow(&inner, turn.is_multiple_of(THOROUGHLY)).await {
            warn!(store = %shared, %err, "what other writers committed can't be read; it is tried again");
            continue;
        }
        if swept.elapsed() >= shared.grace / 3 {
            swept = Instant::now();
            if let Err(err) = sweep(&inner, &shared).await {
                warn!(store = %shared, %err, "files that nobody needs any more stay for now");
            }
        }
    }
}

/// Takes over what others committed.
pub(crate) async fn follow(inner: &Inner, is_thorough: bool) -> Result<(), StoreError> {
    let mut catalog = inner.catalog.lock().await;
    let refreshed = catalog.log.refresh(is_thorough).await;
    // Also what was read before something failed.
    publish(inner, &mut catalog, |_| ());
    refreshed
}

/// Shows readers what the catalog says, together with `change`. Under the catalog's lock, so that the view changes in the
/// order of the commits.
pub(crate) fn publish(inner: &Inner, catalog: &mut CatalogState, change: impl FnOnce(&mut View)) {
    let news = catalog.log.news();
    let mut view = inner.view.write();
    change(&mut view);
    view.lost = catalog.log.state().lost().to_vec();
    if let Some(news) = news {
        view.follow(catalog.log.state(), news);
    }
}

/// Deletes what nobody needs any more.
async fn sweep(inner: &Inner, shared: &Shared) -> Result<(), StoreError> {
    let found = listed(&inner.objects).await?;
    // What is named by now is not deleted, whenever it was listed.
    follow(inner, false).await?;
    let needless: Vec<Path> = {
        let catalog = inner.catalog.lock().await;
        let state = catalog.log.state();
        let kept = Kept { named: state.paths().collect(), state, shared, now: commit::now() };
        found.into_iter().filter(|object| !kept.is_kept(object)).map(|object| object.location).collect()
    };
    delete(&inner.objects, needless).await
}

/// Deletes what a process of this writer's that is gone wrote and didn't name. It can't name it any more: this one has
/// committed since.
pub(crate) async fn delete_own_orphans(
    objects: &Objects,
    catalog: &Catalog,
    writer: &str,
) -> Result<(), StoreError> {
    let named: HashSet<&str> = catalog.state().paths().collect();
    let is_own = |path: &Path| {
        path.filename().and_then(|name| name.strip_prefix(writer)).is_some_and(|rest| rest.starts_with('-'))
    };
    let is_orphan = |path: &Path| {
        is_own(path) && !named.contains(path.as_ref()) && catalog.state().gone(path.as_ref()).is_none()
    };
    let found = listed(objects).await?.into_iter().map(|object| object.location);
    delete(objects, found.filter(is_orphan).collect()).await
}

/// Takes files out of their tables that are not there, or not of the size that the catalog says: somebody else than Weir
/// deleted or changed them.
pub(crate) async fn take_out_missing(
    objects: &Objects,
    writer: &str,
    catalog: &mut Catalog,
    opened: &mut Opened,
) -> Result<(), StoreError> {
    let found = listed(objects).await?;
    let sizes: HashMap<&str, u64> =
        found.iter().map(|object| (object.location.as_ref(), object.size)).collect();
    // What another writer committed since is not in the list; it is asked for by itself.
    let fault = async |path: &str, size: u64| {
        if sizes.get(path) == Some(&size) {
            return Ok(None);
        }
        check::fault_of_size(objects, &Path::from(path), size).await
    };
    let files: Vec<FileEntry> = catalog.state().files().cloned().collect();
    for file in files {
        if let Some(rollup) = &file.rollup
            && let Some(fault) = fault(&rollup.path, rollup.size).await?
        {
            warn!(path = rollup.path, fault, "a roll-up is damaged; its file answers by itself");
            let (add, remove) = (FileEntry { rollup: None, ..file.clone() }, file.path.clone());
            catalog.commit(Commit { add: vec![add], remove: vec![remove], ..Commit::of(writer) }).await?;
        }
        let Some(fault) = fault(&file.path, file.size).await? else { continue };
        let (remove, lost) = (vec![file.path.clone()], vec![LostRows::of(&file)]);
        if catalog.commit(Commit { remove, lost, ..Commit::of(writer) }).await? {
            warn!(path = file.path, rows = file.rows, fault, "a damaged file is taken out of its table");
            opened.quarantined_rows += file.rows;
            opened.quarantined.push((file.path, fault));
        }
    }
    Ok(())
}

async fn delete(objects: &Objects, needless: Vec<Path>) -> Result<(), StoreError> {
    let files = needless.len();
    for path in needless {
        objects.delete(&path).await?;
    }
    if files > 0 {
        info!(files, "deleted files that no table has");
    }
    Ok(())
}

/// All files, of all tables and roll-ups.
pub(crate) async fn listed(objects: &Objects) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut found = objects.list("tables").await?;
    found.extend(objects.list("rollups").await?);
    Ok(found)
}

/// What is not deleted yet.
struct Kept<'a> {
    named: HashSet<&'a str>,
    state: &'a State,
    shared: &'a Shared,
    now: i64,
}

impl Kept<'_> {
    fn is_kept(&self, object: &ObjectMeta) -> bool {
        let path = object.location.as_ref();
        if self.named.contains(path) {
            return true;
        }
        let (since, kept) = match self.state.gone(path) {
            Some(since) => (since, self.shared.grace),
            None => (object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX), self.shared.unnamed),
        };
        self.now < since.saturating_add(i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Whether it is `writer`'s turn to merge the files of a folder: each writer that committed lately has its own, so that no two
/// merge the same ones and one of them in vain.
pub(crate) fn merges(state: &State, writer: &str, folder: &str, now: i64) -> bool {
    let since = now.saturating_sub(AWAY.as_nanos() as i64);
    let weight = |writer: &str| (crc32c::crc32c(format!("{writer} {folder}").as_bytes()), writer.to_owned());
    let ours = weight(writer);
    state.writers_since(since).all(|other| other == writer || weight(other) < ours)
}

#[cfg(test)]
mod tests;
