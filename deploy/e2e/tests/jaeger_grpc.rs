//! Jaeger's gRPC APIs, asked by gRPC's own Python packages with stubs that Google's compiler makes of our .proto files.

use std::path::Path;

use weir_e2e::{Store, Weir, run};

fn beside(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_string_lossy().into_owned()
}

fn python() -> String {
    let python = beside("../../.tools/otlp/bin/python");
    assert!(Path::new(&python).exists(), "no {python}: run `make setup`");
    python
}

#[tokio::test]
async fn clients_of_others_store_find_and_read_traces() -> anyhow::Result<()> {
    let mut weir = Weir::start_on(&Store::new()?, &["--no-probe"]).await?;
    let [query, storage] = ["jaeger_grpc", "jaeger_storage"].map(|name| weir.address(name));
    let addresses = [query?.to_string(), storage?.to_string()];
    let [script, protos] = [beside("tests/jaeger_grpc/client.py"), beside("../../query/api/proto")];
    let said = run(&python(), [script.as_str(), &protos, &addresses[0], &addresses[1]])?;
    assert_eq!(said.trim(), "all as expected");
    weir.process.must_run()
}

/// Another compiler than the one that made them reads the same out of the .proto files.
#[test]
fn the_committed_descriptors_are_what_protoc_makes() -> anyhow::Result<()> {
    let [script, protos] = [beside("tests/jaeger_grpc/descriptors.py"), beside("../../query/api/proto")];
    let said = run(&python(), [script.as_str(), &protos])?;
    assert_eq!(said.trim(), "the same");
    Ok(())
}
