//! A build of jaeger-ui, served from a folder on Jaeger's port: its page with what Jaeger's own server writes into it, its
//! assets as they are. Paths of the page's own router (`/search`, `/trace/{id}` …) get the page.
//!
//! Nothing outside of the folder's `static` is ever read, whatever a path or a link in there says.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::ui::media_type;

/// No asset of a page is larger.
const MOST_BYTES: u64 = 64 << 20;

/// The page and where its assets are.
#[derive(Clone, Debug)]
pub(crate) struct JaegerUi {
    page: Arc<str>,
    assets: Arc<Path>,
}

impl JaegerUi {
    /// Reads the page of the build in `dir`.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<JaegerUi> {
        let path = dir.join("index.html");
        let page = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "read {} (--jaeger-ui-dir is the folder that a build of jaeger-ui has its index.html in)",
                path.display()
            )
        })?;
        let assets = dir.join("static");
        let assets = assets.canonicalize().with_context(|| format!("find {}", assets.display()))?;
        let Some(page) = written(&page) else {
            bail!("{} has no place for JAEGER_CONFIG: it is not a page of jaeger-ui", path.display());
        };
        Ok(JaegerUi { page: page.into(), assets: assets.into() })
    }

    /// The fallback of the router.
    pub(crate) async fn answer(self, uri: Uri) -> Response {
        let path = uri.path();
        if path == "/api" || path.starts_with("/api/") {
            return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
        }
        let Some(asset) = path.strip_prefix("/static/") else {
            return content("index.html", "no-cache", Body::from(self.page.to_string()));
        };
        match self.asset(asset).await {
            // Their names have a hash of the content.
            Some(bytes) => content(asset, "public, max-age=31536000, immutable", Body::from(bytes)),
            None => (StatusCode::NOT_FOUND, "no such asset: reload the page\n").into_response(),
        }
    }

    async fn asset(&self, path: &str) -> Option<Vec<u8>> {
        let file = tokio::fs::canonicalize(self.assets.join(plain(path)?)).await.ok()?;
        if !file.starts_with(&self.assets) {
            return None;
        }
        let about = tokio::fs::metadata(&file).await.ok()?;
        if !about.is_file() || about.len() > MOST_BYTES {
            return None;
        }
        tokio::fs::read(file).await.ok()
    }
}

/// A path that only goes down. It is taken as it was sent: no asset's name needs to be escaped.
fn plain(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// The page with what Weir is and can do; `None` where there is no place for it.
fn written(page: &str) -> Option<String> {
    let config = json!({
        "archiveEnabled": true,
        "dependencies": {"menuEnabled": true},
        "monitor": {"menuEnabled": true},
    });
    let version =
        json!({"gitCommit": "", "gitVersion": format!("Weir {}", weir_kit::VERSION), "buildDate": ""});
    let storage = json!({"archiveStorage": true, "metricsStorage": true});
    let backend = json!({
        "archiveStorage": true, "metricsStorage": true, "aiAssistant": false, "searchWithoutServiceName": true,
    });
    let page = assigned(page, "CONFIG", &config)?;
    // Older pages have the one, newer ones the other.
    let mut page = assigned(&page, "VERSION", &version).unwrap_or(page);
    for (name, value) in [("STORAGE_CAPABILITIES", &storage), ("BACKEND_CAPABILITIES", &backend)] {
        page = assigned(&page, name, value).unwrap_or(page);
    }
    Some(page)
}

/// `JAEGER_{name} = DEFAULT_{name};` with another value; `None` where it is not there.
fn assigned(page: &str, name: &str, value: &serde_json::Value) -> Option<String> {
    let variable = format!("JAEGER_{name}");
    let (start, end) = page.match_indices(&variable).find_map(|(start, _)| {
        let rest = page[start + variable.len()..].trim_start_matches(' ');
        let rest = rest.strip_prefix('=')?.trim_start_matches(' ');
        let rest = rest.strip_prefix(format!("DEFAULT_{name};").as_str())?;
        Some((start, page.len() - rest.len()))
    })?;
    // A script ends at the first such tag, wherever it stands.
    let value = value.to_string().replace("</", "<\\/");
    Some(format!("{}{variable} = {value};{}", &page[..start], &page[end..]))
}

fn content(path: &str, cache: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places that jaeger-ui's page has: older ones for storage, newer ones for the backend.
    const PAGE: &str = r#"<!doctype html><html><head><base href="/" data-inject-target="BASE_URL" /><script>
      function getJaegerUiConfig() {
        const DEFAULT_CONFIG = null;
        const JAEGER_CONFIG = DEFAULT_CONFIG;
        return JAEGER_CONFIG;
      }
      const JAEGER_STORAGE_CAPABILITIES = DEFAULT_STORAGE_CAPABILITIES;
      const JAEGER_BACKEND_CAPABILITIES=DEFAULT_BACKEND_CAPABILITIES;
      const JAEGER_VERSION =  DEFAULT_VERSION;
    </script></head></html>"#;

    fn build() -> (tempfile::TempDir, JaegerUi) {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("index.html"), PAGE).expect("writes");
        std::fs::create_dir_all(dir.path().join("static/assets")).expect("makes");
        std::fs::write(dir.path().join("static/assets/index-1a2b.js"), "let a").expect("writes");
        std::fs::write(dir.path().join("secret"), "s").expect("writes");
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("static/link")).expect("links");
        let ui = JaegerUi::open(dir.path()).expect("opens");
        (dir, ui)
    }

    async fn ask(ui: &JaegerUi, path: &str) -> (StatusCode, String, String) {
        let response = ui.clone().answer(path.parse().expect("a path")).await;
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, kind, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn every_path_of_the_page_is_the_page_with_what_weir_can_do() {
        let (_dir, ui) = build();
        for path in ["/", "/search", "/trace/abcd", "/monitor", "/index.html"] {
            let (status, kind, page) = ask(&ui, path).await;
            assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
            assert!(page.contains(r#"const JAEGER_CONFIG = {"archiveEnabled":true,"#), "{page}");
            assert!(
                page.contains("const DEFAULT_CONFIG = null;\n") && page.contains("return JAEGER_CONFIG;"),
                "{page}"
            );
            assert!(
                page.contains(
                    r#"JAEGER_STORAGE_CAPABILITIES = {"archiveStorage":true,"metricsStorage":true};"#
                ),
                "{page}"
            );
            assert!(page.contains(r#""searchWithoutServiceName":true};"#), "{page}");
            assert!(
                page.contains(r#"JAEGER_VERSION = {"buildDate":"","gitCommit":"","gitVersion":"Weir "#),
                "{page}"
            );
        }
        let asset = ask(&ui, "/static/assets/index-1a2b.js").await;
        assert_eq!(asset, (StatusCode::OK, "text/javascript; charset=utf-8".to_owned(), "let a".to_owned()));
        assert_eq!(ask(&ui, "/api/nothing").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn nothing_outside_of_the_assets_is_served() {
        let (dir, ui) = build();
        let secret = dir.path().join("secret");
        for path in [
            "/static/../secret".to_owned(),
            "/static/assets/../../secret".to_owned(),
            "/static/%2e%2e/secret".to_owned(),
            "/static/..%2fsecret".to_owned(),
            "/static/link".to_owned(),
            "/static/assets".to_owned(),
            "/static/".to_owned(),
            format!("/static/{}", secret.display()),
            "/static/gone.js".to_owned(),
        ] {
            assert_eq!(ask(&ui, &path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn a_folder_that_is_none_of_jaeger_ui_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(JaegerUi::open(dir.path()).is_err());
        std::fs::create_dir(dir.path().join("static")).expect("makes");
        std::fs::write(dir.path().join("index.html"), "<html></html>").expect("writes");
        let why = JaegerUi::open(dir.path()).expect_err("is another page").to_string();
        assert!(why.contains("not a page of jaeger-ui"), "{why}");
    }
}
