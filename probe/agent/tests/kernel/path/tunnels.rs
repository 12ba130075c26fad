//! Packets in tunnels: the flow in one is told, and the tunnel beside it.

use std::net::UdpSocket;
use std::process::Stdio;

use weir_model::FlowRow;

use super::node::{CLIENT, CLIENT_IP, Net, SERVER, SERVER_IP, Watched, send};
use super::packets::{ethernet, ip4, ip6, send_raw, udp};
use crate::bench::sum;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_vxlan_is_told_with_its_tunnel() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    for (host, own, other, address) in
        [(CLIENT, CLIENT_IP, SERVER_IP, "10.91.0.1/24"), (SERVER, SERVER_IP, CLIENT_IP, "10.91.0.2/24")]
    {
        let vxlan = ["link", "add", "vx0", "type", "vxlan", "id", "4242", "dstport", "4789"];
        net.ip(host, &[&vxlan[..], &["local", own, "remote", other]].concat());
        net.ip(host, &["link", "set", "vx0", "mtu", "1400", "up"]);
        net.ip(host, &["address", "add", address, "dev", "vx0"]);
    }
    let listener = net.listen("10.91.0.2:0");
    let at = listener.local_addr().unwrap();
    let (mut client, mut server) = net.connect(&at.to_string(), &listener);
    send(&mut client, &mut server, 5_000);
    send(&mut server, &mut client, 700_000);
    drop((client, server));
    let rows = watched.over(at.port(), 2).await;
    let (path, ends): (Vec<FlowRow>, Vec<FlowRow>) =
        rows.into_iter().partition(|row| row.observer.as_deref() == Some("path"));
    assert_eq!((sum(&path, |row| row.client_bytes), sum(&path, |row| row.server_bytes)), (5_000, 700_000));
    for row in &path {
        assert_eq!((row.tunnel_type.as_deref(), row.tunnel_id), (Some("vxlan"), Some(4_242)), "{row:#?}");
        assert_eq!(row.tunnel_client_ip.as_deref(), Some(CLIENT_IP), "{row:#?}");
        assert_eq!(row.tunnel_server_ip.as_deref(), Some(SERVER_IP), "{row:#?}");
        assert_eq!(row.client_ip.as_deref(), Some("10.91.0.1"), "{row:#?}");
        assert_eq!(row.ingress_interface.as_deref(), Some("in0"), "{row:#?}");
        assert_eq!(row.egress_interface.as_deref(), Some("out0"), "{row:#?}");
        assert_eq!(row.connection_id, ends[0].connection_id);
    }
    let sent_by = |observer: &str, rows: &[FlowRow], count: fn(&FlowRow) -> i64| {
        let own: Vec<FlowRow> =
            rows.iter().filter(|row| row.observer.as_deref() == Some(observer)).cloned().collect();
        sum(&own, count)
    };
    assert_eq!(sum(&path, |row| row.client_packets), sent_by("client", &ends, |row| row.client_packets));
    assert_eq!(sum(&path, |row| row.server_packets), sent_by("server", &ends, |row| row.server_packets));
    let outer = watched.path(|row| row.server_port == Some(4_789) || row.client_port == Some(4_789));
    assert!(outer.is_empty(), "the same bytes are not told again: {outer:#?}");
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flow_in_each_kind_of_tunnel_is_told() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    let inner = |port| ip4("10.92.0.1", "10.92.0.2", 17, &udp(1_111, port, &[7; 20]));
    let inner6 = |port| ip6("fd92::1", "fd92::2", 17, &udp(1_111, port, &[7; 20]));
    // VLANs may be inside as well; GENEVE with eight bytes of options; GRE with checksum and key.
    let tagged = ethernet(0x8100, &[&[0, 9, 8, 0][..], &inner(2_001)].concat());
    let vxlan = [&[8, 0, 0, 0, 0, 0, 77, 0][..], &tagged].concat();
    let options = [0xff, 0xff, 1, 1, 0, 0, 0, 9];
    let geneve = [&[2, 0, 0x65, 0x58, 0, 1, 0, 0][..], &options, &ethernet(0x0800, &inner(2_002))].concat();
    let gre = [&[0xa0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 55][..], &inner(2_003)].concat();
    net.on(CLIENT, move || {
        let socket = UdpSocket::bind("10.90.1.2:0").unwrap();
        socket.send_to(&vxlan, "10.90.2.2:8472").unwrap();
        socket.send_to(&geneve, "10.90.2.2:6081").unwrap();
    });
    let carried = [(47, gre), (4, inner(2_004)), (41, inner6(2_005))];
    let packets = carried.map(|(protocol, payload)| ip4(CLIENT_IP, SERVER_IP, protocol, &payload));
    send_raw(&net, CLIENT, packets.to_vec());
    for (port, kind, id) in [
        (2_001, "vxlan", Some(77)),
        (2_002, "geneve", Some(256)),
        (2_003, "gre", Some(55)),
        (2_004, "ipip", None),
        (2_005, "6in4", None),
    ] {
        let found = |_: &_| watched.path(|row| row.server_port == Some(port));
        let rows = watched.keeper.until(kind, found, |rows| !rows.is_empty()).await;
        let row = &rows[0];
        assert_eq!((row.tunnel_type.as_deref(), row.tunnel_id), (Some(kind), id), "{row:#?}");
        assert_eq!(row.tunnel_client_ip.as_deref(), Some(CLIENT_IP), "{row:#?}");
        assert_eq!(row.tunnel_server_ip.as_deref(), Some(SERVER_IP), "{row:#?}");
        let ends = if kind == "6in4" { ("fd92::1", "fd92::2") } else { ("10.92.0.1", "10.92.0.2") };
        assert_eq!((row.client_ip.as_deref(), row.server_ip.as_deref()), (Some(ends.0), Some(ends.1)));
        assert_eq!((row.client_packets, row.client_bytes), (1, 20), "{row:#?}");
        let way = (row.ingress_interface.as_deref(), row.egress_interface.as_deref());
        assert_eq!(way, (Some("in0"), Some("out0")), "{row:#?}");
    }
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn wireguard_is_known_by_its_messages() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    let message = |kind: u8, length: usize| {
        let mut bytes = vec![0xaa; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    };
    let server = net.on(SERVER, || UdpSocket::bind("10.90.2.2:51820").unwrap());
    let client = net.on(CLIENT, || UdpSocket::bind("10.90.1.2:0").unwrap());
    let mut buffer = [0; 2_000];
    for (asked, answered) in [(message(1, 148), message(2, 92)), (message(4, 128), message(4, 1_312))] {
        client.send_to(&asked, "10.90.2.2:51820").unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&answered, from).unwrap();
        client.recv_from(&mut buffer).unwrap();
    }
    // The same lengths say nothing alone.
    let plain = net.on(SERVER, || UdpSocket::bind("10.90.2.2:51821").unwrap());
    client.send_to(&[1; 148], "10.90.2.2:51821").unwrap();
    plain.recv_from(&mut buffer).unwrap();
    let found = |port| watched.path(move |row| row.server_port == Some(port));
    let rows = watched.keeper.until("its row", |_| found(51_820), |rows| !rows.is_empty()).await;
    assert_eq!(rows[0].tunnel_type.as_deref(), Some("wireguard"), "{rows:#?}");
    let rows = watched.keeper.until("the other's row", |_| found(51_821), |rows| !rows.is_empty()).await;
    assert_eq!(rows[0].tunnel_type, None, "{rows:#?}");
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vlan_tags_are_looked_through() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0"]).await;
    let packet = ip4("10.93.0.1", "10.93.0.2", 17, &udp(1_111, 2_222, &[7; 30]));
    // 802.1ad outside, 802.1Q inside; and the padding of short frames is no payload.
    let inside = [&[0, 200, 8, 0][..], &packet, &[0; 40]].concat();
    let frame = ethernet(0x88a8, &[&[0, 100, 0x81, 0][..], &inside].concat());
    let script = "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); \
                  s.send(bytes.fromhex(sys.argv[1]))";
    let hex = frame.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut python = net.command(CLIENT, "python3");
    let status = python.args(["-c", script, &hex]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    let found = |_: &_| watched.path(|row| row.server_port == Some(2_222));
    let rows = watched.keeper.until("its row", found, |rows| !rows.is_empty()).await;
    let row = &rows[0];
    assert_eq!((row.client_packets, row.client_bytes), (1, 30), "{row:#?}");
    assert_eq!(row.client_ip.as_deref(), Some("10.93.0.1"));
    assert_eq!((row.ingress_interface.as_deref(), &row.egress_interface), (Some("in0"), &None));
    probe.stop();
}
