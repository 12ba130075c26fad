//! ICMP errors, at the flows that caused them.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use weir_model::FlowRow;

use crate::bench::{Bench, Hosts, sum};
use crate::drops::{filter, try_connect, unused_port};

/// Sends three datagrams to a port, by a socket that is connected or not; the client's rows.
async fn datagrams(
    (hosts, bench): (&Hosts, &Bench),
    client: &'static str,
    to: SocketAddr,
    is_connected: bool,
) -> Vec<FlowRow> {
    let socket = hosts.on(0, move || UdpSocket::bind((client, 0)).unwrap()).join().unwrap();
    if is_connected {
        socket.connect(to).unwrap();
    }
    for _ in 0..3 {
        // Where an error came back for the one before, this call tells, and sends nothing.
        while is_connected && socket.send(b"datagram").is_err() {}
        if !is_connected {
            socket.send_to(b"datagram", to).unwrap();
        }
    }
    let of_client = |bench: &Bench| {
        let rows = bench.flows(to.port()).into_iter();
        rows.filter(|row| row.observer.as_deref() == Some("client")).collect::<Vec<_>>()
    };
    bench.until("the errors", of_client, |rows| sum(rows, |row| row.icmp_errors) >= 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_to_a_closed_port_has_its_error() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for (client, server) in [("10.83.0.1", "10.83.0.2"), ("fd83::1", "fd83::2")] {
        for is_connected in [false, true] {
            let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
            let rows = datagrams((&hosts, &bench), client, to, is_connected).await;
            assert_eq!(sum(&rows, |row| row.icmp_errors), 3, "each once: {rows:#?}");
            let told = rows.iter().find(|row| row.icmp_errors > 0).unwrap();
            assert_eq!(told.icmp_error.as_deref(), Some("port_unreachable"), "{told:#?}");
            assert_eq!((sum(&rows, |row| row.client_packets), told.policy_verdict.as_deref()), (3, None));
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_answers_is_the_flow_s_error() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for (client, server) in [("10.83.0.1", "10.83.0.2"), ("fd83::1", "fd83::2")] {
        let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
        filter(&hosts, 1, "input", &format!("udp dport {} reject with icmpx admin-prohibited;", to.port()));
        let rows = datagrams((&hosts, &bench), client, to, false).await;
        assert!(rows.iter().any(|row| row.icmp_error.as_deref() == Some("admin_prohibited")), "{rows:#?}");
        let to = SocketAddr::new(to.ip(), unused_port());
        filter(&hosts, 1, "input", &format!("tcp dport {} reject with icmpx host-unreachable;", to.port()));
        try_connect(&hosts, to, "unreachable").unwrap_err();
        let is_told = |rows: &Vec<FlowRow>| rows.iter().any(|row| row.observer.as_deref() == Some("client"));
        let rows = bench.until("the client's row", |bench| bench.flows(to.port()), is_told).await;
        let row = rows.iter().find(|row| row.observer.as_deref() == Some("client")).unwrap();
        assert_eq!(row.close_reason.as_deref(), Some("unreachable"), "{row:#?}");
        assert!(row.icmp_errors >= 1 && row.icmp_error.as_deref() == Some("host_unreachable"), "{row:#?}");
    }
    bench.stop().await;
}

/// Nobody answers for the address: this node's own neighbour table says so, after three seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_unreachable() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for server in ["10.83.0.77", "fd83::77"] {
        let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
        try_connect(&hosts, to, "unreachable").unwrap_err();
        let rows = bench.until("its row", |bench| bench.flows(to.port()), |rows| !rows.is_empty()).await;
        assert_eq!(rows[0].close_reason.as_deref(), Some("unreachable"), "{rows:#?}");
        assert!(rows[0].icmp_errors >= 1, "{rows:#?}");
    }
    bench.stop().await;
}
