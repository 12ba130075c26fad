//! Who may ask: pages of this origin, by a name that is this host's. Nothing is authenticated yet, so a page of another
//! site, or a name that was made to point at this host (DNS rebinding), must not reach the API from a user's browser.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Refuses what a browser sends on behalf of another site.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    // HTTP/2 says the host in its :authority.
    let authority = request.uri().authority().map(ToString::to_string);
    if let Err((code, why)) = allowed(request.headers(), authority.as_deref()) {
        return ApiError::refused(StatusCode::FORBIDDEN, code, why, None).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn allowed(headers: &HeaderMap, authority: Option<&str>) -> Result<(), (&'static str, String)> {
    let text = |name: &str| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text("host").or(authority).unwrap_or_default();
    let other_site = |who: &str| {
        let why = format!("requests from {who} are refused: open the page at http://{host}");
        Err(("request.origin", why))
    };
    // Only browsers send Origin; what they send for another site is refused, whatever the method.
    if let Some(origin) = text("origin") {
        let origin_host = origin.split_once("://").map_or(origin, |(_, host)| host);
        if !origin_host.eq_ignore_ascii_case(host) {
            return other_site(origin);
        }
    }
    // An image or a script of another page comes without Origin. A link from one is harmless, and wanted.
    let is_foreign = text("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    if is_foreign && text("sec-fetch-mode") != Some("navigate") {
        return other_site("another site's page");
    }
    let name = host_name(host).to_ascii_lowercase();
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
    let why = format!("{name} is not a name of this host: use its address, localhost, or its service name");
    Err(("request.host", why))
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

    fn check(pairs: &[(&'static str, &'static str)]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        allowed(&pairs.collect(), None).is_ok()
    }

    #[test]
    fn another_site_s_page_is_refused() {
        assert!(check(&[("host", "127.0.0.1:8480")]));
        assert!(check(&[("host", "127.0.0.1:8480"), ("origin", "http://127.0.0.1:8480")]));
        assert!(!check(&[("host", "127.0.0.1:8480"), ("origin", "https://evil.example")]));
    }

    #[test]
    fn another_site_s_image_is_refused_but_a_link_is_not() {
        let host = ("host", "127.0.0.1:8480");
        let cross = ("sec-fetch-site", "cross-site");
        assert!(!check(&[host, cross, ("sec-fetch-mode", "no-cors")]));
        assert!(check(&[host, cross, ("sec-fetch-mode", "navigate")]));
        assert!(check(&[host, ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
    }

    #[test]
    fn http_2_says_its_host_elsewhere() {
        assert!(allowed(&HeaderMap::new(), Some("localhost:8480")).is_ok());
        assert!(allowed(&HeaderMap::new(), Some("rebound.example:8480")).is_err());
    }

    #[test]
    fn a_rebound_name_is_refused() {
        assert!(check(&[("host", "localhost:8480")]));
        assert!(check(&[("host", "[::1]:8480")]));
        assert!(check(&[("host", "weir.weir-system.svc:8480")]));
        assert!(!check(&[("host", "rebound.example:8480")]));
    }
}
