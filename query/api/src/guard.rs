//! Who may ask: pages of this origin, by a name that is this host's. Nothing is authenticated yet, so a page of another
//! site, or a name that was made to point at this host (DNS rebinding), must not reach the API from a user's browser.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Refuses what a browser sends on behalf of another site.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    if let Err(why) = allowed(request.headers()) {
        return (StatusCode::FORBIDDEN, format!("{why}\n")).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn allowed(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    // Only browsers send Origin; what they send for another site is refused, whatever the method.
    if let Some(origin) = text(header::ORIGIN) {
        let origin_host = origin.split_once("://").map_or(origin, |(_, host)| host);
        if origin_host != host {
            return Err(format!("requests from {origin} are refused: open the page at http://{host}"));
        }
    }
    let name = host_name(host);
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    // A cluster's service names and plain host names carry no public dot; a rebound name does.
    let is_local = name.is_empty()
        || is_address
        || !name.contains('.')
        || [".localhost", ".local", ".svc", ".cluster.local", ".internal"]
            .iter()
            .any(|end| name.ends_with(end));
    if is_local {
        return Ok(());
    }
    Err(format!("{name} is not a name of this host: use its address, localhost, or its service name"))
}

fn host_name(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(header::HeaderName, &'static str)]) -> bool {
        let headers =
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        allowed(&headers).is_ok()
    }

    #[test]
    fn another_site_s_page_is_refused() {
        assert!(check(&[(header::HOST, "127.0.0.1:8480")]));
        assert!(check(&[(header::HOST, "127.0.0.1:8480"), (header::ORIGIN, "http://127.0.0.1:8480")]));
        assert!(!check(&[(header::HOST, "127.0.0.1:8480"), (header::ORIGIN, "https://evil.example")]));
    }

    #[test]
    fn a_rebound_name_is_refused() {
        assert!(check(&[(header::HOST, "localhost:8480")]));
        assert!(check(&[(header::HOST, "[::1]:8480")]));
        assert!(check(&[(header::HOST, "weir.weir-system.svc:8480")]));
        assert!(!check(&[(header::HOST, "rebound.example:8480")]));
    }
}
