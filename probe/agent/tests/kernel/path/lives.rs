//! The probe's lives and interfaces': each connection is told once on the path, each byte counted once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use weir_model::{FlowRow, ProbeHealthRow};

use super::node::{CLIENT, NODE, Net, SERVER, Watched, send};
use crate::bench::sum;

fn is_over(row: &FlowRow) -> bool {
    matches!(row.state.as_deref(), Some("closed" | "only"))
}

fn begins(row: &FlowRow) -> bool {
    matches!(row.state.as_deref(), Some("opened" | "only"))
}

/// The path told each connection to `port` once, with so many bytes from the client, by client's port.
async fn expect_once(watched: &Watched, port: u16, sent: &BTreeMap<u16, usize>) {
    let ends = |_: &_| watched.path(|row| row.server_port == Some(port) && is_over(row)).len();
    watched.keeper.until("the end of all connections", ends, |ends| *ends >= sent.len()).await;
    let mut told: BTreeMap<u16, Vec<FlowRow>> = BTreeMap::new();
    for row in watched.path(|row| row.server_port == Some(port)) {
        told.entry(row.client_port.unwrap()).or_default().push(row);
    }
    assert_eq!(told.len(), sent.len());
    for (client_port, bytes) in sent {
        let rows = &told[client_port];
        assert_eq!(sum(rows, |row| row.client_bytes), *bytes as i64, "{client_port}: {rows:#?}");
        let counts =
            (rows.iter().filter(|row| begins(row)).count(), rows.iter().filter(|row| is_over(row)).count());
        assert_eq!(counts, (1, 1), "{client_port}: {rows:#?}");
        assert!(rows.iter().all(|row| row.connection_id == rows[0].connection_id), "{rows:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_nothing_of_the_path_and_counts_nothing_twice() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let flags = ["--interfaces", "in0,out0", "--udp-idle", "3"];
    let probe = watched.probe(&net, &flags).await;
    let listener = net.listen("10.90.2.2:0");
    let (port, to) = (listener.local_addr().unwrap().port(), listener.local_addr().unwrap().to_string());
    let (mut long, mut long_server) = net.connect(&to, &listener);
    let (mut meanwhile, mut meanwhile_server) = net.connect(&to, &listener);
    send(&mut long, &mut long_server, 1_000);
    send(&mut meanwhile, &mut meanwhile_server, 10);
    let server = net.on(SERVER, || UdpSocket::bind("10.90.2.2:0").unwrap());
    let client = net.on(CLIENT, || UdpSocket::bind("10.90.1.2:0").unwrap());
    let (udp_port, udp_at) = (server.local_addr().unwrap().port(), server.local_addr().unwrap());
    client.send_to(&[0; 100], udp_at).unwrap();
    server.recv_from(&mut [0; 200]).unwrap();
    let told = |_: &_| {
        let rows = watched.path(|row| [Some(port), Some(udp_port)].contains(&row.server_port));
        rows.iter().filter(|row| begins(row)).count()
    };
    watched.keeper.until("first rows", told, |told| *told == 3).await;
    probe.crash();
    // Nobody looks, but the kernel's side goes on.
    send(&mut long, &mut long_server, 500);
    send(&mut meanwhile, &mut meanwhile_server, 20);
    client.send_to(&[0; 50], udp_at).unwrap();
    server.recv_from(&mut [0; 200]).unwrap();
    let ports = [&long, &meanwhile].map(|stream| stream.local_addr().unwrap().port());
    drop((meanwhile, meanwhile_server));
    let (mut other, mut other_server) = net.connect(&to, &listener);
    send(&mut other, &mut other_server, 33);
    let other_port = other.local_addr().unwrap().port();
    drop((other, other_server));
    let probe = watched.probe(&net, &flags).await;
    send(&mut long, &mut long_server, 7);
    drop((long, long_server));
    expect_once(&watched, port, &[(ports[0], 1_507), (ports[1], 30), (other_port, 33)].into()).await;
    let udp = [(client.local_addr().unwrap().port(), 150)].into();
    expect_once(&watched, udp_port, &udp).await;
    assert_eq!(watched.keeper.lost("path_late"), 0);
    probe.stop();
}

/// Crashes at moments that nobody chose, while connections come and go.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_under_load_keep_the_path_exact() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let flags = ["--interfaces", "in0,out0"];
    let mut probe = watched.probe(&net, &flags).await;
    let listener = net.listen("10.90.2.2:0");
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()).unwrap());
        }
    });
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let namespace = std::fs::File::open(net.path(CLIENT)).unwrap();
    let load = std::thread::spawn(move || {
        nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let mut sent = BTreeMap::new();
        let mut open: Vec<TcpStream> = Vec::new();
        let pause = Duration::from_millis(5);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let mut stream = TcpStream::connect(at).unwrap();
            let bytes = sent.len() % 700 + 1;
            stream.write_all(&vec![b'x'; bytes]).unwrap();
            sent.insert(stream.local_addr().unwrap().port(), bytes);
            open.push(stream);
            if open.len() > 40 {
                let mut stream = open.remove(sent.len() * 7 % 40);
                stream.write_all(b"bye").unwrap();
                *sent.get_mut(&stream.local_addr().unwrap().port()).unwrap() += 3;
            }
        }
        sent
    });
    for crash in 0..5 {
        // No clock decides: how far the last probe's rows had come does.
        let rows = || watched.path(|row| row.server_port == Some(at.port())).len();
        let enough = rows() + 60 + crash * 13;
        watched.keeper.until("more rows", |_| rows(), |rows| *rows > enough).await;
        probe.crash();
        probe = watched.probe(&net, &flags).await;
    }
    drop(stop);
    let sent = load.join().unwrap();
    assert!(sent.len() > 100);
    expect_once(&watched, at.port(), &sent).await;
    for counter in ["path_late", "path_map_full", "path_past_full", "rows_dropped", "state_unreadable"] {
        assert_eq!(watched.keeper.lost(counter), 0, "{counter}");
    }
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_comes_later_is_looked_at() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "late*"]).await;
    let off = |_: &_| {
        let rows: Vec<ProbeHealthRow> = watched.keeper.rows();
        rows.into_iter().find(|row| row.kind.as_deref() == Some("off"))
    };
    let row = watched.keeper.until("news that there is none", off, Option::is_some).await.unwrap();
    assert!(row.message.as_ref().unwrap().contains("no interface is called late*"), "{row:#?}");
    for _ in 0..2 {
        net.link((CLIENT, "eth1", "10.90.3.2/24"), (NODE, "late0", "10.90.3.1/24"));
        let server = net.on(NODE, || UdpSocket::bind("10.90.3.1:0").unwrap());
        let (port, at) = (server.local_addr().unwrap().port(), server.local_addr().unwrap());
        // Until the probe has heard of the interface its packets are not counted.
        let seen = |_: &_| {
            net.on(CLIENT, move || UdpSocket::bind("10.90.3.2:0").unwrap().send_to(b"x", at).unwrap());
            watched.path(|row| row.server_port == Some(port))
        };
        let rows = watched.keeper.until("a row of the interface", seen, |rows| !rows.is_empty()).await;
        assert_eq!(rows[0].ingress_interface.as_deref(), Some("late0"), "{rows:#?}");
        assert_eq!(rows[0].egress_interface, None, "it is for the node itself");
        net.ip(NODE, &["link", "delete", "late0"]);
    }
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_for_which_there_is_no_room_are_counted() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0", "--path-flows", "2"]).await;
    net.on(CLIENT, || {
        for _ in 0..10 {
            UdpSocket::bind("10.90.1.2:0").unwrap().send_to(b"x", "10.90.2.2:9").unwrap();
        }
    });
    watched.keeper.until("the counter", |keeper| keeper.lost("path_map_full"), |lost| *lost >= 8).await;
    // The answers say that nobody listens, by a protocol that rows don't tell of.
    let others = |keeper: &crate::bench::Keeper| keeper.lost("path_other_protocols");
    watched.keeper.until("the counter", others, |others| *others > 0).await;
    let health: Vec<ProbeHealthRow> = watched.keeper.rows();
    let row = health.iter().find(|row| row.counter.as_deref() == Some("path_other_protocols")).unwrap();
    assert_eq!(row.kind.as_deref(), Some("shed"));
    probe.stop();
}

/// The same port dials again while its last connection is still known: they are two.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_used_again_at_once_opens_another_connection() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    let listener = net.listen("10.90.2.2:0");
    let at = listener.local_addr().unwrap();
    let dial = move |from: u16| {
        let client = std::net::SocketAddr::from(([10, 90, 1, 2], from));
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .unwrap();
        setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
        // A reset leaves no trace of the connection at the client.
        setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let from = nix::sys::socket::SockaddrStorage::from(client);
        nix::sys::socket::bind(fd, &from).unwrap();
        nix::sys::socket::connect(fd, &nix::sys::socket::SockaddrStorage::from(at)).unwrap();
        TcpStream::from(socket)
    };
    for bytes in [10, 200, 3_000] {
        let mut client = net.on(CLIENT, move || dial(34_567));
        let (mut server, _) = listener.accept().unwrap();
        send(&mut client, &mut server, bytes);
    }
    let over = |_: &_| watched.path(|row| row.server_port == Some(at.port()) && is_over(row));
    let rows = watched.keeper.until("all three ends", over, |rows| rows.len() == 3).await;
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row.connection_id.clone()).collect();
    assert_eq!(ids.len(), 3, "{rows:#?}");
    let rows = watched.path(|row| row.server_port == Some(at.port()));
    let mut sums: Vec<i64> = ids
        .iter()
        .map(|id| rows.iter().filter(|row| row.connection_id == *id).map(|row| row.client_bytes).sum())
        .collect();
    sums.sort_unstable();
    assert_eq!(sums, [10, 200, 3_000]);
    assert!(
        rows.iter()
            .filter(|row| is_over(row))
            .all(|row| row.close_reason.as_deref() == Some("reset_by_client"))
    );
    probe.stop();
}
