//! Arrow Flight SQL, asked by ADBC's own driver (from `deploy/setup.sh test`).

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_asks_as_it_asks_any_other_server() {
    let world = World::new().await.with_rows().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_routes(weir_api::flight_sql(&world.api));
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.tools/sql/bin/python");
    assert!(python.exists(), "{} is missing: run deploy/setup.sh test", python.display());
    let client = tokio::process::Command::new(python)
        .arg(here.join("tests/api/flight_sql.py"))
        .arg(format!("grpc://{address}"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&client.stdout), String::from_utf8_lossy(&client.stderr));
    assert!(client.status.success() && out.contains("asked"), "{out}\n{err}");
    idle(&world.engine).await;
    server.abort();
}
