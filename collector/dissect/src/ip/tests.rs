use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::testing::{CLIENT, CLIENT6, SERVER, SERVER6, ethernet, ipv4, ipv6, tcp, tls_frames, udp};

const ALL_LINKS: [u32; 14] = [
    link::NULL,
    link::ETHERNET,
    link::PPP,
    link::RAW_12,
    link::RAW_14,
    link::PPP_HDLC,
    link::RAW,
    link::IEEE802_11,
    link::RADIOTAP,
    link::LOOP,
    link::LINUX_SLL,
    link::IPV4,
    link::IPV6,
    link::LINUX_SLL2,
];
const HELLO: &[u8] = b"hello";

/// An IPv4 datagram that all link layers are tried with.
fn datagram() -> Vec<u8> {
    ipv4(CLIENT, SERVER, 6, &tcp((40_000, 443), 7, 8, 0x18, HELLO))
}

fn after(header: &[u8], content: &[u8]) -> Vec<u8> {
    [header, content].concat()
}

/// Reads [`datagram`] behind whatever is in front of it.
#[track_caller]
fn finds_the_datagram(link_type: u32, bytes: &[u8]) {
    let found = packet(link_type, bytes).unwrap();
    assert_eq!((found.src, found.dst), (IpAddr::V4(CLIENT), IpAddr::V4(SERVER)));
    let header = Tcp { src_port: 40_000, dst_port: 443, sequence: 7, acknowledged: 8, flags: 0x18 };
    assert_eq!(found.transport, Transport::Tcp(header));
    assert_eq!((found.payload, found.payload_length), (HELLO, HELLO.len()));
}

/// LLC/SNAP of IPv4.
const SNAP_IPV4: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0];

#[test]
fn each_link_layer_gives_the_same_packet() {
    let ip = datagram();
    for raw in [link::RAW, link::RAW_12, link::RAW_14, link::IPV4, link::IPV6] {
        finds_the_datagram(raw, &ip);
    }
    finds_the_datagram(link::ETHERNET, &ethernet(0x0800, &ip));
    // IEEE 802.3: a length in the type's place.
    finds_the_datagram(link::ETHERNET, &ethernet(ip.len() as u16 + 8, &after(&SNAP_IPV4, &ip)));
    // `any`: packet type, ARPHRD, address and its length, protocol.
    finds_the_datagram(link::LINUX_SLL, &after(&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &ip));
    let cooked2 = [8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
    finds_the_datagram(link::LINUX_SLL2, &after(&cooked2, &ip));
    // AF_INET in either byte order.
    finds_the_datagram(link::NULL, &after(&[2, 0, 0, 0], &ip));
    finds_the_datagram(link::NULL, &after(&[0, 0, 0, 2], &ip));
    finds_the_datagram(link::LOOP, &after(&[0, 0, 0, 2], &ip));
    // With and without HDLC's address, the protocol in two bytes and in one.
    for ppp in [&[0xff, 3, 0, 0x21][..], &[0, 0x21], &[0x21]] {
        finds_the_datagram(link::PPP, &after(ppp, &ip));
        finds_the_datagram(link::PPP_HDLC, &after(ppp, &ip));
    }
    // Data, without and with a QoS field; then behind a radiotap header of 12 bytes.
    let mut wifi = vec![0x08, 1];
    wifi.resize(24, 0);
    for qos in [0, 2] {
        let frame = after(&after(&wifi, &vec![0; qos]), &after(&SNAP_IPV4, &ip));
        finds_the_datagram(link::IEEE802_11, &frame);
        finds_the_datagram(link::RADIOTAP, &after(&[0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0], &frame));
    }
}

#[test]
fn tags_are_looked_through() {
    let ip = datagram();
    let vlan = after(&[0, 5, 8, 0], &ip);
    finds_the_datagram(link::ETHERNET, &ethernet(0x8100, &vlan));
    for outer in [0x88a8, 0x9100, 0x8100] {
        finds_the_datagram(link::ETHERNET, &ethernet(outer, &after(&[0, 6, 0x81, 0], &vlan)));
    }
    finds_the_datagram(link::ETHERNET, &ethernet(0x8926, &after(&[0, 1, 0, 2, 0x81, 0], &vlan)));
    let customer = ethernet(0x0800, &ip);
    finds_the_datagram(link::ETHERNET, &ethernet(0x88e7, &after(&[0, 0, 0, 9], &customer)));
    // Two MPLS labels, the second is the bottom of the stack.
    finds_the_datagram(link::ETHERNET, &ethernet(0x8847, &after(&[0, 1, 0, 64, 0, 2, 1, 64], &ip)));
    let pppoe = after(&[0x11, 0, 0, 9, 0, ip.len() as u8 + 2, 0, 0x21], &ip);
    finds_the_datagram(link::ETHERNET, &ethernet(0x8864, &pppoe));
    let cooked_vlan = after(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0], &vlan);
    finds_the_datagram(link::LINUX_SLL, &cooked_vlan);
}

/// Each tunnel around the datagram, with its outer protocol (6: none of these).
fn tunnelled() -> Vec<(&'static str, u8, Vec<u8>)> {
    let ip = datagram();
    let frame = ethernet(0x0800, &ip);
    let vxlan = after(&[8, 0, 0, 0, 0, 0, 42, 0], &frame);
    let group_policy = after(&[0x88, 0, 0, 9, 0, 0, 42, 0], &frame);
    let geneve = after(&[0, 0, 0x65, 0x58, 0, 0, 42, 0], &frame);
    let geneve_with_options = after(&[2, 0, 8, 0, 0, 0, 42, 0, 1, 2, 3, 1, 9, 9, 9, 9], &ip);
    let gtp = after(&[0x30, 0xff, 0, ip.len() as u8, 0, 0, 0, 1], &ip);
    // With a sequence number, and one extension header of 4 bytes.
    let gtp_extended = after(&[0x36, 0xff, 0, 0, 0, 0, 0, 1, 0, 5, 0, 0x85, 1, 9, 9, 0], &ip);
    let capwap = after(&[0, 0x10, 0, 0, 0, 0, 0, 0], &frame);
    let inner6 = ipv6(SERVER6, CLIENT6, 4, &ip);
    let erspan_3 = |platform: u8| {
        [&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 5][..], &[0, 0, 0, 0, 0, 0, 0, platform]].concat()
    };
    vec![
        ("VXLAN", 17, udp((55_555, 4789), &vxlan)),
        ("VXLAN on Linux' old port", 17, udp((55_555, 8472), &vxlan)),
        ("VXLAN with a group policy", 17, udp((55_555, 4789), &group_policy)),
        ("VXLAN that says Ethernet", 17, udp((55_555, 4790), &after(&[0x0c, 0, 0, 3, 0, 0, 42, 0], &frame))),
        (
            "VXLAN that says IPv4",
            17,
            udp((55_555, 4790), &after(&[0x0c, 0, 0, 1, 0, 0, 42, 0], &frame[14..])),
        ),
        ("GENEVE", 17, udp((55_555, 6081), &geneve)),
        ("GENEVE with options around IP", 17, udp((55_555, 6081), &geneve_with_options)),
        ("GTP-U", 17, udp((2152, 2152), &gtp)),
        ("GTP-U with an extension", 17, udp((2152, 2152), &gtp_extended)),
        ("CAPWAP", 17, udp((12_345, 5247), &capwap)),
        ("CAPWAP, the controller's answer", 17, udp((5247, 12_345), &capwap)),
        ("GRE", 47, after(&[0, 0, 8, 0], &ip)),
        (
            "GRE with checksum, key, sequence number, around Ethernet",
            47,
            after(&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &frame),
        ),
        ("ERSPAN I", 47, after(&[0, 0, 0x88, 0xbe], &frame)),
        ("ERSPAN II", 47, after(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 5, 0, 0, 0, 0], &frame)),
        ("ERSPAN III", 47, after(&erspan_3(0), &frame)),
        ("ERSPAN III with its platform's part", 47, after(&after(&erspan_3(1), &[7; 8]), &frame)),
        // Key, sequence number and acknowledgement; address and control, as some leave them in.
        (
            "PPTP",
            47,
            after(&[0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21], &ip),
        ),
        // An identity of 16 bytes, a signature of 20.
        ("AYIYA", 17, udp((40_000, 5072), &after(&after(&[0x41, 0x52, 0x11, 41], &[0; 40]), &inner6))),
        ("Teredo", 17, udp((40_000, 3544), &inner6)),
        (
            "Teredo with authentication and origin",
            17,
            udp(
                (3544, 40_000),
                &after(&after(&[0, 1, 2, 3], &[9; 14]), &after(&[0, 0, 1, 2, 3, 4, 5, 6], &inner6)),
            ),
        ),
        ("IP in IP", 4, ip),
    ]
}

#[test]
fn the_innermost_packet_of_a_tunnel_is_what_counts() {
    for (name, protocol, content) in tunnelled() {
        println!("{name}");
        finds_the_datagram(link::RAW, &ipv4(SERVER, CLIENT, protocol, &content));
        finds_the_datagram(link::RAW, &ipv6(SERVER6, CLIENT6, protocol, &content));
        // A tunnel in a tunnel.
        let inner = ethernet(0x86dd, &ipv6(SERVER6, CLIENT6, protocol, &content));
        let vxlan = after(&[8, 0, 0, 0, 0, 0, 1, 0], &inner);
        finds_the_datagram(link::RAW, &ipv4(SERVER, CLIENT, 17, &udp((1, 4789), &vxlan)));
    }
}

/// Anyone may send anything to port 4789.
#[test]
fn what_only_looks_like_a_tunnel_is_a_datagram() {
    for (ports, payload) in [
        ((1, 4789), &b"not vxlan, though of good length"[..]),
        ((1, 4789), b"\x08"),
        ((1, 6081), b"\xc0\0\x65\x58\0\0\0\0 version 3"),
        ((1, 6081), b"\0\0\x12\x34\0\0\0\0 unknown inner type"),
        ((1, 2152), b"\x32\x01\0\x04\0\0\0\0\0\0\0\0"),
        ((1, 53), b"\x08\0\0\0\0\0\0\0"),
        ((1, 5072), b"\x41\x52\x11\x3b nothing follows, says the header"),
        ((3544, 1), b"\0\x01\x02\x03 neither authentication nor IPv6 behind it"),
    ] {
        let bytes = ipv4(CLIENT, SERVER, 17, &udp(ports, payload));
        let found = packet(link::RAW, &bytes).unwrap();
        let transport = Transport::Udp { src_port: ports.0, dst_port: ports.1 };
        assert_eq!((found.transport, found.payload), (transport, payload));
    }
}

/// A packet could be built that is nothing but tunnels; each costs a stack frame.
#[test]
fn tunnels_in_tunnels_end_somewhere() {
    let mut bytes = datagram();
    for _ in 0..MAX_DEPTH {
        bytes = ipv4(CLIENT, SERVER, 4, &bytes);
    }
    finds_the_datagram(link::RAW, &bytes);
    for _ in 0..2000 {
        bytes = ipv4(CLIENT, SERVER, 4, &bytes);
    }
    assert_eq!(packet(link::RAW, &bytes), Err(Ignored::Malformed));

    let mut frame = ethernet(0x0800, &datagram());
    for _ in 0..2000 {
        frame = ethernet(0x88e7, &after(&[0, 0, 0, 9], &frame));
    }
    assert_eq!(packet(link::ETHERNET, &frame), Err(Ignored::NotIp));
}

#[test]
fn ipv6_extension_headers_are_looked_through() {
    let segment = tcp((40_000, 443), 7, 8, 0x18, HELLO);
    let read = |next: u8, content: &[u8]| {
        let bytes = ipv6(CLIENT6, SERVER6, next, content);
        packet(link::RAW, &bytes).map(|found| (found.src, found.payload.to_vec(), found.payload_length))
    };
    let whole = Ok((IpAddr::V6(CLIENT6), HELLO.to_vec(), HELLO.len()));
    assert_eq!(read(6, &segment), whole);
    // Hop-by-hop, then destination options of 16 bytes, then routing.
    let mut chain = vec![60, 0, 1, 4, 0, 0, 0, 0, 43, 1];
    chain.extend([0; 14]);
    chain.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(0, &after(&chain, &segment)), whole);
    // Authentication counts in words of 4 bytes, and says 2 less.
    assert_eq!(
        read(51, &after(&[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &segment)),
        whole
    );
    // An atomic fragment, a first one, a later one.
    assert_eq!(read(44, &after(&[6, 0, 0, 0, 0, 0, 0, 9], &segment)), whole);
    assert_eq!(read(44, &after(&[6, 0, 0, 1, 0, 0, 0, 9], &segment)), whole);
    assert_eq!(read(44, &after(&[6, 0, 0, 9, 0, 0, 0, 9], &segment)), Err(Ignored::Fragment));
    // A header that is longer than the packet says it is; one that the capture cut.
    assert_eq!(read(60, &[6, 200, 0, 0, 0, 0, 0, 0]), Err(Ignored::CutShort));
    assert_eq!(read(60, &[6]), Err(Ignored::CutShort));
    assert_eq!(read(59, &segment), Err(Ignored::OtherProtocol));
}

#[test]
fn ipv4_options_padding_and_offload_are_understood() {
    let mut options = datagram();
    options[0] = 0x46;
    options[3] += 4;
    options.splice(20..20, [1, 1, 1, 0]);
    finds_the_datagram(link::RAW, &options);
    // A short frame's padding is no payload.
    finds_the_datagram(link::ETHERNET, &after(&ethernet(0x0800, &datagram()), &[0; 13]));
    // Segmentation left to the network card: the length is not filled in yet.
    let mut offloaded = datagram();
    offloaded[2..4].fill(0);
    finds_the_datagram(link::RAW, &offloaded);
    let mut datagram = datagram();
    datagram[0] = 0x44;
    assert_eq!(packet(link::RAW, &datagram), Err(Ignored::Malformed));
}

#[test]
fn a_fragment_after_the_first_has_no_ports() {
    let mut bytes = datagram();
    bytes[6..8].copy_from_slice(&[0x20, 0]);
    finds_the_datagram(link::RAW, &bytes);
    bytes[6..8].copy_from_slice(&[0x20, 0xb9]);
    assert_eq!(packet(link::RAW, &bytes), Err(Ignored::Fragment));
}

/// A dual-stack socket's packets must have the address that the other end sees.
#[test]
fn an_ipv4_mapped_address_is_an_ipv4_address() {
    let bytes = ipv6(CLIENT.to_ipv6_mapped(), SERVER.to_ipv6_mapped(), 17, &udp((1, 2), HELLO));
    let found = packet(link::RAW, &bytes).unwrap();
    assert_eq!((found.src, found.dst), (IpAddr::V4(CLIENT), IpAddr::V4(SERVER)));
}

#[test]
fn what_is_no_flow_says_why() {
    assert_eq!(packet(4711, &[]), Err(Ignored::LinkType(4711)));
    assert_eq!(packet(link::ETHERNET, &ethernet(0x0806, &[0; 28])), Err(Ignored::NotIp));
    assert_eq!(packet(link::NULL, &[2, 0, 0, 0, 0x10, 0, 0]), Err(Ignored::NotIp));
    let ping = ipv4(CLIENT, SERVER, 1, &[8, 0, 0, 0]);
    assert_eq!(packet(link::RAW, &ping), Err(Ignored::OtherProtocol));
    let mut short_header = datagram();
    short_header[32] = 0x40;
    assert_eq!(packet(link::RAW, &short_header), Err(Ignored::Malformed));
    assert_eq!(packet(link::RAW, &[]), Err(Ignored::CutShort));
}

/// `tcpdump -s 64`: the counters must not depend on how much of a packet was kept.
#[test]
fn a_snapshot_length_costs_payload_and_nothing_else() {
    for (protocol, transport, header) in [
        (6, tcp((40_000, 443), 7, 8, 0x18, &[9; 100]), 20),
        (17, udp((5000, 53), &[9; 100]), 8),
        (132, after(&[0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 1, 0, 0, 0, 0], &[9; 100]), 12),
    ] {
        let frame = ethernet(0x0800, &ipv4(CLIENT, SERVER, protocol, &transport));
        let whole = packet(link::ETHERNET, &frame).unwrap();
        for kept in 0..frame.len() {
            match packet(link::ETHERNET, &frame[..kept]) {
                Err(reason) => {
                    assert_eq!(reason, Ignored::CutShort, "{kept} bytes kept");
                    assert!(kept < 14 + 20 + header, "{kept} bytes kept");
                }
                Ok(cut) => {
                    assert_eq!((cut.transport, cut.payload_length), (whole.transport, 100));
                    assert_eq!(cut.payload.len(), kept - 14 - 20 - header);
                }
            }
        }
    }
}

/// Holds for whatever is read as a packet.
fn is_sound(bytes: &[u8], found: Result<Packet<'_>, Ignored>) -> Result<(), TestCaseError> {
    if let Ok(found) = found {
        let (all, payload) = (bytes.as_ptr_range(), found.payload.as_ptr_range());
        prop_assert!(found.payload.is_empty() || all.start <= payload.start && payload.end <= all.end);
        prop_assert!(found.payload.len() <= found.payload_length);
        prop_assert!(!matches!(found.src, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_bytes_make_it_panic(
        link_type in prop::sample::select(&ALL_LINKS[..]),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        is_sound(&bytes, packet(link_type, &bytes))?;
    }

    /// Nearly good packets reach further than noise does.
    #[test]
    fn no_damage_makes_it_panic(
        which in any::<Index>(),
        tunnel in any::<Index>(),
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        keep in 0.0_f64..1.2,
    ) {
        let tunnels = tunnelled();
        let (_, protocol, content) = tunnel.get(&tunnels);
        let candidates = [
            which.get(&tls_frames()).to_vec(),
            ethernet(0x0800, &ipv4(SERVER, CLIENT, *protocol, content)),
            ethernet(0x8100, &after(&[0, 1, 0x86, 0xdd], &ipv6(SERVER6, CLIENT6, *protocol, content))),
        ];
        let mut bytes = which.get(&candidates).clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        is_sound(&bytes, packet(link::ETHERNET, &bytes))?;
    }
}
