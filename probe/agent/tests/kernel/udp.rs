//! UDP: each end counts its datagrams.

use std::net::{SocketAddr, UdpSocket};

use crate::bench::{Bench, Hosts, sum};

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_udp_flow_count_its_datagrams() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let bind = |host, address: &'static str| {
        hosts.on(host, move || UdpSocket::bind((address, 0)).unwrap()).join().unwrap()
    };
    let (client, server) = (bind(0, "10.83.0.1"), bind(1, "10.83.0.2"));
    let at: SocketAddr = server.local_addr().unwrap();
    let mut buffer = [0; 2000];
    for _ in 0..3 {
        client.send_to(&[b'q'; 100], at).unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&[b'a'; 900], from).unwrap();
        client.recv_from(&mut buffer).unwrap();
    }
    let rows = bench
        .until(
            "the end of both ends, for want of packets",
            |bench| bench.flows(at.port()),
            |rows| rows.iter().filter(|row| row.close_reason.as_deref() == Some("idle")).count() >= 2,
        )
        .await;
    let pid = Some(i64::from(std::process::id()));
    for observer in ["client", "server"] {
        let own: Vec<_> =
            rows.iter().filter(|row| row.observer.as_deref() == Some(observer)).cloned().collect();
        assert_eq!(
            (sum(&own, |row| row.client_bytes), sum(&own, |row| row.server_bytes)),
            (300, 2700),
            "{own:#?}"
        );
        assert_eq!(
            (sum(&own, |row| row.client_packets), sum(&own, |row| row.server_packets)),
            (3, 3),
            "{own:#?}"
        );
        let last = own.last().unwrap();
        assert_eq!(if observer == "client" { last.client_pid } else { last.server_pid }, pid, "{last:#?}");
        assert_eq!(last.client_ip.as_deref(), Some("10.83.0.1"));
    }
    bench.stop().await;
}
