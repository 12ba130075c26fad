//! Where spans and metrics are sent on to, as `weir up` is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_collector::{ExportConfig, ExportedSpans, ReceiverConfig};

/// Spans and metrics on to another OpenTelemetry receiver.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Send spans and metrics on to this OTLP receiver, over gRPC: `http://collector:4317`, or `https://…` for TLS. What waits while it
    /// is away is kept in the data directory.
    #[arg(id = "export_otlp", long = "export-otlp", env = "WEIR_EXPORT_OTLP", value_name = "URL")]
    url: Option<String>,
    /// The authority (PEM) of the receiver's certificate; the system's own ones without it.
    #[arg(
        id = "export_otlp_ca",
        long = "export-otlp-ca",
        env = "WEIR_EXPORT_OTLP_CA",
        value_name = "FILE",
        requires = "export_otlp"
    )]
    ca: Option<PathBuf>,
    /// Our own certificate (PEM), where the receiver asks for one.
    #[arg(
        id = "export_otlp_certificate",
        long = "export-otlp-certificate",
        env = "WEIR_EXPORT_OTLP_CERTIFICATE",
        value_name = "FILE",
        requires = "export_otlp_key"
    )]
    certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(
        id = "export_otlp_key",
        long = "export-otlp-key",
        env = "WEIR_EXPORT_OTLP_KEY",
        value_name = "FILE",
        requires = "export_otlp_certificate"
    )]
    key: Option<PathBuf>,
    /// A header that is sent with each request, such as `authorization=Bearer …`; may be given several times, or with
    /// commas between.
    #[arg(
        id = "export_otlp_header",
        long = "export-otlp-header",
        env = "WEIR_EXPORT_OTLP_HEADERS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "NAME=VALUE",
        requires = "export_otlp"
    )]
    header: Vec<String>,
    /// Which spans: all, or only those that Weir made, where applications send theirs to the same receiver.
    #[arg(
        id = "export_otlp_spans",
        long = "export-otlp-spans",
        env = "WEIR_EXPORT_OTLP_SPANS",
        value_enum,
        default_value = "all"
    )]
    spans: Spans,
    /// Seconds between two reports of the metrics; 0 for none (a tracing backend takes none).
    #[arg(
        id = "export_otlp_metrics",
        long = "export-otlp-metrics",
        env = "WEIR_EXPORT_OTLP_METRICS",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    metrics: u64,
    /// How many bytes may wait for the receiver on disk; beyond, the oldest are given up and counted.
    #[arg(id = "export_otlp_queue_bytes", long = "export-otlp-queue-bytes", env = "WEIR_EXPORT_OTLP_QUEUE_BYTES", value_name = "BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    queue_bytes: u64,
}

/// Which spans are sent on.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Spans {
    /// Those that Weir received, and those that it made.
    All,
    /// Only those that it made of what the network saw.
    Stitched,
}

impl Args {
    /// As the collector wants it.
    pub(crate) fn config(&self, data_dir: &Path) -> Option<ExportConfig> {
        let receiver = ReceiverConfig {
            url: self.url.clone()?,
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            headers: self.header.clone(),
        };
        Some(ExportConfig {
            receiver,
            spans: match self.spans {
                Spans::All => ExportedSpans::All,
                Spans::Stitched => ExportedSpans::Stitched,
            },
            metrics_every: Duration::from_secs(self.metrics),
            dir: data_dir.join("export").join("otlp"),
            queue_bytes: self.queue_bytes,
        })
    }
}
