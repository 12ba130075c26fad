//! `weir demo`: traffic as promised, and nothing left behind, however it ends.

#[path = "demo/truth.rs"]
mod truth;

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use weir_e2e::{Process, Weir, need_root, run, until, weir_binary};

/// A running demo that needn't be told apart from a person's.
struct Demo {
    process: Process,
    _dir: TempDir,
}

impl Demo {
    async fn start(more: &[&str]) -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let mut command = Command::new(weir_binary());
        command.arg("demo").args(more);
        let mut process = Process::start(&mut command, &dir.path().join("demo.log"))?;
        let look = || {
            let running = process.must_run().map(|()| process.output().contains("runs ").then_some(()));
            async { running }
        };
        until("the demo runs", look).await?;
        Ok(Self { process, _dir: dir })
    }

    /// What exists of it: namespaces, services, its directory.
    fn remains(&self) -> anyhow::Result<Vec<String>> {
        let pid = self.process.pid();
        let prefix = format!("weir-demo-{pid}-");
        let namespaces = run("ip", ["netns", "list"])?;
        let mut found: Vec<String> =
            namespaces.lines().filter(|line| line.starts_with(&prefix)).map(ToOwned::to_owned).collect();
        let dir = PathBuf::from(format!("/run/weir-demo/{pid}"));
        found.extend(dir.exists().then(|| dir.display().to_string()));
        for entry in std::fs::read_dir("/proc")? {
            let command = std::fs::read_to_string(entry?.path().join("cmdline")).unwrap_or_default();
            if command.contains("demo-service") && command.contains(&format!("/run/weir-demo/{pid}")) {
                found.push(command.replace('\0', " "));
            }
        }
        Ok(found)
    }
}

#[tokio::test]
async fn nothing_remains_after_each_way_to_end_it() -> anyhow::Result<()> {
    need_root();
    let links = run("ip", ["-brief", "link"])?;
    let routes = run("ip", ["route", "show", "table", "all"])?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut demo = Demo::start(&["--otlp", ""]).await?;
        // Five namespaces, four services, a directory: what is counted afterwards is there now.
        assert_eq!(demo.remains()?.len(), 10, "{:?}", demo.remains()?);
        demo.process.signal(signal)?;
        let status = demo.process.ended().await?;
        assert!(status.success(), "{signal}: {status}\n{}", demo.process.output());
        assert_eq!(demo.remains()?, [""; 0], "after {signal}");
    }
    let mut demo = Demo::start(&["--otlp", "", "--for", "1s"]).await?;
    assert!(demo.process.ended().await?.success(), "{}", demo.process.output());
    assert_eq!(demo.remains()?, [""; 0], "after --for");
    assert_eq!(run("ip", ["-brief", "link"])?, links, "this machine's interfaces");
    assert_eq!(run("ip", ["route", "show", "table", "all"])?, routes, "this machine's routes");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_demo_left_is_cleared_by_the_next_one() -> anyhow::Result<()> {
    need_root();
    let mut killed = Demo::start(&["--otlp", ""]).await?;
    killed.process.kill()?;
    // The services go by themselves; the namespaces stay until somebody clears them.
    let gone =
        || async { Ok(killed.remains()?.iter().all(|left| !left.contains("demo-service")).then_some(())) };
    until("the services of a killed demo end", gone).await?;
    assert_eq!(killed.remains()?.len(), 6, "{:?}", killed.remains()?);
    let mut next = Demo::start(&["--otlp", "", "--for", "1s"]).await?;
    assert_eq!(killed.remains()?, [""; 0]);
    next.process.ended().await?;
    Ok(())
}

/// What the demo is for: each kind of trouble it makes can be found in the tables.
#[tokio::test]
async fn the_demos_traffic_and_its_troubles_are_in_the_tables() -> anyhow::Result<()> {
    need_root();
    let weir = Weir::start(&[]).await?;
    assert_eq!(weir.ready("probe"), "running", "{}", weir.process.output());
    let otlp = weir.url("otlp_http")?;
    let demo = Demo::start(&["--otlp", &otlp, "--rate", "20", "--loss", "5"]).await?;
    let promises = [
        (
            "plain HTTP by name",
            "select count(*) from flows where server_port = 8080 and client_process = 'client' and tls_version is null",
        ),
        ("IPv6", "select count(*) from flows where client_ip like 'fd57:6569:7200:%'"),
        (
            "TLS to api",
            "select count(*) from flows where tls_sni = 'api.demo.internal' and server_port = 8443",
        ),
        ("mutual TLS to store", "select count(*) from flows where tls_sni = 'store.demo.internal'"),
        ("TLS 1.2", "select count(*) from tls_handshakes where tls_version = '1.2'"),
        ("ALPN", "select count(*) from tls_handshakes where tls_alpn = 'http/1.1'"),
        ("a failed handshake", "select count(*) from tls_handshakes where failure_reason is not null"),
        ("a refused connection", "select count(*) from flows where server_port = 8081"),
        (
            "retransmits",
            "select sum(client_retransmits) + sum(server_retransmits) from flows where server_port = 8443",
        ),
        ("metrics over UDP", "select count(*) from flows where server_port = 8125"),
        ("the services' own spans", "select count(*) from spans where source = 'otlp' and service = 'store'"),
        ("stitched spans", "select count(*) from spans where source = 'stitched'"),
        (
            "what the network saw of a request, in the services' own trace of it",
            "select count(*) from spans seen join spans told on seen.parent_span_id = told.span_id \
             where seen.source = 'stitched' and told.source = 'otlp' and seen.trace_id = told.trace_id",
        ),
    ];
    for (what, sql) in promises {
        until(what, || async { Ok((weir.number(sql).await? > 0).then_some(())) }).await?;
    }
    drop(demo);
    Ok(())
}

/// Nobody told Weir who asked whom: it saw it, or inferred it. `make demo-traces` does it at a higher rate and for longer.
#[tokio::test]
async fn the_demos_requests_are_the_traces_that_it_says_they_are() -> anyhow::Result<()> {
    need_root();
    let of = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let (rate, length) = (of("WEIR_DEMO_RATE", "10"), of("WEIR_DEMO_FOR", "20s"));
    let weir = Weir::start(&[]).await?;
    assert_eq!(weir.ready("probe"), "running", "{}", weir.process.output());
    // The services tell what they know where this one can't look.
    let blind = Weir::start(&["--no-probe"]).await?;
    let otlp = blind.url("otlp_http")?;
    let mut demo = Demo::start(&["--otlp", &otlp, "--rate", &rate, "--for", &length]).await?;
    demo.process.ended().await?;
    // Each exchange has its span at last; not those of this test, which asks while it waits.
    let left = "select (select count(*) from exchanges where process in ('client', 'front', 'api', 'store')) \
        - (select count(*) from spans where source = 'stitched' and operation like '% exchange' \
           and service in ('client', 'front', 'api', 'store'))";
    let look = || async { Ok((weir.number(left).await? <= 0).then_some(())) };
    // What was made for an exchange that nobody told of waits for that as long as anybody would.
    if until("spans of most exchanges", look).await.is_err() {
        until("spans of all exchanges", look).await?;
    }
    let score = truth::score(&blind, &weir).await?;
    say(&format!("{rate} requests/s for {length}: {score}"));
    assert!(score.requests > 100, "{score}");
    assert!(score.whole * 100 >= score.requests * 95, "{score}");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a figure for whoever runs it")]
fn say(figure: &str) {
    eprintln!("{figure}");
}

#[test]
fn rates_and_durations_are_checked_before_anything_starts() {
    for (arguments, hint) in [
        (["--rate", "0"], "between 0 and 1000"),
        (["--for", "soon"], "such as 30s or 5m"),
        (["--loss", "90"], "0..=50"),
    ] {
        let error = run(weir_binary(), ["demo", arguments[0], arguments[1]]).expect_err("it is refused");
        assert!(format!("{error:#}").contains(hint), "{error:#}");
    }
}
