//! TCP: bytes, ids, ends, early and interval rows.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use weir_model::{FlowRow, ids};

use crate::bench::{Bench, Hosts, sum};

const ASKED: usize = 1_234_567;
const ANSWERED: usize = 76_543;

/// One request and one answer between the hosts, both ends closed by FIN; the server's port.
fn exchange(hosts: &Hosts, address: &str) -> u16 {
    let (listener, at) = hosts.listen(address);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).unwrap();
        stream.write_all(&vec![b'a'; ANSWERED]).unwrap();
        asked.len()
    });
    let mut stream = hosts.connect(at).unwrap();
    stream.write_all(&vec![b'q'; ASKED]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered).unwrap();
    drop(stream);
    assert_eq!((server.join().unwrap(), answered.len()), (ASKED, ANSWERED));
    at.port()
}

fn check(rows: &[FlowRow], observer: &str) {
    assert_eq!(sum(rows, |row| row.client_bytes), ASKED as i64, "{observer}: {rows:#?}");
    assert_eq!(sum(rows, |row| row.server_bytes), ANSWERED as i64, "{observer}: {rows:#?}");
    let last = rows.last().unwrap();
    assert_eq!(last.close_reason.as_deref(), Some("fin"), "{observer}");
    assert_eq!(last.encryption.as_deref(), Some("plaintext"), "{observer}");
    assert!(last.connect_us.is_some() && last.rtt_us.is_some(), "{observer}: {last:#?}");
    assert!(last.first_byte_us.is_some(), "{observer}: {last:#?}");
    assert!(
        sum(rows, |row| row.client_packets) >= 4 && sum(rows, |row| row.server_packets) >= 3,
        "{observer}"
    );
    assert_eq!(last.trace_id, last.connection_id.as_deref().map(ids::trace_id));
}

async fn bytes_are_exact(address: &str) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let port = exchange(&hosts, address);
    let (client, server) = bench.both_ends(port).await;
    check(&client, "client");
    check(&server, "server");
    let id = client[0].connection_id.as_deref().unwrap();
    assert_eq!(id.len(), 16, "both initial sequence numbers, not a hash: {id}");
    assert!(
        client.iter().chain(&server).all(|row| row.connection_id.as_deref() == Some(id)),
        "one id at both ends"
    );
    let pid = i64::from(std::process::id());
    assert_eq!(
        (client[0].client_pid, client[0].server_pid),
        (Some(pid), None),
        "each end says what it knows"
    );
    assert_eq!((server[0].client_pid, server[0].server_pid), (None, Some(pid)));
    assert!(client[0].client_process.is_some() && server[0].server_process.is_some());
    assert_eq!(client[0].server_ip.as_deref(), Some(address));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_an_ipv4_connection_tell_the_same_bytes() {
    bytes_are_exact("10.83.0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_an_ipv6_connection_tell_the_same_bytes() {
    bytes_are_exact("fd83::2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_has_a_row() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    drop(listener);
    hosts.connect(at).unwrap_err();
    let rows = bench.until("the refusal", |bench| bench.flows(at.port()), |rows| !rows.is_empty()).await;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0].close_reason.as_deref(), Some("refused"));
    assert_eq!((rows[0].state.as_deref(), rows[0].observer.as_deref()), (Some("only"), Some("client")));
    assert_eq!((rows[0].client_bytes, rows[0].server_bytes), (0, 0));
    assert!(rows[0].client_port.is_some_and(|port| port > 0), "{rows:#?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_laid_to_the_end_that_sent_it() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"some bytes").unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
    setsockopt(&client, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(client);
    let (client_rows, server_rows) = bench.both_ends(at.port()).await;
    for rows in [client_rows, server_rows] {
        let last = rows.last().unwrap();
        assert_eq!(last.close_reason.as_deref(), Some("reset_by_client"), "{last:#?}");
        assert_eq!((sum(&rows, |row| row.client_bytes), sum(&rows, |row| row.resets)), (10, 1));
    }
    drop(server);
    bench.stop().await;
}

/// Whoever looks at a page must see a connection while it lives, and the sum of its rows must be what passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_held_open_is_seen_early_and_sums_up() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let began = Instant::now();
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    let rows = bench
        .until("an early row at both ends", |bench| bench.flows(at.port()), |rows| rows.len() >= 2)
        .await;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert!(
        rows.iter().all(|row| row.state.as_deref() == Some("opened") && row.close_reason.is_none()),
        "{rows:#?}"
    );
    for round in 1..=2 {
        server.write_all(&[b'x'; 1000]).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        let told = |rows: &Vec<FlowRow>| sum(rows, |row| row.server_bytes) == round * 2 * 1000;
        bench.until("the interval's rows", |bench| bench.flows(at.port()), told).await;
    }
    client.write_all(&[b'y'; 500]).unwrap();
    server.read_exact(&mut [0; 500]).unwrap();
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    let (client_rows, server_rows) = bench.both_ends(at.port()).await;
    for rows in [client_rows, server_rows] {
        assert_eq!(
            (sum(&rows, |row| row.client_bytes), sum(&rows, |row| row.server_bytes)),
            (505, 2000),
            "{rows:#?}"
        );
        let states: Vec<_> = rows.iter().map(|row| row.state.as_deref().unwrap()).collect();
        assert!(states.len() >= 3, "{states:?}");
        assert_eq!(
            (states[0], states[1], states[states.len() - 1]),
            ("opened", "ongoing", "closed"),
            "{states:?}"
        );
        for pair in rows.windows(2) {
            assert!(pair[0].end_time <= Some(pair[1].time), "intervals don't overlap: {pair:#?}");
            assert_eq!(pair[0].opened_time, pair[1].opened_time);
        }
    }
    bench.stop().await;
}
