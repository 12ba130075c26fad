//! Packets on demand, through the real binaries: `weir capture` against `weir up`, its files read by tshark.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::sys::signal::Signal;
use weir_e2e::{Process, Store, TlsServer, Weir, beside_weir, need_root, run, until, weir_binary};

/// One field of every packet, as tshark reads it.
fn fields(file: &Path, names: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut arguments =
        vec!["-r", file.to_str().context("a path in UTF-8")?, "-T", "fields", "-E", "occurrence=f"];
    for name in names {
        arguments.extend(["-e", name]);
    }
    let text = run("tshark", arguments)?;
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// Starts `weir capture` into a file, and returns once packets are taken on so many nodes.
async fn capture(weir: &Weir, file: &Path, nodes: usize, arguments: &[&str]) -> anyhow::Result<Process> {
    let mut command = Command::new(weir_binary());
    command.args(["capture", "--server", &weir.url("http")?]).args(arguments).arg("-o").arg(file);
    let mut process = Process::start(&mut command, &file.with_extension("log"))?;
    let look = || {
        let running = process.must_run();
        let begun = process.output().matches("capturing on ").count() >= nodes;
        async move { running.map(|()| begun.then_some(())) }
    };
    until("packets are taken", look).await?;
    Ok(process)
}

/// Waits until the file, which is whole at any time, has a FIN of both ends, each seen where it was sent and received.
async fn both_ends_closed(file: &Path) -> anyhow::Result<()> {
    let look = || async {
        let flags = fields(file, &["tcp.flags.fin"])?;
        let fins = flags.iter().filter(|row| ["1", "True"].contains(&row[0].as_str())).count();
        Ok((fins >= 3).then_some(()))
    };
    until("the connection's end", look).await.map(drop)
}

async fn connected(weir: &Weir, nodes: usize) -> anyhow::Result<()> {
    let look = || async {
        let status = weir.get("/api/v1/status", &[]).await?;
        Ok((status["probes"].as_array().map_or(0, Vec::len) >= nodes).then_some(()))
    };
    until("the probes are connected", look).await.map(drop)
}

/// What `audit_log` says of captures: outcome and request.
async fn audited(weir: &Weir, outcome: &str, word: &str) -> anyhow::Result<()> {
    let look = || async {
        let rows =
            weir.sql("select outcome, request, client_ip from audit_log where action = 'capture'").await?;
        let is_it = |row: &&Vec<serde_json::Value>| {
            row[0] == outcome
                && row[1].as_str().is_some_and(|request| request.contains(word))
                && row[2] == "127.0.0.1"
        };
        Ok(rows.iter().find(is_it).map(|_| ()))
    };
    until(&format!("an audited capture that is {outcome}"), look).await.map(drop)
}

#[tokio::test]
async fn a_capture_is_read_by_tshark_with_process_and_direction_and_without_payload() -> anyhow::Result<()> {
    need_root();
    let weir = Weir::start(&[]).await?;
    connected(&weir, 1).await?;
    let server = TlsServer::start("capture.example").await?;
    let filter = format!("tcp port {}", server.address().port());
    let file = weir.store().path("headers.pcapng");
    let mut capturing = capture(&weir, &file, 1, &["--filter", &filter]).await?;
    let peer = server.visit("secret-name.capture.example", &[])?;
    both_ends_closed(&file).await?;
    capturing.signal(Signal::SIGINT)?;
    assert!(capturing.ended().await?.success(), "{}", capturing.output());
    assert!(capturing.output().contains(" 0 lost; ended: interrupted"), "{}", capturing.output());

    let names = [
        "frame.comment",
        "frame.packet_flags_direction",
        "frame.cap_len",
        "ip.hdr_len",
        "tcp.hdr_len",
        "frame.interface_name",
        "frame.len",
    ];
    let packets = fields(&file, &names)?;
    let node = weir.get("/api/v1/status", &[]).await?["node"].as_str().context("a node")?.to_owned();
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} in {packets:?}"));
    for row in &packets {
        assert!(
            row[0].starts_with(&format!("node={node} pid=")) && row[0].contains("process=openssl"),
            "{row:?}"
        );
        assert_eq!(number(&row[2])?, number(&row[3])? + number(&row[4])?, "headers only: {row:?}");
        assert_eq!(row[5], node);
    }
    assert!(packets.iter().any(|row| number(&row[6]).is_ok_and(|length| length > 1_000)), "{packets:?}");
    for (pid, who) in [(peer.pid, "client"), (server.pid(), "server")] {
        let theirs = packets.iter().filter(|row| row[0].contains(&format!("pid={pid} ")));
        let directions: Vec<&String> = theirs.map(|row| &row[1]).collect();
        for direction in ["1", "2"] {
            let is_there = directions
                .iter()
                .any(|found| found.trim_start_matches("0x").trim_start_matches('0') == direction);
            assert!(is_there, "{who}: {direction} in {directions:?}");
        }
    }
    let bytes = std::fs::read(&file)?;
    assert!(
        !bytes.windows(11).any(|window| window == b"secret-name"),
        "the name is in the ClientHello, and that is payload"
    );

    // The file is one that Weir reads too.
    let report = weir.tool_with(&["import"], &file)?;
    let line = report.lines().find(|line| line.contains("TCP packets")).context("a report")?;
    assert_eq!(line.split_whitespace().last(), Some(packets.len().to_string().as_str()), "{report}");
    audited(&weir, "cancelled", &filter).await?;
    Ok(())
}

#[tokio::test]
async fn nodes_are_chosen_and_limits_and_refusals_are_said() -> anyhow::Result<()> {
    need_root();
    let weir = Weir::start(&[]).await?;
    let mut probe = Command::new(beside_weir("weir-probe"));
    probe.args(["--collector", &weir.url("flight")?, "--node", "other-node", "--state-dir"]);
    probe.arg(weir.store().path("other-probe"));
    let _probe = Process::start(&mut probe, &weir.store().path("probe.log"))?;
    connected(&weir, 2).await?;
    let server = TlsServer::start("capture.example").await?;
    let filter = format!("port {}", server.address().port());

    let both = weir.store().path("both.pcapng");
    let mut capturing = capture(&weir, &both, 2, &["--filter", &filter]).await?;
    let other = weir.store().path("other.pcapng");
    let asked = ["--filter", &filter, "--node", "other-node", "--packets", "5"];
    let mut limited = capture(&weir, &other, 1, &asked).await?;
    server.visit("nodes.capture.example", &[])?;
    assert!(limited.ended().await?.success(), "{}", limited.output());
    assert_eq!(fields(&other, &["frame.interface_name"])?, vec![vec!["other-node".to_owned()]; 5]);
    assert!(limited.output().contains("the limit of packets is reached"), "{}", limited.output());
    let look = || async {
        let names = fields(&both, &["frame.interface_name"])?;
        let others = names.iter().filter(|row| row[0] == "other-node").count();
        Ok((others > 5 && names.len() > others + 5).then_some(()))
    };
    until("packets of both nodes", look).await?;
    capturing.signal(Signal::SIGTERM)?;
    assert!(capturing.ended().await?.success(), "{}", capturing.output());

    let nowhere = weir.store().path("nowhere.pcapng");
    for (arguments, word) in [
        (vec!["--filter", "tcp and port https"], "\n               ^"),
        (vec!["--payload", "all"], "--allow-payload-capture"),
        (vec!["--node", "nobody"], "connected are: "),
    ] {
        let mut all = vec!["capture"];
        all.extend(arguments);
        all.push("-o");
        let refused = weir.tool_with(&all, &nowhere).expect_err("refused");
        assert!(format!("{refused:#}").contains(word), "{refused:#}");
        assert!(!nowhere.exists(), "no file is made for nothing");
    }
    audited(&weir, "refused", "\"payload\":65536").await?;
    audited(&weir, "ok", "other-node").await?;
    Ok(())
}

/// From the probe into another program's pipe, with payload where the operator allows it.
#[tokio::test]
async fn a_pipe_gets_packets_and_payload_where_it_is_allowed() -> anyhow::Result<()> {
    need_root();
    let store = Store::new()?;
    let weir = Weir::start_on(&store, &["--allow-payload-capture"]).await?;
    connected(&weir, 1).await?;
    let server = TlsServer::start("capture.example").await?;
    let script = format!(
        "{} capture --server {} --filter 'dst port {}' --payload all -o - | tshark -c 12 -l -r - -T fields -e tls.handshake.extensions_server_name -e frame.comment",
        quoted(&weir_binary())?,
        weir.url("http")?,
        server.address().port()
    );
    let mut command = Command::new("sh");
    let mut pipe = Process::start(command.args(["-c", &script]), &store.path("pipe.log"))?;
    until("packets are taken", || async { Ok(pipe.output().contains("capturing on ").then_some(())) })
        .await?;
    assert!(pipe.output().contains("warning: payload is captured"), "{}", pipe.output());
    let is_hello =
        |line: &str| line.starts_with("pipe.capture.example\t") && line.contains("process=openssl");
    let look = || async {
        server.visit("pipe.capture.example", &[])?;
        Ok(pipe.output().lines().any(is_hello).then_some(()))
    };
    until("the ClientHello, while the capture runs", look).await?;
    // tshark has enough and goes; with the next packet its other end of the pipe is found out.
    let look = || {
        let visited = server.visit("pipe.capture.example", &[]);
        let has_ended = pipe.must_run().is_err();
        async move { visited.map(|_| has_ended.then_some(())) }
    };
    until("the capture ends with its reader", look).await?;
    assert!(pipe.ended().await?.success(), "{}", pipe.output());
    audited(&weir, "cancelled", "\"payload\":65536").await?;
    Ok(())
}

fn quoted(path: &Path) -> anyhow::Result<String> {
    Ok(format!("'{}'", path.to_str().context("a path in UTF-8")?))
}
