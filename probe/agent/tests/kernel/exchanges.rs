//! Exchanges: both ends tell the same turns by the same key, whatever carries them; and nothing is made up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir_model::ExchangeRow;

use crate::bench::{Bench, Hosts};
use crate::peers::{Nginx, curl};

/// The turns on connections to that port that both ends told: `(client's, server's)`, in the order of the client's stream.
pub(crate) async fn both_ends(
    bench: &Bench,
    port: u16,
    turns: usize,
) -> (Vec<ExchangeRow>, Vec<ExchangeRow>) {
    let rows = bench
        .until("every turn at both ends", |bench| bench.exchanges(port), |rows| rows.len() >= 2 * turns)
        .await;
    let (client, server): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.observer.as_deref() == Some("client"));
    assert_eq!((client.len(), server.len()), (turns, turns), "{client:#?}{server:#?}");
    for (client, server) in client.iter().zip(&server) {
        let key = |row: &ExchangeRow| (row.connection_id.clone(), row.request_offset);
        assert_eq!(key(client), key(server), "one key at both ends: {client:#?}{server:#?}");
        assert!(client.connection_id.as_deref().is_some_and(|id| id.len() == 16), "{client:#?}");
        assert_eq!(client.request_bytes, server.request_bytes, "{client:#?}{server:#?}");
    }
    (client, server)
}

/// Request and answer of so many bytes; the server thinks before it answers.
struct Turn {
    request: usize,
    answer: usize,
    think: Duration,
}

const fn turn(request: usize, answer: usize, think_ms: u64) -> Turn {
    Turn { request, answer, think: Duration::from_millis(think_ms) }
}

/// Plays turns on one connection, in whose beginning both ends are open. A client asks again when the call that answered has
/// returned: what is there before it has looks sent before the answer, and a server's thread may be held up in that call.
fn play(client: &mut TcpStream, server: &mut TcpStream, turns: &'static [Turn]) {
    let mut answering = server.try_clone().unwrap();
    let (answered, has_answered) = std::sync::mpsc::sync_channel(turns.len());
    let answerer = std::thread::spawn(move || {
        for turn in turns {
            answering.read_exact(&mut vec![0; turn.request]).unwrap();
            #[expect(clippy::disallowed_methods, reason = "the server's own thread takes its time")]
            std::thread::sleep(turn.think);
            answering.write_all(&vec![b'a'; turn.answer]).unwrap();
            answered.send(()).unwrap();
        }
    });
    for turn in turns {
        client.write_all(&vec![b'q'; turn.request]).unwrap();
        client.read_exact(&mut vec![0; turn.answer]).unwrap();
        has_answered.recv().unwrap();
    }
    answerer.join().unwrap();
}

static TURNS: [Turn; 5] =
    [turn(70, 300, 0), turn(1, 1, 25), turn(200_000, 10, 0), turn(90, 3_000_000, 0), turn(40, 40, 10)];

fn check(rows: &[ExchangeRow], turns: &[Turn]) {
    let mut offset = 0;
    for (row, turn) in rows.iter().zip(turns) {
        assert_eq!(row.request_offset, Some(offset as i64), "{row:#?}");
        assert_eq!(
            (row.request_bytes, row.response_bytes),
            (turn.request as i64, turn.answer as i64),
            "{row:#?}"
        );
        let think_us = turn.think.as_micros() as i64;
        assert!(row.first_byte_us >= Some(think_us) && row.total_us >= row.first_byte_us, "{row:#?}");
        assert_eq!((row.error.as_deref(), row.pipelined), (None, Some(false)), "{row:#?}");
        assert_eq!(row.pid, Some(i64::from(std::process::id())));
        assert!(row.thread_id.is_some() && row.thread_name.is_some() && row.process.is_some(), "{row:#?}");
        offset += turn.request;
    }
}

async fn turns_are_told_by_both_ends(address: &str) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen(address);
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    play(&mut client, &mut server, &TURNS);
    drop(client);
    drop(server);
    let (client, server) = both_ends(&bench, at.port(), TURNS.len()).await;
    for rows in [&client, &server] {
        check(rows, &TURNS);
        let numbers: Vec<_> = rows.iter().filter_map(|row| row.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        let ends: Vec<_> = rows.iter().filter_map(|row| row.ended_by.as_deref()).collect();
        assert_eq!(ends, ["next_request", "next_request", "next_request", "next_request", "close"]);
        assert_eq!(rows[0].server_ip.as_deref(), Some(address));
    }
    let (client_flows, server_flows) = bench.both_ends(at.port()).await;
    for flows in [client_flows, server_flows] {
        let exchanges: i64 = flows.iter().filter_map(|row| row.exchanges).sum();
        assert_eq!(exchanges, TURNS.len() as i64, "{flows:#?}");
        let slowest = flows.iter().filter_map(|row| row.exchange_p99_us).max().unwrap();
        assert!(
            slowest >= 24_000,
            "{slowest}: one of them thought for 25 ms, and the buckets are 1.6 % wide"
        );
        assert!(flows.iter().all(|row| row.exchange_p50_us <= row.exchange_p99_us), "{flows:#?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_tell_the_same_turns_on_ipv4() {
    turns_are_told_by_both_ends("10.83.0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_tell_the_same_turns_on_ipv6() {
    turns_are_told_by_both_ends("fd83::2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_tell_the_same_turns_of_a_connection_older_than_the_probe() {
    static BEFORE: [Turn; 2] = [turn(500, 700, 0), turn(10, 20, 0)];
    static AFTER: [Turn; 3] = [turn(30, 40, 0), turn(50_000, 60, 0), turn(70, 80, 5)];
    let hosts = Hosts::new();
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    play(&mut client, &mut server, &BEFORE);
    let bench = Bench::start().await;
    bench.until("the connection at both ends", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    play(&mut client, &mut server, &AFTER);
    drop(client);
    drop(server);
    let (client, server) = both_ends(&bench, at.port(), AFTER.len()).await;
    for rows in [&client, &server] {
        let told: Vec<_> =
            rows.iter().map(|row| (row.request_offset, row.request_bytes, row.response_bytes)).collect();
        assert_eq!(told, [(Some(510), 30, 40), (Some(540), 50_000, 60), (Some(50_540), 70, 80)]);
        assert!(rows.iter().all(|row| row.multiplexed.is_none()), "its first bytes were not seen: {rows:#?}");
    }
    bench.stop().await;
}

/// Whoever looks must see the last request of a connection that stays open.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_answer_fell_silent_is_told_while_the_connection_lives() {
    static ONE: [Turn; 1] = [turn(70, 300, 0)];
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    play(&mut client, &mut server, &ONE);
    let (by_client, by_server) = both_ends(&bench, at.port(), 1).await;
    for row in by_client.iter().chain(&by_server) {
        assert_eq!((row.ended_by.as_deref(), row.response_bytes), (Some("silence"), 300), "{row:#?}");
        assert!(row.total_us < Some(2_000_000), "the silence is not the answer's: {row:#?}");
    }
    // Nothing is told twice, and the next turn has its own row.
    play(&mut client, &mut server, &ONE);
    drop(client);
    drop(server);
    let (by_client, _) = both_ends(&bench, at.port(), 2).await;
    assert_eq!((by_client[1].request_offset, by_client[1].number), (Some(70), Some(2)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_sent_before_the_answer_is_marked() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut buffer = [0; 100];
    client.write_all(&[b'1'; 50]).unwrap();
    server.read_exact(&mut buffer[..50]).unwrap();
    client.write_all(&[b'2'; 50]).unwrap();
    wait_unread(&server, 50);
    for _ in 0..2 {
        server.write_all(&[b'a'; 80]).unwrap();
        client.read_exact(&mut buffer[..80]).unwrap();
        server.set_nonblocking(true).unwrap();
        let _ = server.read(&mut buffer[..50]);
        server.set_nonblocking(false).unwrap();
    }
    drop(client);
    drop(server);
    let is_server = |row: &&ExchangeRow| row.observer.as_deref() == Some("server");
    let rows = bench
        .until(
            "turns at the server",
            |bench| bench.exchanges(at.port()),
            |rows| rows.iter().filter(is_server).count() >= 2,
        )
        .await;
    let first = rows.iter().find(is_server).unwrap();
    assert_eq!(first.pipelined, Some(true), "{rows:#?}");
    bench.stop().await;
}

/// Waits until so many bytes lie unread in the socket.
fn wait_unread(stream: &TcpStream, bytes: usize) {
    let mut buffer = vec![0; bytes];
    while stream.peek(&mut buffer).unwrap() < bytes {
        std::thread::yield_now();
    }
}

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// Sends, and receives.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    to.read_exact(&mut vec![0; bytes.len()]).unwrap();
}

/// What a connection without requests and answers says: nothing.
#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_is_made_up() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    // Kept, so that no two of them get the same port.
    let mut listeners = Vec::new();
    let mut connect = || {
        let (listener, at) = hosts.listen("10.83.0.2");
        let client = hosts.connect(at).unwrap();
        let server = listener.accept().unwrap().0;
        listeners.push(listener);
        (client, server, at.port())
    };
    // A log shipper: never answered.
    let (mut client, mut server, shipper) = connect();
    for _ in 0..3 {
        pass(&mut client, &mut server, b"<13>something happened");
    }
    drop(client);
    drop(server);
    // A stream of news: never asked.
    let (mut client, mut server, news) = connect();
    for _ in 0..3 {
        pass(&mut server, &mut client, b"news");
    }
    drop(client);
    drop(server);
    // A WebSocket: one request, which is answered by leaving HTTP.
    let (mut client, mut server, websocket) = connect();
    pass(&mut client, &mut server, UPGRADE);
    pass(&mut server, &mut client, SWITCHING);
    for _ in 0..3 {
        pass(&mut client, &mut server, b"hello");
        pass(&mut server, &mut client, b"world");
    }
    drop(client);
    drop(server);
    // A server that greets first: its greeting is no answer, what follows is.
    let (mut client, mut server, greeting) = connect();
    pass(&mut server, &mut client, b"220 mail.example ESMTP\r\n");
    pass(&mut client, &mut server, b"EHLO me\r\n");
    pass(&mut server, &mut client, b"250 mail.example\r\n");
    drop(client);
    drop(server);

    let (client, _) = both_ends(&bench, greeting, 1).await;
    assert_eq!((client[0].request_bytes, client[0].response_bytes), (9, 18));
    assert_eq!(client[0].application_protocol.as_deref(), Some("smtp"));
    let (client, _) = both_ends(&bench, websocket, 1).await;
    let bytes = (client[0].request_bytes, client[0].response_bytes);
    assert_eq!(bytes, (UPGRADE.len() as i64, SWITCHING.len() as i64));
    assert_eq!(client[0].ended_by.as_deref(), Some("upgrade"));
    for port in [shipper, news] {
        bench.both_ends(port).await;
        assert_eq!(bench.exchanges(port), []);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_got_no_answer_says_why() {
    use nix::sys::socket::{setsockopt, sockopt};
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let (listener, reset) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(reset).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(request).unwrap();
    server.read_exact(&mut [0; 18]).unwrap();
    setsockopt(&server, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(server);
    client.read(&mut [0; 1]).unwrap_err();
    drop(client);

    let (listener, gone) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(gone).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(request).unwrap();
    server.read_exact(&mut [0; 18]).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop(server);

    for (address, error) in [(reset, "reset_by_server"), (gone, "closed_by_client")] {
        let (client, server) = both_ends(&bench, address.port(), 1).await;
        for row in client.iter().chain(&server) {
            assert_eq!(
                (row.error.as_deref(), row.total_us, row.response_bytes),
                (Some(error), None, 0),
                "{row:#?}"
            );
            assert!(row.end_time.is_some());
        }
    }
    bench.stop().await;
}

const BIG: usize = 10_000_000;

/// nginx sends files by sendfile, so no call's length says how much.
#[tokio::test(flavor = "multi_thread")]
async fn http_is_told_alike_by_nginx_and_curl() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let nginx = Nginx::start(&hosts, None, BIG);
    let url = format!("http://10.83.0.2:{}", nginx.port);
    let body = nginx.file("upload", 3_000_000);
    let upload = format!("@{}", body.display());
    curl(&hosts, &[&format!("{url}/small"), &format!("{url}/big"), &format!("{url}/small")]);
    // Curl waits for `100 Continue` before a large body, unless it is told not to.
    curl(&hosts, &["-H", "Expect:", "--data-binary", &upload, &format!("{url}/discard")]);
    let (client, server) = both_ends(&bench, nginx.port, 4).await;
    // The server may take a request that came while its thread was held up for one that came too early.
    assert!(client.iter().all(|row| row.pipelined == Some(false)), "{client:#?}");
    for rows in [&client, &server] {
        let mut rows = rows.clone();
        rows.sort_by_key(|row| row.time);
        assert!(rows.iter().all(|row| row.application_protocol.as_deref() == Some("http/1.1")), "{rows:#?}");
        assert!(rows.iter().all(|row| row.multiplexed == Some(false)), "{rows:#?}");
        assert!(
            rows[1].response_bytes > BIG as i64 && rows[1].response_bytes < BIG as i64 + 1000,
            "{rows:#?}"
        );
        assert_eq!(rows[0].response_bytes, rows[2].response_bytes);
        let opened = rows.iter().map(|row| row.opened_time.is_some()).collect::<Vec<_>>();
        assert_eq!(opened, [true, false, false, true], "each connection's first turn tells of its opening");
        assert!(rows[0].opened_time.is_some_and(|opened| opened < rows[0].time), "{rows:#?}");
        assert!(rows[3].request_bytes > 3_000_000 && rows[3].request_bytes < 3_001_000, "{rows:#?}");
        let first = &rows[0].connection_id;
        assert!(
            rows[..3].iter().all(|row| row.connection_id == *first),
            "one connection for three: {rows:#?}"
        );
    }
    assert!(server.iter().all(|row| row.process.as_deref() == Some("nginx") && row.pid != Some(nginx.pid())));
    assert!(client.iter().all(|row| row.process.as_deref() == Some("curl")), "{client:#?}");
    bench.stop().await;
}

async fn tls_turns_begin_behind_the_handshake(version: &str) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let nginx = Nginx::start(&hosts, Some(version), BIG);
    let url = format!("https://10.83.0.2:{}", nginx.port);
    let highest = version.trim_start_matches("TLSv");
    let small = format!("{url}/small");
    curl(&hosts, &["--insecure", "--http1.1", "--tls-max", highest, &small, &format!("{url}/big"), &small]);
    let (client, server) = both_ends(&bench, nginx.port, 3).await;
    for rows in [&client, &server] {
        assert!(rows[1].response_bytes > BIG as i64, "{rows:#?}");
        let offsets: Vec<_> = rows.iter().filter_map(|row| row.request_offset).collect();
        assert!(offsets[0] > 100, "the ClientHello is no request: {offsets:?}");
        // The requests for the small file are alike, and so are their records.
        assert_eq!(rows[0].request_bytes, rows[2].request_bytes, "no part of the handshake is: {rows:#?}");
        assert!(rows.iter().all(|row| row.multiplexed == Some(false)), "{rows:#?}");
    }
    for rows in [&client, &server] {
        // With the first answer come session tickets.
        assert!(rows[0].response_bytes >= rows[2].response_bytes, "{rows:#?}");
        assert_eq!(rows[0].first_byte_us.is_none(), version == "TLSv1.3", "{rows:#?}");
        assert!(rows[1].first_byte_us.is_some() && rows[2].first_byte_us.is_some(), "{rows:#?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_in_tls_1_3_begin_behind_the_handshake() {
    tls_turns_begin_behind_the_handshake("TLSv1.3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_in_tls_1_2_begin_behind_the_handshake() {
    tls_turns_begin_behind_the_handshake("TLSv1.2").await;
}

/// The end of the client's handshake is lost, and comes again after its first request: the server's end can't follow the
/// records then, and takes up the turns a little later.
#[tokio::test(flavor = "multi_thread")]
async fn turns_go_on_where_a_request_overtook_the_handshake() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let nginx = Nginx::start(&hosts, Some("TLSv1.3"), BIG);
    // The first segment that begins with a ChangeCipherSpec, behind TCP's timestamps.
    let rule = format!(
        "table inet lossy {{ chain input {{ type filter hook input priority 0; \
         tcp dport {} @th,256,8 20 numgen inc mod 1000 0 counter drop; }}; }}",
        nginx.port
    );
    let made = hosts.command(1, "nft").arg(rule).output().expect("nftables is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let small = format!("https://10.83.0.2:{}/small", nginx.port);
    curl(&hosts, &["--insecure", "--http1.1", &small, &small, &small, &small]);
    let rules = hosts.command(1, "nft").args(["list", "table", "inet", "lossy"]).output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("counter packets 1 "), "nothing was lost: {rules}");
    let seen_by = |rows: &[ExchangeRow], observer: &str| {
        let of_it = rows.iter().filter(|row| row.observer.as_deref() == Some(observer));
        of_it.filter_map(|row| row.request_offset).collect::<std::collections::BTreeSet<_>>()
    };
    let look = |bench: &Bench| bench.exchanges(nginx.port);
    let is_told =
        |rows: &Vec<ExchangeRow>| seen_by(rows, "client").len() == 4 && seen_by(rows, "server").len() >= 2;
    let rows = bench.until("turns of both ends", look, is_told).await;
    let (client, server) = (seen_by(&rows, "client"), seen_by(&rows, "server"));
    assert!(server.is_subset(&client), "no turn is made up: {client:?} {server:?}");
    assert_eq!(client.last(), server.last());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_said_to_be_multiplexed() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let nginx = Nginx::start(&hosts, Some("h2c"), 10);
    curl(&hosts, &["--http2-prior-knowledge", &format!("http://10.83.0.2:{}/small", nginx.port)]);
    let rows =
        bench.until("rows of both ends", |bench| bench.exchanges(nginx.port), |rows| rows.len() >= 2).await;
    for row in &rows {
        assert_eq!(
            (row.multiplexed, row.application_protocol.as_deref()),
            (Some(true), Some("h2")),
            "{row:#?}"
        );
    }
    let (client_flows, _) = bench.both_ends(nginx.port).await;
    assert!(client_flows.iter().all(|row| row.exchange_p50_us.is_none()), "{client_flows:#?}");
    bench.stop().await;
}

/// Level `flows` loads none of this.
#[tokio::test(flavor = "multi_thread")]
async fn level_flows_tells_no_exchanges() {
    let hosts = Hosts::new();
    let second = Duration::from_secs(1);
    let bench = Bench::with(weir_probe::Config {
        level: weir_probe::Level::Flows,
        interval: second,
        ..Default::default()
    })
    .await;
    let (listener, at): (_, SocketAddr) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    play(&mut client, &mut server, &TURNS);
    drop(client);
    drop(server);
    let (client_flows, server_flows) = bench.both_ends(at.port()).await;
    assert!(client_flows.iter().chain(&server_flows).all(|row| row.exchanges.is_none()));
    assert_eq!(bench.exchanges(at.port()), []);
    bench.stop().await;
}
