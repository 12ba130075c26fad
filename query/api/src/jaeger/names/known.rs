//! Which services and operations each file tells of. Files never change, so each is asked once; what is in memory is asked
//! each time. However many spans there are, a list of names costs what is new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use weir_model::tables::SPANS;
use weir_query::Engine;
use weir_store::{Segment, Snapshot};

use super::texts_of;
use crate::jaeger::failure::Failure;

/// Names of one file: more are of no use to a person.
const MOST_OF_A_FILE: usize = 10_000;
/// Names of all files together, each counted in every file that has it; beyond, files are asked again.
const MOST_KNOWN: usize = 4_000_000;
/// Files that are asked at a time.
const AT_A_TIME: usize = 4;
const SQL: &str = "SELECT DISTINCT service, operation, kind FROM spans";

/// What a span is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Empty where there is none, as the others.
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) kind: String,
}

/// What was learned of files.
#[derive(Debug, Default)]
pub(crate) struct Known(tokio::sync::Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    /// By their path.
    files: HashMap<String, Vec<Arc<Name>>>,
    /// Each name once, since most files have the same: all that files have.
    names: HashSet<Arc<Name>>,
}

impl Known {
    /// Every name that a span has now, in memory or in a file; some twice.
    pub(super) async fn names(&self, engine: &Engine) -> Result<Vec<Arc<Name>>, Failure> {
        // Those who come meanwhile wait, and find it known.
        let mut known = self.0.lock().await;
        let Snapshot { memory, segments } = engine.store().snapshot(&SPANS);
        known.forget_all_but(&segments);
        let new: Vec<Segment> =
            segments.iter().filter(|file| !known.files.contains_key(file.path.as_ref())).cloned().collect();
        let mut asked = stream::iter(new)
            .map(|file| async move {
                let path = file.path.to_string();
                let only = Snapshot { memory: Vec::new(), segments: Arc::new(vec![file]) };
                Ok::<_, Failure>((path, of(engine, only).await?))
            })
            .buffer_unordered(AT_A_TIME);
        while let Some((path, names)) = asked.try_next().await? {
            known.learn(path, names);
        }
        let mut all: Vec<Arc<Name>> = known.names.iter().cloned().collect();
        if !memory.is_empty() {
            let newest = Snapshot { memory, segments: Arc::default() };
            all.extend(of(engine, newest).await?.into_iter().map(Arc::new));
        }
        Ok(all)
    }
}

async fn of(engine: &Engine, snapshot: Snapshot) -> Result<Vec<Name>, Failure> {
    let rows: Vec<[String; 3]> = texts_of(engine.collect_from(&SPANS, snapshot, SQL, MOST_OF_A_FILE).await?)?;
    Ok(rows.into_iter().map(|[service, operation, kind]| Name { service, operation, kind }).collect())
}

impl Files {
    /// Files that are gone take their names with them.
    fn forget_all_but(&mut self, segments: &[Segment]) {
        let there: HashSet<&str> = segments.iter().map(|file| file.path.as_ref()).collect();
        self.files.retain(|path, _| there.contains(path.as_str()));
        if self.files.values().map(Vec::len).sum::<usize>() > MOST_KNOWN {
            self.files.clear();
        }
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    fn learn(&mut self, path: String, names: Vec<Name>) {
        let mut of_file = Vec::with_capacity(names.len());
        for name in names {
            let name = self.names.get(&name).cloned().unwrap_or_else(|| Arc::new(name));
            self.names.insert(name.clone());
            of_file.push(name);
        }
        self.files.insert(path, of_file);
    }
}
