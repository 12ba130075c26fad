//! `weir demo`: a small shop of real services on a network of its own, so that there is traffic worth a look.
//!
//! ```text
//! client ──HTTP──► front ──TLS──► api ──mutual TLS──► store        (each a process in its own namespace)
//! ```
//!
//! | file              | subject                                                              |
//! |-------------------|----------------------------------------------------------------------|
//! | `home.rs`         | the run's directory and lock; clearing what a killed run left behind  |
//! | `network.rs`      | namespaces, bridge, addresses, packet loss                            |
//! | `certificates.rs` | the demo's authority, its good certificates and its bad ones          |
//! | `service.rs`      | the four roles, run by this same binary re-executed                   |
//! | `http.rs`         | HTTP/1.1 server and client, plain or TLS, with W3C trace context      |
//! | `report.rs`       | what services tell the parent: lines of JSON on their standard output |
//! | `relay.rs`        | the services' spans, posted to Weir over OTLP/HTTP                    |
//!
//! Everything lives in namespaces whose names begin with `weir-demo-<pid>-`; this machine's own addresses,
//! routes and firewall are never touched, and nothing remains when the demo ends, however it ends: services stop
//! when the parent's end of their standard input closes, and the next start clears what `kill -9` left.

mod certificates;
mod home;
mod http;
mod network;
mod pool;
mod relay;
mod report;
mod service;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use home::Home;
use network::Network;
use relay::Relay;
use report::Line;
use service::Role;
pub(crate) use service::{ServiceArgs, run as run_service};

/// How long a service may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How long services get to leave by themselves before they are killed.
const LEAVE: Duration = Duration::from_secs(2);

/// Makes traffic worth looking at: four services in network namespaces of their own (needs root).
///
/// Plain HTTP, TLS and mutual TLS, kept-alive and short connections, IPv4 and IPv6, lost packets, slow answers,
/// refused connections and bad certificates. Ends on Ctrl-C and removes everything it made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests a second that the client sends.
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    rate: f64,
    /// Stop by itself after this long (`30s`, `5m`); without it the demo runs until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasting: Option<Duration>,
    /// Percent of TCP packets lost on the way into `api` and `store`.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    loss: u8,
    /// Where the services' own spans are sent (OTLP/HTTP); an empty text sends none.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    otlp: String,
    /// Where Weir's pages are, for the hints that are printed.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8480")]
    ui: String,
}

/// Runs the demo until Ctrl-C, SIGTERM, SIGHUP or the end of `--for`, then removes everything.
///
/// # Errors
/// When it isn't root, when the kernel or `ip` can't make the network, or when a service dies.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("weir demo makes network namespaces, which needs root: run `sudo weir demo`");
    }
    let mut stop = Stop::new()?;
    // A signal during the start drops the unfinished demo, which removes what there is of it.
    let mut demo = tokio::select! {
        demo = Demo::start(&args) => demo?,
        () = stop.asked() => return say("stopped before it ran; nothing remains"),
    };
    demo.introduce(&args)?;
    tokio::select! {
        result = demo.follow() => result?,
        () = end(args.lasting) => {}
        () = stop.asked() => {}
    }
    demo.finish().await
}

async fn end(lasting: Option<Duration>) {
    match lasting {
        Some(lasting) => tokio::time::sleep(lasting).await,
        None => std::future::pending().await,
    }
}

/// Everything that exists while the demo runs. Fields drop in this order: processes, then network, then directory.
struct Demo {
    services: Vec<(Role, Child)>,
    lines: mpsc::Receiver<(Role, Line)>,
    relay: Relay,
    counts: BTreeMap<String, u64>,
    network: Network,
    home: Home,
}

impl Demo {
    async fn start(args: &Args) -> anyhow::Result<Self> {
        let (home, cleared) = Home::create()?;
        if cleared > 0 {
            say(&format!("cleared what {cleared} earlier run(s) left behind"))?;
        }
        certificates::write(home.path()).context("make the demo's certificates")?;
        let network = Network::create(home.id(), args.loss)?;
        let (sender, lines) = mpsc::channel(1024);
        let relay = Relay::start(&args.otlp);
        let mut demo = Self { services: Vec::new(), lines, relay, counts: BTreeMap::new(), network, home };
        // Servers first, and each must listen before its client starts: a refused connection in the demo is
        // always a meant one.
        for role in [Role::Store, Role::Api, Role::Front, Role::Client] {
            demo.launch(role, args, &sender)?;
            timeout(START, demo.until_ready(role))
                .await
                .with_context(|| format!("{role} did not start within {START:?}"))??;
        }
        Ok(demo)
    }

    fn launch(&mut self, role: Role, args: &Args, lines: &mpsc::Sender<(Role, Line)>) -> anyhow::Result<()> {
        // The kernel names a process after the file it was started from: a link named `front` makes flows say
        // `front`. It points at /proc so that a binary replaced by a new build still starts.
        let program = self.home.path().join(role.name());
        symlink(format!("/proc/{}/exe", std::process::id()), &program)
            .with_context(|| format!("link {}", program.display()))?;
        let mut command = std::process::Command::new(&program);
        command
            .args(["demo-service", role.name(), "--dir"])
            .arg(self.home.path())
            .args(["--rate", &args.rate.to_string()])
            .arg0(role.name())
            .env_clear()
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal must reach only the parent, which ends the services in order.
            .process_group(0);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let runtime = tokio::runtime::Handle::current();
        let mut child = self.network.inside(role.name(), move || {
            let _runtime = runtime.enter();
            command.spawn().with_context(|| format!("start {}", program.display()))
        })?;
        let output = child.stdout.take().context("a service's output")?;
        tokio::spawn(read_lines(role, output, lines.clone()));
        self.services.push((role, child));
        Ok(())
    }

    async fn until_ready(&mut self, role: Role) -> anyhow::Result<()> {
        loop {
            match self.next_line().await? {
                (from, Line::Ready) if from == role => return Ok(()),
                (from, line) => self.take(from, line)?,
            }
        }
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        loop {
            let (from, line) = self.next_line().await?;
            self.take(from, line)?;
        }
    }

    async fn next_line(&mut self) -> anyhow::Result<(Role, Line)> {
        self.lines.recv().await.context("all services are gone")
    }

    fn take(&mut self, from: Role, line: Line) -> anyhow::Result<()> {
        match line {
            Line::Ready => {}
            Line::Event { name } => *self.counts.entry(name).or_default() += 1,
            Line::Span(span) => self.relay.send(from.name(), span),
            Line::Failed { message } => bail!("{from} failed: {message}"),
        }
        Ok(())
    }

    fn introduce(&self, args: &Args) -> anyhow::Result<()> {
        say(&format!("weir demo runs in namespaces {}*\n", self.network.prefix()))?;
        for (role, child) in &self.services {
            let pid = child.id().unwrap_or_default();
            let (v4, v6) = (role.ipv4(), role.ipv6());
            say(&format!("  {:<7} pid {pid:<8} {v4:<12} {v6:<18} {}", role.name(), role.does()))?;
        }
        say(&format!(
            "\n  {} requests/s; {}; every so often a slow answer, a refused connection, an expired server\n  \
             certificate (front → api:{}) and a client certificate of a foreign authority (api → store)\n",
            args.rate,
            self.network.loss(),
            service::EXPIRED_PORT,
        ))?;
        let ui = args.ui.trim_end_matches('/');
        say("look at")?;
        say(&format!("  {ui}/flows    connections with SNI and JA4; try tls_sni = store.demo.internal"))?;
        say(&format!("  {ui}/traces   the services' requests, and each connection with its handshake"))?;
        say("  weir sql \"select server_port, count(*), sum(client_retransmits) from flows group by 1\"")?;
        say(&format!("  ip netns exec {}api ss -tnp\n", self.network.prefix()))?;
        match args.lasting {
            Some(lasting) => say(&format!("runs for {lasting:?}; Ctrl-C ends it sooner")),
            None => say("runs until Ctrl-C"),
        }
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        let dropped = self.network.dropped();
        for (_, child) in &mut self.services {
            drop(child.stdin.take());
        }
        for (role, child) in &mut self.services {
            if timeout(LEAVE, child.wait()).await.is_err() {
                child.kill().await.with_context(|| format!("end {role}"))?;
            }
        }
        while let Ok((from, line)) = self.lines.try_recv() {
            // That the services ended is no failure any more.
            if !matches!(line, Line::Failed { .. }) {
                self.take(from, line)?;
            }
        }
        let spans = self.relay.finish().await;
        let counts: Vec<String> = self.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        say(&format!("done: {}", counts.join(", ")))?;
        say(&format!("      {dropped} packets lost on purpose; {spans}"))
    }
}

async fn read_lines(role: Role, output: ChildStdout, to: mpsc::Sender<(Role, Line)>) {
    let mut lines = BufReader::new(output).lines();
    loop {
        let line = match lines.next_line().await {
            Ok(Some(text)) => match serde_json::from_str(&text) {
                Ok(line) => line,
                Err(err) => Line::Failed { message: format!("said {text:?}: {err}") },
            },
            Ok(None) => Line::Failed { message: "it ended".into() },
            Err(err) => Line::Failed { message: err.to_string() },
        };
        let last = matches!(line, Line::Failed { .. });
        if to.send((role, line)).await.is_err() || last {
            return;
        }
    }
}

/// The signals that end the demo; a closed terminal (SIGHUP) is one.
struct Stop {
    signals: [tokio::signal::unix::Signal; 3],
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            signals: [on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?],
        })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Writes a line for the person at the terminal; a closed pipe ends the demo like any other error.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("write to standard output")
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1000.0 => Ok(rate),
        _ => Err("give requests a second between 0 and 1000, such as 5".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give a duration such as 30s or 5m".into())
}
