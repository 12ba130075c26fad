//! What a probe sees with no more rights than the DaemonSet gives it (`deploy/kubernetes`), and with those of its
//! component `library-probes`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_model::{ProcessRow, TlsHandshakeRow};

use crate::bench::{Hosts, Keeper, collector};
use crate::certificates::{self, Files, Server};
use crate::confined::Probe;
use crate::processes::Client;

/// How long a library may stay without a probe; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The capabilities that a file of the manifests grants, as `setpriv` names them.
fn granted(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let of = |begin: &str, end: char| {
        let from = text.split_once(begin)?.1;
        Some(from.split(end).next()?.split(',').map(|name| name.trim().to_lowercase()).collect())
    };
    of("add: [", ']').or_else(|| of("capabilities/add/-\n        value:", '\n')).unwrap()
}

/// A probe as root of a container with these capabilities and no other.
fn start(endpoint: &str, state: &Path, capabilities: &[String]) -> Probe {
    let set = capabilities.join(",+");
    let child = Command::new("setpriv")
        .args(["--inh-caps=-all", &format!("--bounding-set=-all,+{set}")])
        .args([env!("CARGO_BIN_EXE_weir-probe"), "--collector", endpoint, "--node", "rights"])
        .args(["--interval", "1", "--log", "error", "--health", "127.0.0.1:0", "--state-dir"])
        .arg(state)
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    Probe(child)
}

/// A handshake of TLS 1.3 between other processes, and what is told of it: the client's row, and its process.
async fn seen_with(capabilities: &[String]) -> (TlsHandshakeRow, ProcessRow) {
    let hosts = Hosts::new();
    let (keeper, endpoint) = collector().await;
    let state = tempfile::tempdir().unwrap();
    let _probe = start(&endpoint, state.path(), capabilities);
    let may_look = capabilities.iter().any(|name| name == "sys_ptrace");
    let files = Files::make();
    // Libraries that only a look at the process finds, as those of another container.
    let (name, directory) = files.own_libraries();
    let own = Some((name, directory.as_path()));
    let server = Server::openssl_of(&hosts, &files, own, &[]);
    let probes = |keeper: &Keeper| certificates::probes(&keeper.rows());
    keeper.until("a probe at work", probes, |probes| *probes > 0).await;
    let refused = |keeper: &Keeper| keeper.lost("libraries_not_probed") > 0;
    if !may_look {
        keeper.until("what it may not look at, counted", refused, |refused| *refused).await;
    }
    let client_row = |keeper: &Keeper| {
        let rows: Vec<TlsHandshakeRow> = keeper.rows();
        let is_it = |row: &TlsHandshakeRow| {
            row.server_port == Some(server.port) && row.observer.as_deref() == Some("client")
        };
        rows.into_iter().rfind(is_it)
    };
    let began = Instant::now();
    let handshake = loop {
        let before = keeper.rows::<TlsHandshakeRow>().len();
        certificates::openssl_of(&hosts, server.port, own, &[]);
        let more =
            |keeper: &Keeper| (keeper.rows::<TlsHandshakeRow>().len() > before).then(|| client_row(keeper));
        let row =
            keeper.until("the handshake", more, |row| matches!(row, Some(Some(_)))).await.flatten().unwrap();
        // It looks at new processes each second.
        if !may_look || row.server_certificate_sha256.is_some() || began.elapsed() > PATIENCE {
            break row;
        }
    };
    let (_listener, at) = hosts.listen("10.83.0.2");
    let client = Client::connect(&hosts, at.port());
    let process = |keeper: &Keeper| {
        let rows: Vec<ProcessRow> = keeper.rows();
        rows.into_iter().find(|row| client.is_it(row))
    };
    (handshake, keeper.until("the client's process", process, Option::is_some).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemonset_s_rights_suffice_for_all_but_other_containers_files() {
    let mut capabilities = granted("weir-probe.yaml");
    let (handshake, process) = seen_with(&capabilities).await;
    assert_eq!(handshake.tls_sni.as_deref(), Some("server.weir.test"));
    assert!(handshake.client_process.as_deref().is_some_and(|name| name.starts_with("openssl")));
    assert_eq!(handshake.server_certificate_sha256, None, "{handshake:#?}");
    assert_eq!(process.executable, None, "{process:#?}");
    assert!(process.command_line.is_some(), "{process:#?}");

    capabilities.extend(granted("components/library-probes/kustomization.yaml"));
    let (handshake, process) = seen_with(&capabilities).await;
    assert!(handshake.server_certificate_sha256.is_some(), "{handshake:#?}");
    assert!(process.executable.is_some(), "{process:#?}");
}
