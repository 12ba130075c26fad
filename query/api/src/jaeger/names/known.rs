//! Which services and operations each file tells of. Files never change, so each is asked once; what is in memory is asked
//! each time. However many spans there are, a list of names costs what is new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use weir_model::tables::SPANS;
use weir_query::Engine;
use weir_store::{Segment, Snapshot};

use super::{MOST_ROWS, texts_of};
use crate::jaeger::failure::Failure;

/// Names of one file that are kept. Where there are more, its services are, and its operations are read when they are asked for.
const MOST_OF_A_FILE: usize = 10_000;
/// Names of all files together, each counted in every file that has it; beyond, files are asked again.
const MOST_KNOWN: usize = 4_000_000;
/// Files that are asked at a time.
const AT_A_TIME: usize = 4;
const NAMES: &str = "SELECT DISTINCT service, operation, kind FROM spans";
const SERVICES: &str = "SELECT DISTINCT service, '' AS operation, '' AS kind FROM spans";

/// What a span is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Empty where there is none, as the others.
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) kind: String,
}

/// Names, and what has more than those.
#[derive(Debug)]
pub(super) struct Names {
    /// Some are there twice. Of what is in `more`, each service, without an operation.
    pub(super) names: Vec<Arc<Name>>,
    /// Files, and what is in memory, with more names than are kept.
    pub(super) more: Snapshot,
}

/// What was learned of files.
#[derive(Debug, Default)]
pub(crate) struct Known(tokio::sync::Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    /// By their path.
    files: HashMap<String, OfFile>,
    /// Each name once, since most files have the same: all that files have.
    names: HashSet<Arc<Name>>,
}

#[derive(Debug)]
struct OfFile {
    names: Vec<Arc<Name>>,
    has_more: bool,
}

impl Known {
    /// The names that spans have now, in memory or in a file.
    pub(super) async fn names(&self, engine: &Engine) -> Result<Names, Failure> {
        // Those who come meanwhile wait, and find it known.
        let mut known = self.0.lock().await;
        let Snapshot { memory, segments, .. } = engine.store().snapshot(&SPANS);
        known.forget_all_but(&segments);
        let new: Vec<Segment> =
            segments.iter().filter(|file| !known.files.contains_key(file.path.as_ref())).cloned().collect();
        let mut asked = stream::iter(new)
            .map(|file| async move {
                let path = file.path.to_string();
                let only = Snapshot { segments: Arc::new(vec![file]), ..Snapshot::default() };
                Ok::<_, Failure>((path, of(engine, &only).await?))
            })
            .buffer_unordered(AT_A_TIME);
        while let Some((path, names)) = asked.try_next().await? {
            known.learn(path, names);
        }
        let mut names: Vec<Arc<Name>> = known.names.iter().cloned().collect();
        let has_more =
            |file: &&Segment| known.files.get(file.path.as_ref()).is_some_and(|file| file.has_more);
        let segments = Arc::new(segments.iter().filter(has_more).cloned().collect());
        let mut more = Snapshot { segments, ..Snapshot::default() };
        if !memory.is_empty() {
            let newest = Snapshot { memory, ..Snapshot::default() };
            let (of_memory, has_more) = of(engine, &newest).await?;
            names.extend(of_memory.into_iter().map(Arc::new));
            if has_more {
                more.memory = newest.memory;
            }
        }
        Ok(Names { names, more })
    }
}

/// The names in `part`; only its services where it has more than are kept.
async fn of(engine: &Engine, part: &Snapshot) -> Result<(Vec<Name>, bool), Failure> {
    let mut answer = engine.collect_from(&SPANS, part.clone(), NAMES, MOST_OF_A_FILE).await?;
    let has_more = answer.is_truncated;
    if has_more {
        answer = engine.collect_from(&SPANS, part.clone(), SERVICES, MOST_ROWS).await?;
    }
    let name = |[service, operation, kind]: [String; 3]| Name { service, operation, kind };
    Ok((texts_of(answer)?.into_iter().map(name).collect(), has_more))
}

impl Files {
    /// Files that are gone take their names with them.
    fn forget_all_but(&mut self, segments: &[Segment]) {
        let there: HashSet<&str> = segments.iter().map(|file| file.path.as_ref()).collect();
        self.files.retain(|path, _| there.contains(path.as_str()));
        if self.files.values().map(|file| file.names.len()).sum::<usize>() > MOST_KNOWN {
            self.files.clear();
        }
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    fn learn(&mut self, path: String, (names, has_more): (Vec<Name>, bool)) {
        let mut of_file = Vec::with_capacity(names.len());
        for name in names {
            let name = self.names.get(&name).cloned().unwrap_or_else(|| Arc::new(name));
            self.names.insert(name.clone());
            of_file.push(name);
        }
        self.files.insert(path, OfFile { names: of_file, has_more });
    }
}
