//! Whatever is too small is filled on purpose: its counter must say so.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use weir_probe::Config;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ring_is_counted_and_connections_go_on() {
    let config = Config { ring_bytes: 4096, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    for _ in 0..500 {
        let client = TcpStream::connect(at).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
    bench.until("the counter", |bench| bench.lost("ring_full_connections"), |lost| *lost > 0).await;
    let reported = |bench: &Bench| bench.flows(at.port()).len() as i64;
    // Two ends each; what others on this machine do is counted too.
    let or_lost = |bench: &Bench| reported(bench) + bench.lost("ring_full_connections");
    bench.until("each end reported or counted as lost", or_lost, |total| *total >= 1000).await;
    assert!(reported(&bench) < 1000, "some were lost, and the rest came through");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_udp_map_is_counted() {
    let config = Config { udp_flows: 1, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", server.local_addr().unwrap()).unwrap();
    }
    bench.until("the counter", |bench| bench.lost("udp_map_full"), |lost| *lost > 0).await;
    bench.stop().await;
}
