//! What `weir up` prints when it is ready: where to look, and what it sees.

use super::listen::Addresses;
use super::probe::Running;

#[expect(clippy::print_stdout, reason = "for the person who started it; logs go to stderr")]
pub(crate) fn print(listeners: &Addresses, place: &str, probe: &Running) {
    println!();
    println!("  Weir {} is ready.", weir_kit::VERSION);
    println!();
    println!("  Web page, API    http://{}", listeners.http);
    println!("  Jaeger HTTP API  http://{}", listeners.jaeger);
    println!("  Jaeger gRPC      queries {}   storage {}", listeners.jaeger_grpc, listeners.jaeger_storage);
    println!("  Flight SQL       {}", listeners.flight_sql);
    println!("  PostgreSQL       {}", listeners.postgres);
    println!("  OTLP             grpc {}   http {}", listeners.otlp_grpc, listeners.otlp_http);
    println!("  Probes (Flight)  {}", listeners.flight);
    for (what, address) in [
        ("NetFlow, IPFIX ", listeners.netflow),
        ("sFlow          ", listeners.sflow),
        ("Audit webhook  ", listeners.k8s_audit),
    ] {
        if let Some(address) = address {
            println!("  {what}  {address}");
        }
    }
    println!("  Rows are kept in {place}");
    println!("  Probe            {}", probe.sentence());
    println!();
    println!("  For traffic worth looking at: weir demo (root), in another shell. Ctrl-C stops.");
    println!();
}
