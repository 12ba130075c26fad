//! A table over a snapshot of the store: the newest rows from memory, the rest from the files that its filters can
//! touch, in one plan.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use weir_model::Table;
use weir_store::{Segment, Snapshot, Store};

use crate::engine::Pins;
use crate::prune;

/// The store's files under a name of their own, so that no SQL reaches another file by a path.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("weir://store").expect("a constant URL")
}

/// One table of the store within one question.
pub(crate) struct StoreTable {
    store: Store,
    table: &'static Table,
    pins: Pins,
}

impl std::fmt::Debug for StoreTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreTable({})", self.table.name)
    }
}

impl StoreTable {
    pub(crate) fn new(store: Store, table: &'static Table, pins: Pins) -> StoreTable {
        StoreTable { store, table, pins }
    }

    /// The table as this question first saw it.
    fn snapshot(&self) -> Snapshot {
        let mut pins = self.pins.lock();
        if let Some((_, snapshot)) = pins.iter().find(|(name, _)| *name == self.table.name) {
            return snapshot.clone();
        }
        let snapshot = self.store.snapshot(self.table);
        pins.push((self.table.name, snapshot.clone()));
        snapshot
    }

    fn files(
        &self,
        segments: &[Segment],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let segments = prune::by_time(segments, predicate.as_ref(), self.table)?;
        if segments.is_empty() {
            return Ok(None);
        }
        let threads = state.config().target_partitions().min(segments.len()).max(1);
        let mut groups = vec![Vec::new(); threads];
        for (index, segment) in segments.into_iter().enumerate() {
            groups[index % threads].push(PartitionedFile::new(segment.path.to_string(), segment.size));
        }
        let options = state.config_options().execution.parquet.clone();
        let mut source = ParquetSource::new(self.table.schema())
            .with_pushdown_filters(options.pushdown_filters)
            .with_reorder_filters(options.reorder_filters)
            .with_enable_page_index(options.enable_page_index)
            .with_bloom_filter_on_read(options.bloom_filter_on_read);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files use them to skip; the filter above stays, since memory doesn't.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.snapshot();
        let schema = self.table.schema();
        let predicate = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let named = DFSchema::try_from(schema.as_ref().clone())?;
                Some(state.create_physical_expr(filter, &named)?)
            }
            None => None,
        };
        let files = self.files(&snapshot.segments, predicate, state, projection, limit)?;
        // Several partitions, so that a question about the last minutes uses every core too.
        let threads = state.config().target_partitions().min(snapshot.memory.len()).max(1);
        let mut partitions = vec![Vec::new(); threads];
        for (index, batch) in snapshot.memory.into_iter().enumerate() {
            partitions[index % threads].push(batch);
        }
        let memory: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&partitions, schema, projection.cloned())?;
        match files {
            Some(files) => UnionExec::try_new(vec![memory, files]),
            None => Ok(memory),
        }
    }
}
