//! A table over a snapshot of the store: the newest rows from memory, the rest from the files that its filters can
//! touch, in one plan.
//!
//! Text is `Utf8View` here, whatever it is in memory (dictionary) and files (plain): of all types it is grouped, joined
//! and compared fastest, and an answer's text is made plain at the end (`plain.rs`). Rows of memory are copied once they
//! passed the filter (`compact.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use object_store::path::Path;
use weir_model::Table;
use weir_store::{Segment, Snapshot, Store};

use crate::compact::CompactExec;
use crate::engine::Pins;
use crate::files::{self, ScanFile, parquet};
use crate::prune::{self, Span};
use crate::range::TimeRange;

/// One table of the store within one question.
pub(crate) struct StoreTable {
    store: Store,
    table: &'static Table,
    /// The table's columns as questions see them.
    schema: SchemaRef,
    pins: Pins,
    /// Files that are left out: their roll-ups are read in their place.
    rolled: Option<Arc<HashSet<Path>>>,
}

impl std::fmt::Debug for StoreTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreTable({})", self.table.name)
    }
}

/// What one scan reads: the columns that are wanted, then those that only the filter needs.
pub(crate) struct Read {
    pub(crate) columns: Vec<usize>,
    wanted: usize,
    schema: SchemaRef,
    /// Over `schema`.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
}

impl Read {
    /// Of a table with these columns.
    pub(crate) fn of(
        table: &SchemaRef,
        projection: Option<&Vec<usize>>,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Read> {
        let mut columns =
            projection.cloned().unwrap_or_else(|| (0..table.fields().len()).collect::<Vec<_>>());
        let wanted = columns.len();
        if let Some(predicate) = predicate {
            let mut filtered: Vec<usize> = collect_columns(predicate).iter().map(Column::index).collect();
            filtered.sort_unstable();
            for column in filtered {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
        let schema = Arc::new(table.project(&columns)?);
        let predicate =
            predicate.map(|predicate| reassign_expr_columns(predicate.clone(), &schema)).transpose()?;
        Ok(Read { columns, wanted, schema, predicate })
    }

    /// Rows that pass, with the wanted columns. Files take the filter over later (physical filter push-down) and drop
    /// this step; memory keeps it.
    pub(crate) fn filtered(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(predicate) = &self.predicate else { return Ok(input) };
        let filter = FilterExecBuilder::new(predicate.clone(), input);
        Ok(Arc::new(filter.apply_projection(Some((0..self.wanted).collect()))?.build()?))
    }
}

impl StoreTable {
    pub(crate) fn new(store: Store, table: &'static Table, schema: SchemaRef, pins: Pins) -> StoreTable {
        StoreTable { store, table, schema, pins, rolled: None }
    }

    /// The same without some files.
    pub(crate) fn without(&self, files: HashSet<Path>) -> StoreTable {
        StoreTable {
            store: self.store.clone(),
            table: self.table,
            schema: self.schema.clone(),
            pins: self.pins.clone(),
            rolled: Some(Arc::new(files)),
        }
    }

    /// Whether it is all of the table.
    pub(crate) fn is_whole(&self) -> bool {
        self.rolled.is_none()
    }

    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The table as this question first saw it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let snapshots = &mut self.pins.lock().snapshots;
        if let Some((_, snapshot)) = snapshots.iter().find(|(name, _)| *name == self.table.name) {
            return snapshot.clone();
        }
        let snapshot = self.store.snapshot(self.table);
        snapshots.push((self.table.name, snapshot.clone()));
        snapshot
    }

    fn note_range(&self, filters: &[Expr]) {
        let range = TimeRange::of(filters, self.table.time_column());
        let mut pins = self.pins.lock();
        pins.range = Some(pins.range.map_or(range, |known| known.with(range)));
    }

    /// What the catalog knows of the files, so that counting rows or finding the newest reads none of them.
    fn statistics(&self, segments: &[&Segment]) -> Statistics {
        let rows = segments.iter().map(|segment| segment.rows as usize).sum();
        let earliest = segments.iter().map(|segment| segment.min_time).min();
        let latest = segments.iter().map(|segment| segment.max_time).max();
        let statistics = earliest.zip(latest).map(|times| files::statistics(&self.schema, times));
        let statistics = statistics.unwrap_or_else(|| Statistics::new_unknown(&self.schema));
        statistics.with_num_rows(Precision::Exact(rows))
    }

    fn memory(&self, snapshot: Snapshot, read: &Read, state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        // Several partitions, so that a question about the last minutes uses every core too.
        let threads = state.config().target_partitions().min(snapshot.memory.len()).max(1);
        let mut partitions = vec![Vec::new(); threads];
        for (index, batch) in snapshot.memory.into_iter().enumerate() {
            partitions[index % threads].push(batch);
        }
        let stored = self.table.schema();
        let columns = Some(read.columns.clone());
        let memory: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&partitions, stored.clone(), columns)?;
        as_viewed(memory, &stored.project(&read.columns)?, &read.schema)
    }
}

/// What files filter by, over the columns of `table`.
pub(crate) fn predicate(
    filters: &[Expr],
    table: &SchemaRef,
    state: &dyn Session,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(filter) = conjunction(filters.to_vec()) else { return Ok(None) };
    let named = DFSchema::try_from(table.as_ref().clone())?;
    Ok(Some(state.create_physical_expr(filter, &named)?))
}

/// Casts what is not yet of its type in `schema`.
fn as_viewed(
    input: Arc<dyn ExecutionPlan>,
    stored: &Schema,
    schema: &Schema,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fields = stored.fields().iter().zip(schema.fields()).enumerate();
    let expressions = fields.map(|(index, (stored, viewed))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(stored.name(), index));
        let expr: Arc<dyn PhysicalExpr> = if stored.data_type() == viewed.data_type() {
            column
        } else {
            Arc::new(CastExpr::new(column, viewed.data_type().clone(), None))
        };
        ProjectionExpr { expr, alias: viewed.name().clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(expressions.collect::<Vec<_>>(), input)?))
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The scan filters its own rows, so columns that only a filter needs go no further than it.
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.snapshot();
        self.note_range(filters);
        let predicate = predicate(filters, &self.schema, state)?;
        let read = Read::of(&self.schema, projection, predicate.as_ref())?;
        let all = snapshot.segments.clone();
        let spans =
            all.iter().map(|file| Span { times: Some((file.min_time, file.max_time)), rows: file.rows });
        let spans: Vec<Span> = spans.collect();
        let kept = prune::by_time(&spans, predicate.as_ref(), self.table.time_column(), &self.schema)?;
        let rolled = |file: &Segment| self.rolled.as_ref().is_some_and(|rolled| rolled.contains(&file.path));
        let segments = all.iter().zip(kept).filter(|(file, keep)| *keep && !rolled(file));
        let segments: Vec<&Segment> = segments.map(|(file, _)| file).collect();
        let mut parts = Vec::new();
        if !segments.is_empty() {
            let files: Vec<_> = segments.iter().map(|segment| ScanFile::from(*segment)).collect();
            let statistics = self.statistics(&segments);
            let files = parquet(&self.store, &self.schema, files, statistics, &read, state, limit).await?;
            parts.push(read.filtered(files)?);
        }
        if !snapshot.memory.is_empty() || parts.is_empty() {
            let rows = read.filtered(self.memory(snapshot, &read, state)?)?;
            // Rows that are only counted have nothing to own.
            let has_columns = !rows.schema().fields().is_empty();
            parts.push(if has_columns { Arc::new(CompactExec::new(rows)) } else { rows });
        }
        UnionExec::try_new(parts)
    }
}
