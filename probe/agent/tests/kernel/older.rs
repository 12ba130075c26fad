//! Connections older than the probe, and what a stopping probe still says.

use std::io::{Read, Write};

use weir_model::FlowRow;

use crate::bench::{Bench, Hosts, sum};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_older_than_the_probe_counts_from_its_start() {
    let hosts = Hosts::new();
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&[b'o'; 4000]).unwrap();
    server.read_exact(&mut [0; 4000]).unwrap();
    server.write_all(&[b'o'; 100]).unwrap();
    client.read_exact(&mut [0; 100]).unwrap();
    let bench = Bench::start().await;
    let rows =
        bench.until("a row at both ends", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    assert!(
        rows.iter().all(|row| row.state.as_deref() == Some("ongoing") && row.client_bytes == 0),
        "{rows:#?}"
    );
    assert_eq!(
        rows[0].connection_id, rows[1].connection_id,
        "one id at both ends, though nobody saw the opening"
    );
    assert_eq!(rows[0].connection_id.as_deref().unwrap().len(), 16);
    client.write_all(&[b'n'; 70]).unwrap();
    server.read_exact(&mut [0; 70]).unwrap();
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    let (client_rows, server_rows) = bench.both_ends(at.port()).await;
    for rows in [client_rows, server_rows] {
        assert_eq!(
            (sum(&rows, |row| row.client_bytes), sum(&rows, |row| row.server_bytes)),
            (70, 0),
            "{rows:#?}"
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_probe_reports_what_moved_and_leaves_nothing_behind() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    bench.until("early rows", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    client.write_all(&[b'l'; 321]).unwrap();
    server.read_exact(&mut [0; 321]).unwrap();
    let rows: Vec<FlowRow> =
        bench.stop().await.into_iter().filter(|row| row.server_port == Some(at.port())).collect();
    assert_eq!(sum(&rows, |row| row.client_bytes), 2 * 321, "{rows:#?}");
}
