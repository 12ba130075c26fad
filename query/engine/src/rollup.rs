//! Questions that roll-ups can answer as well: sums, counts, least and greatest by columns that roll-ups keep, over times that
//! hold whole files. Those files are then asked by their roll-up, and everything else as ever; both answers add up.
//!
//! | file        | subject                                              |
//! |-------------|------------------------------------------------------|
//! | `rollup.rs` | a plan → one that reads roll-ups where it may           |
//! | `rollup/allowed.rs` | what may be asked of a roll-up                  |
//! | `rollup/table.rs` | roll-ups of files as a table                       |
//!
//! A file is asked by its roll-up only where all of its rows lie within the question's time, so that the answer is the same
//! to the row. Never here: how roll-ups are made.

mod allowed;
mod table;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, TableReference};
use datafusion::functions_aggregate::min_max::{max, min};
use datafusion::functions_aggregate::sum::sum;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use weir_model::rollup::{self, ROLLED_ROWS};
use weir_store::RollUpFile;

use crate::provider::StoreTable;
use allowed::{Asked, Within};
use table::RollUps;

/// The rule.
#[derive(Debug)]
pub(crate) struct UseRollUps;

impl OptimizerRule for UseRollUps {
    fn name(&self) -> &'static str {
        "use_roll_ups"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match rolled(aggregate)? {
            Some(rolled) => Ok(Transformed::yes(rolled)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// What an aggregate is over: a table, perhaps under another name, perhaps filtered.
struct Input<'a> {
    scan: &'a TableScan,
    alias: Option<&'a TableReference>,
    filters: Vec<Expr>,
}

impl Input<'_> {
    fn of(plan: &LogicalPlan) -> Option<Input<'_>> {
        match plan {
            LogicalPlan::Filter(filter) => {
                let mut input = Input::of(&filter.input)?;
                input.filters.extend(split_conjunction_owned(filter.predicate.clone()));
                Some(input)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Input::of(&alias.input)?;
                // Conditions below speak of the table by another name.
                (input.filters.is_empty() && input.alias.is_none())
                    .then_some(Input { alias: Some(&alias.alias), ..input })
            }
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                Some(Input { scan, alias: None, filters: scan.filters.clone() })
            }
            _ => None,
        }
    }

    /// The rows of `table` that pass `filters`.
    fn over(
        &self,
        table: Arc<dyn datafusion::catalog::TableProvider>,
        filters: Vec<Expr>,
    ) -> Result<LogicalPlanBuilder> {
        let source = provider_as_source(table);
        let mut plan = LogicalPlanBuilder::scan(self.scan.table_name.clone(), source, None)?;
        if let Some(alias) = self.alias {
            plan = plan.alias(alias.clone())?;
        }
        match conjunction(filters) {
            Some(filter) => plan.filter(filter),
            None => Ok(plan),
        }
    }
}

/// The same question with roll-ups, where there are some to use.
fn rolled(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let Some(input) = Input::of(&aggregate.input) else { return Ok(None) };
    let Ok(provider) = source_as_provider(&input.scan.source) else { return Ok(None) };
    let Some(whole) = provider.downcast_ref::<StoreTable>().filter(|table| table.is_whole()) else {
        return Ok(None);
    };
    let Some(rollup) = rollup::of(whole.table()) else { return Ok(None) };
    let asked = Asked { rollup, time: whole.table().time_column() };
    let Some(Within { from, until, others }) = asked.within(&input.filters) else { return Ok(None) };
    if !aggregate.group_expr.iter().all(|group| asked.is_kept(group)) {
        return Ok(None);
    }
    let Some(measures) =
        aggregate.aggr_expr.iter().map(|expr| asked.measure(expr)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let snapshot = whole.snapshot();
    let usable = snapshot.segments.iter().filter(|file| file.min_time >= from && file.max_time <= until);
    let usable: Vec<_> = usable.filter_map(|file| Some((file.path.clone(), file.rollup.clone()?))).collect();
    if usable.is_empty() {
        return Ok(None);
    }
    let (left_out, files): (HashSet<_>, Vec<RollUpFile>) = usable.into_iter().unzip();
    let raw = input.over(Arc::new(whole.without(left_out)), input.filters.clone())?;
    let by_rollup = input.over(Arc::new(RollUps::new(whole.store().clone(), rollup, files)), others)?;
    let groups = &aggregate.group_expr;
    let raw = part(raw, groups, aggregate.aggr_expr.iter().map(|expr| expr.clone().unalias()))?;
    let by_rollup = part(by_rollup, groups, measures.iter().map(|measure| measure.of_rollup.clone()))?;
    let both = LogicalPlanBuilder::from(raw).union(by_rollup)?;
    let column = |name: String| Expr::Column(Column::new_unqualified(name));
    let sums = measures.iter().enumerate().map(|(nth, measure)| (measure.sum)(column(measured(nth))));
    let groups = (0..groups.len()).map(|nth| column(grouped(nth)));
    let whole = both.aggregate(groups.collect::<Vec<_>>(), sums.collect::<Vec<_>>())?.build()?;
    let outputs = whole.schema().columns().into_iter().zip(aggregate.schema.iter());
    let outputs = outputs.map(|(column, (qualifier, field))| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    });
    let outputs = outputs.collect::<Vec<_>>();
    Ok(Some(LogicalPlanBuilder::from(whole).project(outputs)?.build()?))
}

/// One part of the answer, its columns named by their places.
fn part(
    rows: LogicalPlanBuilder,
    groups: &[Expr],
    measures: impl Iterator<Item = Expr>,
) -> Result<LogicalPlan> {
    let measures = measures.enumerate().map(|(nth, measure)| measure.alias(measured(nth)));
    let plan = rows.aggregate(groups.to_vec(), measures.collect::<Vec<_>>())?.build()?;
    let columns = plan.schema().columns().into_iter().enumerate().map(|(nth, column)| {
        let name = nth.checked_sub(groups.len()).map_or_else(|| grouped(nth), measured);
        Expr::Column(column).alias(name)
    });
    let columns = columns.collect::<Vec<_>>();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn grouped(nth: usize) -> String {
    format!("g{nth}")
}

fn measured(nth: usize) -> String {
    format!("m{nth}")
}

/// How a measure is asked of a roll-up, and how the parts of the answer become one.
struct Measure {
    of_rollup: Expr,
    sum: fn(Expr) -> Expr,
}

impl Measure {
    /// Rows.
    fn rows() -> Measure {
        Measure { of_rollup: sum(Expr::Column(Column::new_unqualified(ROLLED_ROWS))), sum }
    }

    fn sum(of: Expr) -> Measure {
        Measure { of_rollup: sum(of), sum }
    }

    fn least(of: Expr) -> Measure {
        Measure { of_rollup: min(of), sum: min }
    }

    fn greatest(of: Expr) -> Measure {
        Measure { of_rollup: max(of), sum: max }
    }
}
