//! The receiver: where it is, how it is spoken to, and which of its answers mean "come again".

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use weir_otlp::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use weir_otlp::proto::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use weir_otlp::proto::collector::trace::v1::ExportTraceServiceRequest;
use weir_otlp::proto::collector::trace::v1::trace_service_client::TraceServiceClient;

use super::ExportError;
use super::queue::{Kind, Record};

/// How long a connection may take to come to be.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// A connection that is idle shows so often that the other end is alive.
const ALIVE: Duration = Duration::from_secs(30);

/// Where the receiver is, and who we are to it.
#[derive(Clone, Default)]
pub struct ReceiverConfig {
    /// `http://host:port`, or `https://…` for TLS.
    pub url: String,
    /// The authority that its certificate is of; the system's own ones without it. PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate, PEM, with the chain to its authority.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// `name=value`, sent with each request.
    pub headers: Vec<String>,
}

impl std::fmt::Debug for ReceiverConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers are where tokens are.
        let Self { url, ca, certificate, key, headers } = self;
        let mut told = f.debug_struct("ReceiverConfig");
        told.field("url", url).field("ca", ca).field("certificate", certificate).field("key", key);
        told.field("headers", &headers.len()).finish()
    }
}

/// A receiver that can be spoken to; connects when it has to.
#[derive(Clone)]
pub(super) struct Receiver {
    endpoint: Endpoint,
    headers: MetadataMap,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("uri", self.endpoint.uri()).finish_non_exhaustive()
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it, but for so many that it won't ever take, and why.
    Taken { rejected: u64, why: String },
    /// It may have it later; where it says when, after so long.
    Later { after: Option<Duration>, why: String },
    /// It won't ever.
    Refused { reason: &'static str, why: String },
}

impl Receiver {
    pub(super) fn new(config: &ReceiverConfig) -> Result<Receiver, ExportError> {
        let wrong = |wrong: String| ExportError::Url { url: config.url.clone(), wrong };
        let url = url_of(&config.url).map_err(wrong)?;
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|err| wrong(err.to_string()))?;
        let mut endpoint = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .http2_keep_alive_interval(ALIVE)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .map_err(|err| wrong(err.to_string()))?;
        if url.starts_with("https://") {
            endpoint = endpoint.tls_config(tls(config)?).map_err(|err| wrong(chain(&err)))?;
        } else if config.ca.is_some() || config.certificate.is_some() || config.key.is_some() {
            return Err(wrong("certificates are of no use without https".to_owned()));
        }
        Ok(Receiver { endpoint, headers: headers(&config.headers)? })
    }

    /// A connection that is made when it is first needed, and again when it breaks.
    pub(super) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    pub(super) fn url(&self) -> String {
        self.endpoint.uri().to_string()
    }

    /// Sends one record.
    pub(super) async fn send(&self, channel: Channel, record: &Record) -> Outcome {
        let bytes = record.payload.as_slice();
        let unreadable =
            |err: prost::DecodeError| Outcome::Refused { reason: "damaged", why: err.to_string() };
        match record.kind {
            Kind::Spans => {
                let request = match ExportTraceServiceRequest::decode(bytes) {
                    Ok(request) => self.request(request),
                    Err(err) => return unreadable(err),
                };
                let mut client = TraceServiceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
                outcome(client.export(request).await.map(|answer| {
                    let partial = answer.into_inner().partial_success.unwrap_or_default();
                    (partial.rejected_spans, partial.error_message)
                }))
            }
            Kind::Points => {
                let request = match ExportMetricsServiceRequest::decode(bytes) {
                    Ok(request) => self.request(request),
                    Err(err) => return unreadable(err),
                };
                let mut client =
                    MetricsServiceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
                outcome(client.export(request).await.map(|answer| {
                    let partial = answer.into_inner().partial_success.unwrap_or_default();
                    (partial.rejected_data_points, partial.error_message)
                }))
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }
}

/// As the OTLP specification sorts answers.
fn outcome(answer: Result<(i64, String), Status>) -> Outcome {
    let status = match answer {
        Ok((rejected, why)) => return Outcome::Taken { rejected: rejected.max(0).cast_unsigned(), why },
        Err(status) => status,
    };
    let why = chain(&status);
    let reason = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => return Outcome::Later { after: retry_delay(status.details()), why },
        // Only where it says when, it is full for the moment; else the request is too large for it.
        Code::ResourceExhausted => match retry_delay(status.details()) {
            Some(after) => return Outcome::Later { after: Some(after), why },
            None => "resource_exhausted",
        },
        Code::InvalidArgument => "invalid_argument",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::Unimplemented => "unimplemented",
        // A connection that broke in the middle of it.
        Code::Unknown | Code::Internal if std::error::Error::source(&status).is_some() => {
            return Outcome::Later { after: None, why };
        }
        _ => "refused",
    };
    Outcome::Refused { reason, why }
}

/// `google.rpc.Status`, of which only the details are wanted.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let Delay { seconds, nanos } =
        RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(seconds.max(0).cast_unsigned(), nanos.clamp(0, 999_999_999).cast_unsigned()))
}

fn url_of(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some((scheme @ ("http" | "https"), host)) => match host.trim_end_matches('/') {
            "" => Err("it names no host".to_owned()),
            host if !host.contains('/') => Ok(format!("{scheme}://{host}")),
            _ => Err("OTLP over gRPC has no path".to_owned()),
        },
        _ => Err("it begins with neither http:// nor https://".to_owned()),
    }
}

fn tls(config: &ReceiverConfig) -> Result<ClientTlsConfig, ExportError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(pem("--export-otlp-ca", ca, "CERTIFICATE")?)),
        None => tls.with_native_roots(),
    };
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let certificate = pem("--export-otlp-certificate", certificate, "CERTIFICATE")?;
            Ok(tls.identity(Identity::from_pem(certificate, pem("--export-otlp-key", key, "PRIVATE KEY")?)))
        }
        (None, None) => Ok(tls),
        _ => Err(ExportError::Flags("--export-otlp-certificate and --export-otlp-key go together")),
    }
}

fn pem(flag: &'static str, path: &PathBuf, what: &str) -> Result<Vec<u8>, ExportError> {
    let wrong = |wrong: String| ExportError::File { flag, path: path.clone(), wrong };
    let bytes = fs::read(path).map_err(|err| wrong(err.to_string()))?;
    let marker = format!("{what}-----");
    if !bytes.windows(marker.len()).any(|part| part == marker.as_bytes()) {
        return Err(wrong(format!("there is no {what} in it, in PEM")));
    }
    Ok(bytes)
}

fn headers(given: &[String]) -> Result<MetadataMap, ExportError> {
    let mut headers = MetadataMap::new();
    for header in given {
        let name = header.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        let wrong = |wrong| ExportError::Header { header: name.clone(), wrong };
        let (_, value) = header.split_once('=').ok_or_else(|| wrong("there is no = in it"))?;
        let key: MetadataKey<Ascii> = name.parse().map_err(|_| wrong("that is no name of a header"))?;
        if !value.is_ascii() {
            return Err(wrong("its value is not plain ASCII"));
        }
        let mut value: MetadataValue<Ascii> =
            value.trim().parse().map_err(|_| wrong("its value is not plain ASCII"))?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

/// What is wrong, down to the cause.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
