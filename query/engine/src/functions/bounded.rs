//! Built-in functions that make much from little, such as `range(0, 10000000000)`: what they make isn't counted as a
//! question's memory, so what one call may make is bounded here, before it is made.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, resources_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::prelude::SessionContext;

/// What one call, for the rows of one batch, may make.
const MOST_BYTES: f64 = (64_u64 << 20) as f64;
/// A number, or an element of a list, about.
const VALUE_BYTES: f64 = 8.0;
/// A character, at most.
const CHARACTER_BYTES: f64 = 4.0;

/// How many bytes a call makes, about.
type Estimate = fn(&[ArrayRef]) -> f64;

/// Which functions, with what they make.
const ALL: [(&str, Estimate); 7] = [
    ("range", steps),
    ("generate_series", steps),
    ("repeat", |arguments| sum(arguments, 1, |row, count| text_bytes(&arguments[0], row) * count)),
    ("lpad", |arguments| sum(arguments, 1, |_, count| CHARACTER_BYTES * count)),
    ("rpad", |arguments| sum(arguments, 1, |_, count| CHARACTER_BYTES * count)),
    ("array_repeat", |arguments| sum(arguments, 1, |row, count| value_bytes(&arguments[0], row) * count)),
    ("array_resize", |arguments| sum(arguments, 1, |_, count| VALUE_BYTES * count)),
];

/// Puts a bound before each.
pub(super) fn register(context: &SessionContext) {
    for (name, estimate) in ALL {
        let state = context.state();
        let Some(function) = state.scalar_functions().get(name) else { continue };
        let bounded = Bounded { inner: function.inner().clone(), estimate };
        context.register_udf(ScalarUDF::new_from_impl(bounded));
    }
}

/// A built-in function behind a bound.
#[derive(Debug)]
struct Bounded {
    inner: Arc<dyn ScalarUDFImpl>,
    estimate: Estimate,
}

// There is one of each name.
impl PartialEq for Bounded {
    fn eq(&self, other: &Bounded) -> bool {
        self.inner.name() == other.inner.name()
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.name().hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(arguments, context)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let bytes = (self.estimate)(&arrays);
        if bytes > MOST_BYTES {
            return resources_err!(
                "{} would make about {} MiB of values for some rows; {} MiB is the most",
                self.name(),
                (bytes / f64::from(1 << 20)).round(),
                MOST_BYTES / f64::from(1 << 20)
            );
        }
        self.inner.invoke_with_args(arguments)
    }
}

/// Over all rows, what the count in argument `index` makes of each. What is no number makes nothing: the function says so.
fn sum(arguments: &[ArrayRef], index: usize, bytes: impl Fn(usize, f64) -> f64) -> f64 {
    let Some(counts) = arguments.get(index).and_then(numbers) else { return 0.0 };
    let counts = counts.as_primitive::<Float64Type>();
    (0..counts.len())
        .filter(|row| counts.is_valid(*row))
        .map(|row| bytes(row, counts.value(row).max(0.0)))
        .sum()
}

fn numbers(array: &ArrayRef) -> Option<ArrayRef> {
    if array.data_type().is_numeric() { cast(array, &DataType::Float64).ok() } else { None }
}

fn text_bytes(array: &ArrayRef, row: usize) -> f64 {
    let Ok(text) = cast(&array.slice(row, 1), &DataType::Utf8) else { return VALUE_BYTES };
    text.as_string::<i32>().value(0).len() as f64
}

fn value_bytes(array: &ArrayRef, row: usize) -> f64 {
    if array.is_null(row) {
        return VALUE_BYTES;
    }
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text_bytes(array, row),
        _ => (array.slice(row, 1).to_data().get_slice_memory_size().unwrap_or_default() as f64)
            .max(VALUE_BYTES),
    }
}

/// `(stop)`, `(start, stop)`, `(start, stop, step)`; numbers, or times and an interval.
fn steps(arguments: &[ArrayRef]) -> f64 {
    let at = |array: &ArrayRef, row: usize| position(array, row);
    let rows = arguments.first().map_or(0, Array::len);
    let bytes = |row: usize| {
        let (start, stop, step) = match arguments {
            [stop] => (0.0, at(stop, row)?, 1.0),
            [start, stop] => (at(start, row)?, at(stop, row)?, 1.0),
            [start, stop, step] => (at(start, row)?, at(stop, row)?, at(step, row)?),
            _ => return None,
        };
        let many = (stop - start) / step;
        // A step of nothing, or away from the end, is the function's to refuse.
        (many.is_finite() && many > 0.0).then_some(many * VALUE_BYTES)
    };
    (0..rows).filter_map(bytes).sum()
}

/// A number as it is; a time, or an interval, in nanoseconds, months taken short.
fn position(array: &ArrayRef, row: usize) -> Option<f64> {
    const DAY_NS: f64 = 86_400e9;
    if array.is_null(row) {
        return None;
    }
    let one = array.slice(row, 1);
    if let Some(number) = numbers(&one) {
        return Some(number.as_primitive::<Float64Type>().value(0));
    }
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    if let DataType::Interval(_) = one.data_type() {
        let one = cast(&one, &interval).ok()?;
        let step = one.as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>().value(0);
        let days = f64::from(step.months) * 28.0 + f64::from(step.days);
        return Some(days * DAY_NS + step.nanoseconds as f64);
    }
    let seconds = cast(&one, &DataType::Timestamp(arrow::datatypes::TimeUnit::Second, None)).ok()?;
    let seconds = cast(&seconds, &DataType::Int64).ok()?;
    Some(seconds.as_primitive::<Int64Type>().value(0) as f64 * 1e9)
}
