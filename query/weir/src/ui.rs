//! The web page, embedded: `ui/dist` as Vite built it, answering every path that is no API's.
//!
//! Paths of the page's own router (`/flows`, `/traces/…`) get `index.html`; a missing asset is a 404, so that a stale
//! tab sees an error and not a page where it wants a script. No request of the page leaves its origin, and the
//! content security policy holds it to that.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../ui/dist/"]
#[allow_missing = true]
struct Dist;

/// Inline styles are the editor's and the table's measured widths; everything else is ours, from our origin.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

const NOT_BUILT: &str = "The web page is not part of this build: run `make ui` and build again (`make run` does both).\n\
The API works: try /api/v1/tables, or `weir sql \"SELECT * FROM flows LIMIT 5\"`.\n";

/// The fallback of the router.
pub(crate) async fn page(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    if let Some(file) = Dist::get(path) {
        return answer(path, file.data);
    }
    if path.starts_with("assets/") {
        return (StatusCode::NOT_FOUND, "no such asset: reload the page\n").into_response();
    }
    match Dist::get("index.html") {
        Some(index) => answer("index.html", index.data),
        None => (StatusCode::NOT_FOUND, NOT_BUILT).into_response(),
    }
}

fn answer(path: &str, body: std::borrow::Cow<'static, [u8]>) -> Response {
    // Vite puts a hash of the content into the names below assets/, so those never change.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let body = match body {
        std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
        std::borrow::Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(crate) fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_api_path_never_gets_the_page() {
        let response = page(Uri::from_static("/api/nothing")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_missing_asset_is_an_error_and_not_the_page() {
        let response = page(Uri::from_static("/assets/index-gone.js")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
