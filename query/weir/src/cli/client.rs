//! What the tools that ask a running Weir share: the request, and errors that say what to do.

use std::fmt::Write;

use anyhow::{Context, bail};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// Where a Weir answers unless told otherwise.
pub(crate) const SERVER: &str = "http://127.0.0.1:8480";

/// Sends a request; what isn't a success becomes an error with Weir's own words. `sql` is the text that positions in an
/// error point into.
pub(crate) async fn send(
    server: &str,
    request: RequestBuilder,
    sql: Option<&str>,
) -> anyhow::Result<Response> {
    let response = request.send().await.with_context(|| {
        format!("no Weir answers at {server}: start one with `weir up`, or say --server URL")
    })?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    match serde_json::from_str::<Value>(&body) {
        Ok(body) if body["error"].is_object() => bail!("{}", explain(&body["error"], sql)),
        _ => bail!("{server} answered {status}: {}", body.trim()),
    }
}

/// Message, the line with a caret below the place, and the hint.
fn explain(error: &Value, sql: Option<&str>) -> String {
    let mut text = error["message"].as_str().unwrap_or("unknown error").to_owned();
    let place = error["position"]["line"].as_u64().zip(error["position"]["column"].as_u64());
    if let Some(((line, column), sql)) = place.zip(sql)
        && let Some(shown) = sql.lines().nth((line as usize).saturating_sub(1))
    {
        let _ = write!(text, "\n\n  {shown}\n  {}^", " ".repeat((column as usize).saturating_sub(1)));
    }
    if let Some(hint) = error["hint"].as_str() {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_points_at_its_place() {
        let error = json!({ "message": "no column \"clint_ip\"", "position": { "line": 1, "column": 8 }, "hint": "did you mean client_ip?" });
        let text = explain(&error, Some("SELECT clint_ip FROM flows"));
        assert_eq!(
            text,
            "no column \"clint_ip\"\n\n  SELECT clint_ip FROM flows\n         ^\n  hint: did you mean client_ip?"
        );
    }
}
