//! Files of a table give way to others, or to nothing: one commit, then one change of what readers see. Who has a
//! snapshot goes on with the files that it names; they are set aside or deleted once nobody does.

use std::sync::Arc;

use object_store::path::Path;

use crate::StoreError;
use crate::catalog::{Commit, FileEntry};
use crate::scan::{Fate, Segment};
use crate::store::Inner;

/// A file and its roll-up are not needed any more.
pub(crate) fn deleted(inner: &Inner, segment: &Segment) -> Fate {
    let rollup = segment.rollup.iter().map(|rollup| &rollup.path);
    Fate::Deleted(
        std::iter::once(&segment.path).chain(rollup).map(|path| inner.objects.on_disk(path)).collect(),
    )
}

/// How a table's files change.
#[derive(Debug, Default)]
pub(crate) struct Replacement {
    pub(crate) add: Vec<FileEntry>,
    pub(crate) remove: Vec<Path>,
    /// Rows of this time (ns) and earlier go with the files.
    pub(crate) retired: Option<i64>,
}

/// Replaces files of the table in that place; false, and nothing is changed, where it lacks one of the files to be removed:
/// somebody else was faster.
pub(crate) async fn commit(
    inner: &Inner,
    table: usize,
    files: Replacement,
    fate: impl Fn(&Segment) -> Fate,
) -> Result<bool, StoreError> {
    let Replacement { add, remove, retired } = files;
    let name = weir_model::tables::ALL[table].name;
    let mut catalog = inner.catalog.lock().await;
    let has_all = |catalog: &crate::store::CatalogState| {
        remove.iter().all(|path| catalog.log.state().has(path.as_ref()))
    };
    if !has_all(&catalog) {
        return Ok(false);
    }
    let commit = Commit {
        add: add.clone(),
        remove: remove.iter().map(ToString::to_string).collect(),
        retired: retired.map(|time| (name.to_owned(), time)).into_iter().collect(),
        ..Commit::of(&inner.writer)
    };
    catalog.log.commit(commit).await?;
    // Still under the catalog's lock, so that the view changes in the order of the commits.
    let mut view = inner.view.write();
    let table = &mut view.tables[table];
    table.retired = table.retired.max(retired);
    let segments = Arc::make_mut(&mut table.segments);
    segments.retain(|segment| {
        let stays = !remove.contains(&segment.path);
        if !stays {
            segment.file.decide(fate(segment));
        }
        stays
    });
    segments.extend(add.iter().map(Segment::of));
    Ok(true)
}
