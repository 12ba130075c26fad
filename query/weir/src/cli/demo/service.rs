//! The four roles. Each is a process of its own: this binary, started again under the role's name.
//!
//! | role   | listens                                        | calls                                      | threads          |
//! |--------|------------------------------------------------|--------------------------------------------|------------------|
//! | client |                                                | front; a closed port of front now and then | one, many tasks  |
//! | front  | 8080 HTTP                                      | api; its expired port now and then         | a pool ([`pool`]) |
//! | api    | 8443 TLS, 9443 TLS with an expired certificate | store, sometimes with a foreign certificate | one, many tasks |
//! | store  | 8443 mutual TLS, 8125 UDP                      |                                            | one, many tasks  |

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::http::{Call, Reply, TraceContext, Upstream, serve};
use super::pool;
use super::report::{Line, event, line};

/// Where `api` shows its expired certificate.
pub(super) const EXPIRED_PORT: u16 = 9443;
const HTTP_PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;
const METRICS_PORT: u16 = 8125;
/// Nobody listens there.
const CLOSED_PORT: u16 = 8081;

/// What the pages of the shop ask for.
const PAGES: [&str; 5] = ["/", "/catalog", "/cart", "/catalog", "/checkout"];

static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// Which of the demo's services a process is.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Role {
    Client,
    Front,
    Api,
    Store,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Client, Self::Front, Self::Api, Self::Store];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Front => "front",
            Self::Api => "api",
            Self::Store => "store",
        }
    }

    pub(super) fn does(self) -> &'static str {
        match self {
            Self::Client => "asks front for pages",
            Self::Front => "HTTP on 8080, asks api",
            Self::Api => "TLS on 8443 (api.demo.internal), asks store",
            Self::Store => "mutual TLS on 8443 (store.demo.internal), metrics on 8125/udp",
        }
    }

    pub(super) fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, 0, self.host())
    }

    /// In a prefix of the range for private use (RFC 4193).
    pub(super) fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd57, 0x6569, 0x7200, 0, 0, 0, 0, u16::from(self.host()))
    }

    fn host(self) -> u8 {
        match self {
            Self::Client => 10,
            Self::Front => 20,
            Self::Api => 30,
            Self::Store => 40,
        }
    }

    fn addresses(self, port: u16) -> [SocketAddr; 2] {
        [IpAddr::V4(self.ipv4()), IpAddr::V6(self.ipv6())].map(|ip| SocketAddr::new(ip, port))
    }

    /// Three connections in four over IPv4.
    fn mostly_ipv4(self, port: u16) -> Vec<SocketAddr> {
        let [v4, v6] = self.addresses(port);
        vec![v4, v4, v6, v4]
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The command line of a service.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Which of the services.
    role: Role,
    /// The run's directory, with the certificates.
    #[arg(long)]
    dir: PathBuf,
    /// Requests a second, for the client.
    #[arg(long)]
    rate: f64,
}

/// Runs a role until the parent closes this process's standard input.
pub(crate) async fn run(args: ServiceArgs) -> anyhow::Result<()> {
    std::thread::Builder::new().name("parent".into()).spawn(leave_with_parent)?;
    let (done, result) = tokio::sync::oneshot::channel();
    // A thread of the role's name, and only one: whoever asks the kernel which thread owns a socket reads the
    // role's name, not that of some worker.
    std::thread::Builder::new().name(args.role.name().into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(play(&args)),
            Err(err) => Err(err.into()),
        };
        let _ = done.send(outcome);
    })?;
    let outcome = result.await.context("the service's thread panicked")?;
    if let Err(err) = &outcome {
        line(&Line::Failed { message: format!("{err:#}") });
    }
    outcome
}

/// The parent holds the other end of our standard input: it ends with the parent, however that ends.
fn leave_with_parent() {
    let mut nothing = [0; 64];
    while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
    std::process::exit(0);
}

async fn play(args: &ServiceArgs) -> anyhow::Result<()> {
    match args.role {
        Role::Store => store(&args.dir).await,
        Role::Api => api(&args.dir).await,
        Role::Front => front(&args.dir).await,
        Role::Client => client(args.rate).await,
    }
}

async fn store(dir: &Path) -> anyhow::Result<()> {
    let tls = server_tls(dir, "store", Some("ca"))?;
    let asked = Arc::new(AtomicU64::new(0));
    listen(Role::Store, TLS_PORT, Some(tls), move |call| {
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        look_up(call.path, turn)
    })
    .await?;
    let metrics = UdpSocket::bind((Role::Store.ipv4(), METRICS_PORT)).await.context("listen for metrics")?;
    line(&Line::Ready);
    let mut datagram = [0; 1500];
    loop {
        // Counting them is all the store does with metrics; an error belongs to one datagram.
        if metrics.recv_from(&mut datagram).await.is_ok() {
            event("metrics");
        }
    }
}

/// Answers after the time a small database would take; each 17th query is a slow one, each 41st fails.
async fn look_up(path: String, turn: u64) -> Reply {
    let slow = turn % 17 == 16;
    let micros = if slow { rand::random_range(300_000..900_000) } else { rand::random_range(500..4_000) };
    tokio::time::sleep(Duration::from_micros(micros)).await;
    if slow {
        event("slow answers");
    }
    if turn % 41 == 40 {
        return Reply { status: 503, body: b"store is busy\n".to_vec() };
    }
    let size = if path.starts_with("/items") { rand::random_range(2_000..40_000) } else { 200 };
    Reply { status: 200, body: vec![b'.'; size] }
}

async fn api(dir: &Path) -> anyhow::Result<()> {
    // Two client libraries of different age: most connections speak TLS 1.3, some TLS 1.2.
    let modern = client_tls(dir, Some("api-client"), TLS13)?;
    let older = client_tls(dir, Some("api-client"), TLS12)?;
    let good = Upstream::new(
        "store.demo.internal",
        Role::Store.mostly_ipv4(TLS_PORT),
        vec![modern.clone(), modern, older],
    );
    let bad = [TLS12, TLS13].map(|versions| client_tls(dir, Some("foreign"), versions));
    let [bad12, bad13] = bad;
    let foreign =
        Upstream::new("store.demo.internal", Role::Store.mostly_ipv4(TLS_PORT), vec![bad12?, bad13?]);
    let metrics = UdpSocket::bind((Role::Api.ipv4(), 0)).await.context("open the metrics socket")?;
    metrics.connect((Role::Store.ipv4(), METRICS_PORT)).await?;
    let shared = Arc::new((good, foreign, metrics, AtomicU64::new(0)));
    let handler = move |call: Call| {
        let shared = Arc::clone(&shared);
        async move {
            let (good, foreign, metrics, asked) = &*shared;
            let turn = asked.fetch_add(1, Ordering::Relaxed);
            let _ = metrics.send(format!("api.requests:1|c|#path:{}", call.path).as_bytes()).await;
            if turn % 13 == 12 && foreign.get("/audit", call.context).await.is_err() {
                event("client certificates refused");
            }
            let queries: &[&str] = match call.path.as_str() {
                "/checkout" => &["/items/cart", "/orders/new", "/items/stock"],
                "/cart" => &["/items/cart", "/prices"],
                _ => &["/items/all"],
            };
            gather(good, queries, call.context).await
        }
    };
    listen(Role::Api, TLS_PORT, Some(server_tls(dir, "api", None)?), handler.clone()).await?;
    listen(Role::Api, EXPIRED_PORT, Some(server_tls(dir, "expired", None)?), handler).await?;
    line(&Line::Ready);
    std::future::pending().await
}

async fn front(dir: &Path) -> anyhow::Result<()> {
    let asked = Arc::new(AtomicU64::new(0));
    // Each thread keeps connections of its own to api.
    let handler = || {
        let (good, expired) = front_s_upstreams(dir)?;
        let shared = Arc::new((good, expired, Arc::clone(&asked)));
        Ok(move |call: Call| {
            let shared = Arc::clone(&shared);
            async move {
                let (good, expired, asked) = &*shared;
                if asked.fetch_add(1, Ordering::Relaxed) % 15 == 7
                    && expired.get("/health", call.context).await.is_err()
                {
                    event("expired certificates refused");
                }
                if call.path == "/" {
                    return Reply { status: 200, body: vec![b'.'; 4_000] };
                }
                gather(good, &[call.path.as_str()], call.context).await
            }
        })
    };
    pool::serve(Role::Front.name(), &Role::Front.addresses(HTTP_PORT), handler)?;
    line(&Line::Ready);
    std::future::pending().await
}

fn front_s_upstreams(dir: &Path) -> anyhow::Result<(Upstream, Upstream)> {
    let good = Upstream::new(
        "api.demo.internal",
        Role::Api.mostly_ipv4(TLS_PORT),
        vec![client_tls(dir, None, TLS13)?],
    );
    // In TLS 1.2 the alert crosses the wire readable, in 1.3 encrypted: both are worth seeing.
    let expired = Upstream::new(
        "api.demo.internal",
        Role::Api.mostly_ipv4(EXPIRED_PORT),
        vec![client_tls(dir, None, TLS12)?, client_tls(dir, None, TLS13)?],
    );
    Ok((good, expired))
}

async fn client(rate: f64) -> anyhow::Result<()> {
    let front =
        Arc::new(Upstream::new("front.demo.internal", Role::Front.mostly_ipv4(HTTP_PORT), Vec::new()));
    let closed =
        Arc::new(Upstream::new("front.demo.internal", Role::Front.mostly_ipv4(CLOSED_PORT), Vec::new()));
    line(&Line::Ready);
    for (turn, page) in PAGES.iter().cycle().enumerate() {
        // Gaps as of people who don't know of each other (exponential), cut so that --rate stays believable.
        let gap = (-(1.0 - rand::random::<f64>()).ln()).min(4.0) / rate;
        tokio::time::sleep(Duration::from_secs_f64(gap)).await;
        let (front, closed) = (Arc::clone(&front), Arc::clone(&closed));
        tokio::spawn(async move {
            if turn % 12 == 5 && closed.get("/admin", TraceContext::root()).await.is_err() {
                event("connections refused");
            }
            match front.get(page, TraceContext::root()).await {
                Ok(Reply { status: 200, .. }) => event("requests"),
                Ok(_) | Err(_) => event("requests failed"),
            }
        });
    }
    Ok(())
}

/// Asks for `paths` one after the other; the first failure is the answer.
async fn gather(upstream: &Upstream, paths: &[&str], context: TraceContext) -> Reply {
    let mut body = Vec::new();
    for path in paths {
        match upstream.get(path, context).await {
            Ok(reply) if reply.status == 200 => body.extend(reply.body),
            Ok(_) | Err(_) => return Reply { status: 502, body: b"no good answer from behind\n".to_vec() },
        }
    }
    Reply { status: 200, body }
}

/// Listens on both of a role's addresses and serves them in the background.
async fn listen<H, F>(role: Role, port: u16, tls: Option<TlsAcceptor>, handler: H) -> anyhow::Result<()>
where
    H: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    for address in role.addresses(port) {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        tokio::spawn(serve(listener, tls.clone(), handler.clone()));
    }
    Ok(())
}

fn server_tls(dir: &Path, name: &str, client_ca: Option<&str>) -> anyhow::Result<TlsAcceptor> {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let roots = Arc::new(authority(dir, ca)?);
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
            )
        }
    };
    let (certificate, key) = identity(dir, name)?;
    let mut config = builder.with_single_cert(certificate, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client_tls(
    dir: &Path,
    own: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> anyhow::Result<TlsConnector> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(authority(dir, "ca")?);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let (certificate, key) = identity(dir, name)?;
            builder.with_client_auth_cert(certificate, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authority(dir: &Path, name: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(dir, name)?)?;
    Ok(roots)
}

fn identity(
    dir: &Path,
    name: &str,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let path = dir.join(format!("{name}.key"));
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|err| anyhow!("{}: {err}", path.display()))?;
    Ok((vec![certificate(dir, name)?], key))
}

fn certificate(dir: &Path, name: &str) -> anyhow::Result<CertificateDer<'static>> {
    let path = dir.join(format!("{name}.pem"));
    CertificateDer::from_pem_file(&path).map_err(|err| anyhow!("{}: {err}", path.display()))
}
