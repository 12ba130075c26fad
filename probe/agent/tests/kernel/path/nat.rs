//! TCP and UDP through a node.

use std::net::{SocketAddr, UdpSocket};

use weir_model::FlowRow;

use super::node::{CLIENT, CLIENT_IP, NODE_IP, Net, SERVER, SERVER_IP, SERVICE_IP, Watched, send};
use crate::bench::sum;

fn of(rows: &[FlowRow], observer: &str) -> Vec<FlowRow> {
    rows.iter().filter(|row| row.observer.as_deref() == Some(observer)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nat_in_both_directions_is_seen_and_told_to_the_ends() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in*,out0"]).await;
    let listener = net.listen("10.90.2.2:0");
    let port = listener.local_addr().unwrap().port();
    net.nat(port);
    let (mut client, mut server) = net.connect("10.96.0.10:80", &listener);
    let client_port = client.local_addr().unwrap().port();
    send(&mut client, &mut server, 100_000);
    send(&mut server, &mut client, 3_000_000);
    drop(client);
    drop(server);

    // The client's own row is about port 80; the others are about the server's.
    let rows = watched.over(port, 1).await;
    let path = of(&rows, "path");
    let servers = of(&rows, "server");
    let clients = of(
        &watched
            .keeper
            .until(
                "the client's end",
                |keeper| keeper.flows(80),
                |rows| rows.iter().any(|row| matches!(row.state.as_deref(), Some("closed" | "only"))),
            )
            .await,
        "client",
    );
    for row in &path {
        assert_eq!(
            (row.client_ip.as_deref(), row.client_port),
            (Some(CLIENT_IP), Some(client_port)),
            "{row:#?}"
        );
        assert_eq!((row.server_ip.as_deref(), row.server_port), (Some(SERVER_IP), Some(port)), "{row:#?}");
        assert_eq!((row.service_ip.as_deref(), row.service_port), (Some(SERVICE_IP), Some(80)), "{row:#?}");
        assert_eq!(row.egress_ip.as_deref(), Some(NODE_IP), "{row:#?}");
        assert_eq!(row.ingress_interface.as_deref(), Some("in0"), "{row:#?}");
        assert_eq!(row.egress_interface.as_deref(), Some("out0"), "{row:#?}");
        assert_eq!(row.node.as_deref(), Some("node"));
    }
    let ends = path.iter().filter(|row| row.close_reason.is_some());
    assert_eq!(ends.map(|row| row.close_reason.as_deref()).collect::<Vec<_>>(), [Some("fin")], "told once");
    for rows in [&path, &clients, &servers] {
        assert_eq!(sum(rows, |row| row.client_bytes), 100_000, "{rows:#?}");
        assert_eq!(sum(rows, |row| row.server_bytes), 3_000_000, "{rows:#?}");
        assert!(rows.iter().all(|row| row.connection_id == path[0].connection_id), "{rows:#?}");
        assert!(rows.iter().all(|row| row.connection_id.as_ref().unwrap().len() == 16), "of the numbers");
        // In all rows of both ends: of a connection that lives on, too.
        assert!(rows.iter().all(|row| row.egress_ip.as_deref() == Some(NODE_IP)), "{rows:#?}");
        assert!(rows.iter().all(|row| row.service_ip.as_deref() == Some(SERVICE_IP)), "{rows:#?}");
    }
    // The node lost nothing on the way, so it saw what the ends' kernels count.
    assert_eq!(sum(&path, |row| row.client_packets), sum(&clients, |row| row.client_packets));
    assert_eq!(sum(&path, |row| row.server_packets), sum(&servers, |row| row.server_packets));
    assert_eq!(clients[0].server_ip.as_deref(), Some(SERVICE_IP), "as its socket has it");
    assert_eq!(servers[0].client_ip.as_deref(), Some(NODE_IP), "as its socket has it");
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_lives_is_told_each_interval_and_its_sum_is_exact() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "*"]).await;
    let listener = net.listen("[fd90:2::2]:0");
    let at = listener.local_addr().unwrap();
    let (mut client, mut server) = net.connect(&at.to_string(), &listener);
    for bytes in [1_000, 20_000, 300] {
        send(&mut client, &mut server, bytes);
        send(&mut server, &mut client, bytes * 2);
        let told = watched.path(|row| row.server_port == Some(at.port())).len();
        let more = |_: &_| watched.path(|row| row.server_port == Some(at.port())).len();
        watched.keeper.until("its row", more, |rows| *rows > told).await;
    }
    drop(client);
    drop(server);
    let rows = of(&watched.over(at.port(), 2).await, "path");
    assert_eq!(sum(&rows, |row| row.client_bytes), 21_300, "{rows:#?}");
    assert_eq!(sum(&rows, |row| row.server_bytes), 42_600, "{rows:#?}");
    let states: Vec<&str> = rows.iter().filter_map(|row| row.state.as_deref()).collect();
    assert!(states.len() >= 3 && states[0] == "opened" && states.last() == Some(&"closed"), "{states:?}");
    assert!(states[1..states.len() - 1].iter().all(|state| *state == "ongoing"), "{states:?}");
    let row = &rows[0];
    assert_eq!((&row.service_ip, &row.egress_ip), (&None, &None), "there was no NAT");
    assert_eq!((row.client_ip.as_deref(), row.server_ip.as_deref()), (Some("fd90:1::2"), Some("fd90:2::2")));
    assert!(rows.iter().all(|other| other.opened_time == row.opened_time && row.opened_time.is_some()));
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_one_flow_however_many_interfaces_saw_them() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "*", "--udp-idle", "2"]).await;
    let server = net.on(SERVER, || UdpSocket::bind("10.90.2.2:0").unwrap());
    let client = net.on(CLIENT, || UdpSocket::bind("10.90.1.2:0").unwrap());
    let at: SocketAddr = server.local_addr().unwrap();
    let mut buffer = [0; 4_000];
    // The last is longer than what a link carries in one packet: it goes in fragments, which belong to the same flow.
    for (asked, answered) in [(30, 500), (31, 200), (3_000, 100)] {
        client.send_to(&vec![b'q'; asked], at).unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&vec![b'a'; answered], from).unwrap();
        client.recv_from(&mut buffer).unwrap();
    }
    let found = |_: &_| watched.path(|row| row.server_port == Some(at.port()));
    let is_over = |rows: &Vec<FlowRow>| rows.iter().any(|row| row.close_reason.is_some());
    let rows = watched.keeper.until("the flow's end", found, is_over).await;
    assert_eq!(sum(&rows, |row| row.client_bytes), 3_061, "{rows:#?}");
    assert_eq!(sum(&rows, |row| row.server_bytes), 800, "{rows:#?}");
    assert_eq!(
        (sum(&rows, |row| row.client_packets), sum(&rows, |row| row.server_packets)),
        (5, 3),
        "{rows:#?}"
    );
    let id = &rows[0].connection_id;
    assert!(rows.iter().all(|row| row.connection_id == *id), "one flow: {rows:#?}");
    assert_eq!(rows[0].ingress_interface.as_deref(), Some("in0"));
    assert_eq!(rows[0].egress_interface.as_deref(), Some("out0"));
    assert_eq!(rows.last().unwrap().close_reason.as_deref(), Some("idle"));
    let others = watched.path(|row| row.protocol.as_deref() == Some("udp") && row.connection_id != *id);
    let strays = others.iter().filter(|row| row.server_ip.as_deref() == Some(SERVER_IP)).count();
    assert_eq!(strays, 0, "fragments are no flow of their own: {others:#?}");
    probe.stop();
}

/// What comes in and never leaves has no interface that it left by.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_nowhere_has_no_egress_interface() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    // There is nobody to tell where it would have to go: the neighbour doesn't answer.
    let knocking = net.on(CLIENT, || {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_NONBLOCK,
            None,
        )
        .unwrap();
        let to: nix::sys::socket::SockaddrIn =
            "10.90.2.77:7".parse::<std::net::SocketAddrV4>().unwrap().into();
        let _ = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &to);
        socket
    });
    let found = |_: &_| watched.path(|row| row.server_ip.as_deref() == Some("10.90.2.77"));
    let rows = watched.keeper.until("its row", found, |rows| !rows.is_empty()).await;
    let row = &rows[0];
    assert_eq!(row.ingress_interface.as_deref(), Some("in0"), "{row:#?}");
    assert_eq!((&row.egress_interface, row.server_packets), (&None, 0), "{row:#?}");
    drop(knocking);
    probe.stop();
}
