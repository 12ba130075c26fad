//! The Monitor tab (`/api/metrics/…`): rate, errors and latencies of services and operations, out of the spans themselves.
//!
//! | file                | subject                                                                |
//! |---------------------|------------------------------------------------------------------------|
//! | `monitor/series.rs` | spans → counts by step and duration → what each point of time looks back on |
//!
//! The answers are what Jaeger gives with Prometheus behind it: at each step, a rate over the time before it. Each request of
//! a service counts once: what the network saw of one that the service tells of itself is left out.

mod series;

use axum::response::Response;
use serde_json::{Value, json};

use super::envelope::{Envelope, V1Failure, json as answer};
use super::failure::Failure;
use super::params::Params;
use crate::turn::InTurn;
use crate::{Api, times};
use series::{Point, Series};

const USUAL_LOOKBACK_MS: i64 = 3_600_000;
const USUAL_STEP_MS: i64 = 5_000;
const USUAL_RATE_MS: i64 = 600_000;
/// Points of a series: as many as Prometheus answers.
const MOST_POINTS: i64 = 11_000;
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

type Answer = Result<Response, V1Failure>;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    services: Vec<String>,
    kinds: Vec<String>,
    by_operation: bool,
    end_ms: i64,
    lookback_ms: i64,
    step_ms: i64,
    /// How far each point looks back.
    rate_ms: i64,
}

/// `GET /api/metrics/minstep`: the smallest step that makes sense, in milliseconds.
pub(super) async fn min_step(params: Params) -> Answer {
    Ok(answer(Envelope::uncounted(1, Vec::new()).encode(params.is_pretty())?))
}

/// `GET /api/metrics/calls`: requests a second.
pub(super) async fn calls(InTurn(api): InTurn, params: Params) -> Answer {
    let asked = asked(&params, times::now()).map_err(Failure::bad_request)?;
    let seconds = asked.window_ms() as f64 / 1e3;
    let family = Family { what: "call_rate", help: "calls/sec".to_owned() };
    family.answer(&api, &asked, |point| point.calls() as f64 / seconds).await
}

/// `GET /api/metrics/errors`: the share of requests that failed.
pub(super) async fn errors(InTurn(api): InTurn, params: Params) -> Answer {
    let asked = asked(&params, times::now()).map_err(Failure::bad_request)?;
    let help = "error rate, computed as a fraction of errors/sec over calls/sec".to_owned();
    let family = Family { what: "error_rate", help };
    family.answer(&api, &asked, |point| point.errors() as f64 / point.calls() as f64).await
}

/// `GET /api/metrics/latencies`: a quantile of the durations, in milliseconds.
pub(super) async fn latencies(InTurn(api): InTurn, params: Params) -> Answer {
    let asked = asked(&params, times::now()).map_err(Failure::bad_request)?;
    let quantile = quantile(&params).map_err(Failure::bad_request)?;
    let family = Family { what: "latencies", help: format!("{quantile}th quantile latency") };
    family.answer(&api, &asked, |point| point.quantile_ms(quantile)).await
}

fn quantile(params: &Params) -> Result<f64, String> {
    let Some(text) = params.get("quantile") else {
        return Err(
            "unable to parse param 'quantile': strconv.ParseFloat: parsing \"\": invalid syntax".to_owned()
        );
    };
    let syntax =
        || format!("unable to parse param 'quantile': strconv.ParseFloat: parsing {text:?}: invalid syntax");
    let quantile: f64 = text.parse().map_err(|_| syntax())?;
    if !(0.0..=1.0).contains(&quantile) {
        return Err(format!("unable to parse param 'quantile': {text} is not between 0 and 1"));
    }
    Ok(quantile)
}

fn asked(params: &Params, now_ns: i64) -> Result<Asked, String> {
    let services: Vec<String> =
        params.all("service").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if services.is_empty() {
        return Err("unable to parse param 'service': please provide at least one service name".to_owned());
    }
    let positive = |name, ms| match ms {
        1.. => Ok(ms),
        _ => Err(format!("unable to parse param '{name}': {ms} is not greater than 0")),
    };
    let length = |name, usual| positive(name, params.integer(name)?.unwrap_or(usual));
    let (end_ms, lookback_ms) = params.looking_back(now_ns, USUAL_LOOKBACK_MS)?;
    let mut kinds = Vec::new();
    for kind in params.all("spanKind").filter(|kind| !kind.is_empty()) {
        if !KINDS.contains(&kind) {
            return Err(format!("unable to parse param 'spanKind': unsupported span kind: '{kind}'"));
        }
        kinds.push(kind.to_owned());
    }
    if kinds.is_empty() {
        kinds.push("server".to_owned());
    }
    let asked = Asked {
        services,
        kinds,
        by_operation: params.flag("groupByOperation")?,
        end_ms,
        lookback_ms: positive("lookback", lookback_ms)?,
        step_ms: length("step", USUAL_STEP_MS)?,
        rate_ms: length("ratePer", USUAL_RATE_MS)?,
    };
    if asked.lookback_ms / asked.step_ms >= MOST_POINTS || asked.window() >= MOST_POINTS {
        return Err(format!(
            "exceeded maximum resolution of {MOST_POINTS} points per timeseries: raise 'step'"
        ));
    }
    Ok(asked)
}

impl Asked {
    /// The steps that each point looks back on.
    fn window(&self) -> i64 {
        self.rate_ms.saturating_add(self.step_ms - 1) / self.step_ms
    }

    fn window_ms(&self) -> i64 {
        self.window().saturating_mul(self.step_ms)
    }

    /// The time of a point, by its number.
    fn point_ms(&self, number: i64) -> i64 {
        self.end_ms.saturating_sub(self.lookback_ms).saturating_add(number.saturating_mul(self.step_ms))
    }

    /// How many points there are.
    fn points(&self) -> i64 {
        self.lookback_ms / self.step_ms + 1
    }
}

/// A family of metrics, as the page expects it.
struct Family {
    what: &'static str,
    help: String,
}

impl Family {
    async fn answer(self, api: &Api, asked: &Asked, value: impl Fn(&Point) -> f64) -> Answer {
        let mut metrics = Vec::new();
        for series in series::of(&api.engine, asked).await? {
            metrics.push(metric(&series, asked, &value));
        }
        let (prefix, grouped) = if asked.by_operation {
            ("service_operation", "service & operation")
        } else {
            ("service", "service")
        };
        let family = json!({
            "name": format!("{prefix}_{}", self.what),
            "type": "GAUGE",
            "help": format!("{}, grouped by {grouped}", self.help),
            "metrics": metrics,
        });
        Ok(answer(serde_json::to_vec(&family).map_err(|err| Failure::internal(err.to_string()))?))
    }
}

fn metric(series: &Series, asked: &Asked, value: impl Fn(&Point) -> f64) -> Value {
    // The page takes the first label's value for the service.
    let mut labels = vec![json!({ "name": "service_name", "value": series.service })];
    if let Some(operation) = &series.operation {
        labels.push(json!({ "name": "operation", "value": operation }));
    }
    let points = series.points(asked).map(|(time_ms, point)| {
        let value = value(&point);
        let value = if value.is_nan() { json!("NaN") } else { json!(value) };
        let time = times::text(time_ms.saturating_mul(1_000_000));
        json!({ "gaugeValue": { "doubleValue": value }, "timestamp": time })
    });
    json!({ "labels": labels, "metricPoints": points.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn read(query: &str) -> Result<Asked, String> {
        asked(&Params::read(query), NOW)
    }

    #[test]
    fn a_question_is_read_with_its_defaults() {
        let usual = Asked {
            services: vec!["shop".to_owned()],
            kinds: vec!["server".to_owned()],
            by_operation: false,
            end_ms: 1_700_000_000_000,
            lookback_ms: 3_600_000,
            step_ms: 5_000,
            rate_ms: 600_000,
        };
        assert_eq!(read("service=shop"), Ok(usual));
        let full = read(
            "service=a&service=b&endTs=1700000060000&lookback=120000&step=60000&ratePer=90000&spanKind=client\
             &spanKind=internal&groupByOperation=true",
        )
        .expect("reads");
        assert_eq!(full.services, ["a", "b"]);
        assert_eq!(full.kinds, ["client", "internal"]);
        assert!(full.by_operation);
        assert_eq!((full.points(), full.window()), (3, 2));
        assert_eq!(full.point_ms(2), 1_700_000_060_000);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, error) in [
            ("", "unable to parse param 'service': please provide at least one service name"),
            (
                "service=a&endTs=x",
                r#"unable to parse param 'endTs': strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            (
                "service=a&spanKind=SERVER",
                "unable to parse param 'spanKind': unsupported span kind: 'SERVER'",
            ),
            (
                "service=a&groupByOperation=maybe",
                r#"unable to parse param 'groupByOperation': strconv.ParseBool: parsing "maybe": invalid syntax"#,
            ),
            ("service=a&step=0", "unable to parse param 'step': 0 is not greater than 0"),
            ("service=a&step=1", "exceeded maximum resolution of 11000 points per timeseries: raise 'step'"),
        ] {
            assert_eq!(read(query), Err(error.to_owned()), "{query}");
        }
        for wild in ["lookback=9223372036854775807&step=9223372036854775807", "endTs=-9223372036854775808"] {
            let _ = read(&format!("service=a&{wild}")).map(|asked| asked.point_ms(asked.points()));
        }
        assert!(quantile(&Params::read("")).is_err() && quantile(&Params::read("quantile=2")).is_err());
        assert_eq!(quantile(&Params::read("quantile=0.95")), Ok(0.95));
    }
}
