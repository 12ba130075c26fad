//! Files of a table give way to others, or to nothing: one commit, then one change of what readers see. Who has a
//! snapshot goes on with the files that it names; they are set aside or deleted once nobody does, or in a store that others
//! read, too, after a while ([`crate::shared`]).

use std::sync::Arc;

use object_store::path::Path;

use crate::catalog::{Commit, FileEntry, LostRows};
use crate::scan::{Fate, Segment};
use crate::store::Inner;
use crate::view::View;
use crate::{StoreError, shared};

/// A file and its roll-up are not needed any more.
pub(crate) fn deleted(inner: &Inner, segment: &Segment) -> Fate {
    let rollup = segment.rollup.iter().map(|rollup| &rollup.path);
    let paths = std::iter::once(&segment.path).chain(rollup);
    Fate::Deleted(paths.filter_map(|path| inner.objects.on_disk(path)).collect())
}

/// How a table's files change.
#[derive(Debug, Default)]
pub(crate) struct Replacement {
    pub(crate) add: Vec<FileEntry>,
    pub(crate) remove: Vec<Path>,
    /// Rows of this time (ns) and earlier go with the files.
    pub(crate) retired: Option<i64>,
    /// Rows that are lost with the files.
    pub(crate) lost: Vec<LostRows>,
}

/// Replaces files of the table in that place; false, and nothing is changed, where it lacks one of the files to be removed:
/// somebody else was faster.
pub(crate) async fn commit(
    inner: &Inner,
    table: usize,
    files: Replacement,
    fate: impl Fn(&Segment) -> Fate,
) -> Result<bool, StoreError> {
    let Replacement { add, remove, retired, lost } = files;
    let name = weir_model::tables::ALL[table].name;
    let mut catalog = inner.catalog.lock().await;
    let commit = Commit {
        add: add.clone(),
        remove: remove.iter().map(ToString::to_string).collect(),
        retired: retired.map(|time| (name.to_owned(), time)).into_iter().collect(),
        lost,
        ..Commit::of(&inner.writer)
    };
    let is_done = catalog.log.commit(commit).await?;
    let is_shared = inner.objects.is_shared();
    let change = |view: &mut View| {
        let table = &mut view.tables[table];
        table.retired = table.retired.max(retired);
        let segments = Arc::make_mut(&mut table.segments);
        segments.retain(|segment| {
            let stays = !remove.contains(&segment.path);
            if !stays && !is_shared {
                segment.file.decide(fate(segment));
            }
            stays
        });
        segments.extend(add.iter().map(Segment::of));
    };
    shared::publish(inner, &mut catalog, |view| {
        if is_done {
            change(view);
        }
    });
    Ok(is_done)
}
