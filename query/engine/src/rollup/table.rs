//! Roll-ups of some files as a table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use weir_model::rollup::RollUp;
use weir_store::{RollUpFile, Store};

use crate::files::{self, ScanFile};
use crate::plain;
use crate::provider::{self, Read};

pub(super) struct RollUps {
    store: Store,
    schema: SchemaRef,
    files: Vec<RollUpFile>,
}

impl std::fmt::Debug for RollUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RollUps({} files)", self.files.len())
    }
}

impl RollUps {
    pub(super) fn new(store: Store, rollup: &'static RollUp, files: Vec<RollUpFile>) -> RollUps {
        RollUps { store, schema: plain::views(&rollup.schema()), files }
    }
}

#[async_trait]
impl TableProvider for RollUps {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = provider::predicate(filters, &self.schema, state)?;
        let read = Read::of(&self.schema, projection, predicate.as_ref())?;
        let files = self.files.iter().map(|file| ScanFile {
            path: file.path.clone(),
            size: file.size,
            rows: file.rows,
            times: None,
        });
        let files = files.collect();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(self.files.iter().map(|file| file.rows as usize).sum());
        let rows = files::parquet(&self.store, &self.schema, files, statistics, &read, state, limit).await?;
        read.filtered(rows)
    }
}
