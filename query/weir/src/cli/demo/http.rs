//! HTTP/1.1 between the services, plain or over TLS: a server, and a client that keeps connections for a while.
//!
//! Requests carry W3C trace context (`traceparent`), and each end reports its span.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use axum::body::{Body, to_bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::report::{Line, Side, Span, event, line};

/// How long one request may take, lost packets and slow answers included.
const PATIENCE: Duration = Duration::from_secs(15);
/// Larger answers than the demo's own are refused.
const MAX_BODY: usize = 1 << 20;

/// A request as a service's handler gets it.
pub(super) struct Call {
    pub(super) path: String,
    pub(super) context: TraceContext,
}

/// A service's answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The trace a request belongs to and the span that sends or serves it.
#[derive(Clone, Copy)]
pub(super) struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
}

impl TraceContext {
    /// A new trace, with no span above it.
    pub(super) fn root() -> Self {
        Self { trace: rand::random(), span: [0; 8] }
    }

    fn child(self) -> Self {
        Self { trace: self.trace, span: rand::random() }
    }

    fn header(self) -> String {
        format!("00-{}-{}-01", hex::encode(self.trace), hex::encode(self.span))
    }

    fn from_header(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("00-")?.split('-');
        let mut context = Self { trace: [0; 16], span: [0; 8] };
        hex::decode_to_slice(parts.next()?, &mut context.trace).ok()?;
        hex::decode_to_slice(parts.next()?, &mut context.span).ok()?;
        Some(context)
    }
}

/// Serves `handler` on `listener` for ever. A TLS handshake that fails is counted, and ends its connection only.
pub(super) async fn serve<H, F>(listener: TcpListener, tls: Option<TlsAcceptor>, handler: H)
where
    H: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors or the peer was gone already; the listener itself is fine.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (tls, handler) = (tls.clone(), handler.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, peer, handler).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => connection(stream, peer, handler).await,
                    Err(_) => event("handshakes failed"),
                },
            }
        });
    }
}

/// Answers the requests of one connection, until it ends.
pub(super) async fn connection<S, H, F>(stream: S, peer: SocketAddr, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(answer(request, peer, handler).await) }
    });
    // A connection the client cut is an ordinary end here.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<H, F>(request: Request<hyper::body::Incoming>, peer: SocketAddr, handler: H) -> Response<Body>
where
    H: Fn(Call) -> F,
    F: Future<Output = Reply>,
{
    let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let above = header.and_then(TraceContext::from_header).unwrap_or_else(TraceContext::root);
    let context = above.child();
    let path = request.uri().path().to_owned();
    let start_ns = now_ns();
    let reply = handler(Call { path: path.clone(), context }).await;
    report(above, context, Side::Server, &path, start_ns, Some(peer), Ok(reply.status));
    let mut response = Response::new(Body::from(reply.body));
    if let Ok(status) = hyper::StatusCode::from_u16(reply.status) {
        *response.status_mut() = status;
    }
    response
}

/// A service to call: its addresses, how to secure the connection, and the connections kept open to it.
pub(super) struct Upstream {
    name: &'static str,
    /// Taken in turn, connection by connection: mostly IPv4, now and then IPv6.
    addresses: Vec<SocketAddr>,
    /// Taken in turn as well: a service may have clients of several TLS versions. Empty is plain HTTP.
    tls: Vec<TlsConnector>,
    opened: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    sender: SendRequest<Body>,
    peer: SocketAddr,
    /// Requests it may still carry: connections of many lengths make a better picture than one eternal one.
    left: u32,
}

impl Upstream {
    pub(super) fn new(name: &'static str, addresses: Vec<SocketAddr>, tls: Vec<TlsConnector>) -> Self {
        Self { name, addresses, tls, opened: AtomicUsize::new(0), idle: Mutex::new(Vec::new()) }
    }

    /// Sends `GET path` within the trace of `context` and reports the client's span.
    pub(super) async fn get(&self, path: &str, context: TraceContext) -> anyhow::Result<Reply> {
        let span = context.child();
        let start_ns = now_ns();
        let mut peer = None;
        let result = match timeout(PATIENCE, self.send(path, span, &mut peer)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer within {PATIENCE:?}")),
        };
        let outcome = result.as_ref().map(|reply| reply.status).map_err(|err| format!("{err:#}"));
        report(context, span, Side::Client, path, start_ns, peer, outcome);
        result
    }

    async fn send(
        &self,
        path: &str,
        span: TraceContext,
        peer: &mut Option<SocketAddr>,
    ) -> anyhow::Result<Reply> {
        let mut connection = match self.kept() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        *peer = Some(connection.peer);
        let request = Request::get(path)
            .header("host", self.name)
            .header("user-agent", "weir-demo")
            .header("traceparent", span.header())
            .body(Body::empty())?;
        let response = connection.sender.send_request(request).await.context("send the request")?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), MAX_BODY).await.context("read the answer")?;
        connection.left -= 1;
        if connection.left > 0 {
            self.idle.lock().push(connection);
        }
        Ok(Reply { status, body: body.to_vec() })
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|connection| !connection.sender.is_closed());
        idle.pop()
    }

    async fn open(&self) -> anyhow::Result<Connection> {
        let turn = self.opened.fetch_add(1, Ordering::Relaxed);
        let Some(&peer) = self.addresses.get(turn % self.addresses.len().max(1)) else {
            bail!("{} has no address", self.name);
        };
        let stream = TcpStream::connect(peer).await.with_context(|| format!("connect to {peer}"))?;
        stream.set_nodelay(true)?;
        let left = rand::random_range(1..=12);
        let sender = match self.tls.get(turn % self.tls.len().max(1)) {
            None => drive(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(self.name)?;
                drive(tls.connect(name, stream).await.context("TLS handshake")?).await?
            }
        };
        Ok(Connection { sender, peer, left })
    }
}

async fn drive<S>(stream: S) -> anyhow::Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn report(
    above: TraceContext,
    span: TraceContext,
    side: Side,
    path: &str,
    start_ns: u64,
    peer: Option<SocketAddr>,
    outcome: Result<u16, String>,
) {
    let (status, error) = match outcome {
        Ok(status) => (Some(status), None),
        Err(error) => (None, Some(error)),
    };
    let parent = if above.span == [0; 8] { String::new() } else { hex::encode(above.span) };
    line(&Line::Span(Span {
        trace: hex::encode(span.trace),
        id: hex::encode(span.span),
        parent,
        name: format!("GET {path}"),
        side,
        start_ns,
        end_ns: now_ns(),
        method: "GET".into(),
        path: path.into(),
        status,
        peer,
        error,
    }));
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_survives_its_header() {
        let context = TraceContext::root().child();
        let read = TraceContext::from_header(&context.header());
        assert_eq!(read.map(TraceContext::header), Some(context.header()));
        for bad in ["", "00-", "00-12-34-01", "01-00000000000000000000000000000000-0000000000000000-01"] {
            assert!(TraceContext::from_header(bad).is_none(), "{bad:?}");
        }
    }
}
