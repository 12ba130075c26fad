//! "Who really called the database?" Two programs call it through real proxies, which keep and share connections to it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;
use weir_e2e::{Process, Weir, need_root, run, until};

/// Requests of each program through each proxy.
const EACH: usize = 40;

/// A port that was free a moment ago: these proxies can't say which one they were given.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// How a proxy is started so that it listens on the first port and passes on to the second; its folder is empty.
type Start = fn(&Path, u16, u16) -> anyhow::Result<Command>;

/// The proxies, each as it speaks HTTP and as it passes on bytes.
const PROXIES: [(&str, &str, Start); 6] = [
    ("haproxy", "HTTP", |dir, port, back| haproxy(dir, port, back, "http")),
    ("haproxy", "TCP", |dir, port, back| haproxy(dir, port, back, "tcp")),
    ("nginx", "HTTP", |dir, port, back| {
        let server = "location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection \"\"; }";
        nginx(dir, "http", "keepalive 8;", &format!("listen 127.0.0.1:{port}; {server}"), back)
    }),
    ("nginx", "TCP", |dir, port, back| {
        nginx(dir, "stream", "", &format!("listen 127.0.0.1:{port}; proxy_pass back;"), back)
    }),
    ("envoy", "HTTP", |dir, port, back| envoy(dir, port, back, ENVOY_HTTP)),
    ("envoy", "TCP", |dir, port, back| envoy(dir, port, back, ENVOY_TCP)),
];

#[tokio::test]
async fn a_proxy_hides_nobody() -> anyhow::Result<()> {
    need_root();
    let weir = Weir::start(&[]).await?;
    let dir = tempfile::tempdir()?;
    let back = Process::start(
        Command::new("python3").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxies/back.py")),
        &dir.path().join("back.log"),
    )?;
    let port_of =
        || async { Ok(back.output().split("PORT ").nth(1).and_then(|port| port.trim().parse().ok())) };
    let (back_port, _) = until("the database's port", port_of).await?;
    let callers = [caller(dir.path(), "billing")?, caller(dir.path(), "reports")?];
    let now = || run("date", ["-u", "+%FT%T.%N"]).map(|now| now.trim().to_owned());
    let mut visits = Vec::new();
    for (place, (name, how, start)) in PROXIES.into_iter().enumerate() {
        let folder = dir.path().join(place.to_string());
        std::fs::create_dir(&folder)?;
        let port = free_port()?;
        let mut proxy = Process::start(&mut start(&folder, port, back_port)?, &folder.join("log"))?;
        until(&format!("{name} accepts"), || async { Ok(TcpStream::connect(("127.0.0.1", port)).ok()) })
            .await
            .with_context(|| proxy.output())?;
        proxy.must_run()?;
        let began = now()?;
        // Both at once; how long a request is says whose it was.
        let mut calls = Vec::new();
        for (caller, program) in callers.iter().enumerate() {
            calls.push(Command::new(program).args(urls(port, caller)).spawn()?);
        }
        for mut call in calls {
            if !call.wait()?.success() {
                bail!("a call through {name} ({how}) failed\n{}", proxy.output());
            }
        }
        visits.push((format!("{name} ({how})"), name, began, now()?));
        proxy.kill()?;
    }
    for (what, name, began, ended) in visits {
        let paths = format!(
            "select attributes['weir.path.origin'], \
             cast(attributes['weir.exchange.request_bytes'] as bigint) >= {LONG}, count(*) \
             from spans where kind = 'server' and source = 'stitched' \
             and attributes['server.port'] = '{back_port}' and attributes['weir.path'] like '% > {name}%' \
             and time between timestamp '{began}' and timestamp '{ended}' group by 1, 2 order by 1, 2"
        );
        let expected = [("billing", false), ("reports", true)]
            .map(|(origin, is_long)| vec![json!(origin), json!(is_long), json!(EACH)]);
        let right = || async { Ok((weir.sql(&paths).await? == expected).then_some(())) };
        if let Err(err) = until(&format!("each call's origin behind {what}"), right).await {
            bail!("{err:#}: {:?}", weir.sql(&paths).await?);
        }
    }
    Ok(())
}

/// Requests of the second program are longer than this.
const LONG: usize = 1_000;

/// One connection, many requests.
fn urls(port: u16, caller: usize) -> Vec<String> {
    let path = if caller == 0 { "b".to_owned() } else { "r".repeat(LONG) };
    let mut arguments = vec!["-sS".to_owned(), "--fail".to_owned()];
    for _ in 0..EACH {
        arguments.extend([
            "-o".to_owned(),
            "/dev/null".to_owned(),
            format!("http://127.0.0.1:{port}/{path}"),
        ]);
    }
    arguments
}

/// curl under another name.
fn caller(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let to = dir.join(name);
    std::fs::copy(run("which", ["curl"])?.trim(), &to).context("copy curl")?;
    Ok(to)
}

fn haproxy(dir: &Path, port: u16, back: u16, mode: &str) -> anyhow::Result<Command> {
    let config = dir.join("haproxy.cfg");
    std::fs::write(
        &config,
        format!(
            "defaults\n mode {mode}\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             listen front\n bind 127.0.0.1:{port}\n server back 127.0.0.1:{back}\n"
        ),
    )?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}

fn nginx(dir: &Path, module: &str, keep: &str, server: &str, back: u16) -> anyhow::Result<Command> {
    let config = dir.join("nginx.conf");
    let load =
        if module == "stream" { "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" } else { "" };
    let root = dir.display();
    let files = if module == "http" {
        format!(
            "access_log off; client_body_temp_path {root}/c; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;"
        )
    } else {
        String::new()
    };
    std::fs::write(
        &config,
        format!(
            "{load} daemon off; user root; pid {root}/pid; error_log stderr; worker_processes 1; events {{}}\n\
             {module} {{ {files} upstream back {{ server 127.0.0.1:{back}; {keep} }} server {{ {server} }} }}\n"
        ),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(config);
    Ok(command)
}

const ENVOY_HTTP: &str = r#"{"name":"envoy.filters.network.http_connection_manager","typed_config":{
  "@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  "stat_prefix":"front","route_config":{"virtual_hosts":[{"name":"all","domains":["*"],
  "routes":[{"match":{"prefix":"/"},"route":{"cluster":"back"}}]}]},
  "http_filters":[{"name":"envoy.filters.http.router","typed_config":{
  "@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}"#;
const ENVOY_TCP: &str = r#"{"name":"envoy.filters.network.tcp_proxy","typed_config":{
  "@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
  "stat_prefix":"front","cluster":"back"}}"#;

/// Envoy of the Python package, which `deploy/setup.sh test` installs.
fn envoy(dir: &Path, port: u16, back: u16, filter: &str) -> anyhow::Result<Command> {
    let address =
        |port: u16| format!(r#"{{"socket_address":{{"address":"127.0.0.1","port_value":{port}}}}}"#);
    let config = dir.join("envoy.json");
    std::fs::write(
        &config,
        format!(
            r#"{{"static_resources":{{"listeners":[{{"address":{},"filter_chains":[{{"filters":[{filter}]}}]}}],
            "clusters":[{{"name":"back","type":"STATIC","load_assignment":{{"cluster_name":"back",
            "endpoints":[{{"lb_endpoints":[{{"endpoint":{{"address":{}}}}}]}}]}}}}]}}}}"#,
            address(port),
            address(back)
        ),
    )?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/envoy/envoy");
    if !program.exists() {
        bail!("no Envoy in {}: deploy/setup.sh test installs it", program.display());
    }
    let mut command = Command::new(program);
    command.args(["--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warning", "-c"]).arg(config);
    Ok(command)
}
