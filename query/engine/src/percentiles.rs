//! `p50(x)` … `p99(x)`: percentiles in one word. Approximate (t-digest), so that their memory doesn't grow with the rows;
//! `percentile_cont(0.99) WITHIN GROUP (ORDER BY x)` is exact.

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};
use datafusion::prelude::{SessionContext, lit};

/// Name and share of the values that are at most the answer.
const ALL: [(&str, f64); 5] = [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// Adds them to a session.
pub(crate) fn register(context: &SessionContext) {
    for (name, share) in ALL {
        let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
        context.register_udaf(AggregateUDF::new_from_impl(Percentile {
            name,
            thousandths: (share * 1000.0) as u32,
            signature,
        }));
    }
}

/// A name for one percentile; the planner puts `approx_percentile_cont` in its place.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    /// Whole, so that the function can be compared.
    thousandths: u32,
    signature: Signature,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("{} is planned as approx_percentile_cont", self.name)
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let share = f64::from(self.thousandths) / 1000.0;
        Some(Box::new(move |function: AggregateFunction, _| {
            let AggregateFunctionParams { mut args, filter, null_treatment, .. } = function.params;
            let values = args.remove(0);
            let mut planned = approx_percentile_cont(values.sort(true, false), lit(share), None);
            if let Expr::AggregateFunction(planned) = &mut planned {
                planned.params.filter = filter;
                planned.params.null_treatment = null_treatment;
            }
            Ok(planned)
        }))
    }
}
