//! The tests that the kernel makes, made here by the same code, against the filter read as it is written.

use weir_abi::capture::{PacketFacts, passes};
use weir_abi::{Owner, ROLE_CLIENT, ROLE_LISTENER, ROLE_SERVER};

use super::*;

const CONTAINER: &str = "3f0c9a2b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a";

fn program(text: &str) -> Program {
    let filter = Filter::parse(text).unwrap_or_else(|err| panic!("{text}: {err}"));
    Program::with(&filter, &mut |test| match test {
        Test::Container(_) => vec![71, 72],
        _ => Vec::new(),
    })
    .unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// From `source` to `destination`, sent by a client here.
fn packet(protocol: u8, source: &str, destination: &str) -> PacketFacts {
    let source: std::net::SocketAddr = source.parse().expect("an address");
    let destination: std::net::SocketAddr = destination.parse().expect("an address");
    let ip = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => words(v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => words(v6.octets()),
    };
    PacketFacts {
        source_ip: ip(source.ip()),
        destination_ip: ip(destination.ip()),
        source_port: source.port(),
        destination_port: destination.port(),
        protocol,
        version: if source.is_ipv4() { 4 } else { 6 },
        sent: 1,
        role: ROLE_CLIENT,
        netns: 4_026_531_840,
        _pad: 0,
        owner: Owner { cgroup_id: 71, pid: 7, comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0", _pad: 0 },
    }
}

fn takes(text: &str, facts: &PacketFacts) -> bool {
    let program = program(text);
    passes(&program.terms, facts)
}

/// What a filter means, word for word; none of it shared with the compiler.
fn means(filter: &Filter, facts: &PacketFacts) -> bool {
    match filter {
        Filter::Everything => true,
        Filter::Not(inner) => !means(inner, facts),
        Filter::All(parts) => parts.iter().all(|part| means(part, facts)),
        Filter::Any(parts) => parts.iter().any(|part| means(part, facts)),
        Filter::Term(term) => term_means(term, facts),
    }
}

fn term_means(term: &Term, facts: &PacketFacts) -> bool {
    let ip = |words: [u64; 2]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        IpAddr::from(<[u8; 16]>::try_from(bytes).expect("16 bytes")).to_canonical()
    };
    let from_client = match facts.role {
        ROLE_CLIENT => facts.sent == 1,
        ROLE_SERVER | ROLE_LISTENER => facts.sent == 0,
        _ => facts.source_port >= facts.destination_port,
    };
    let source = (ip(facts.source_ip), facts.source_port);
    let destination = (ip(facts.destination_ip), facts.destination_port);
    let (client, server) = if from_client { (source, destination) } else { (destination, source) };
    let ends = match term.end {
        End::Either => vec![source, destination],
        End::Source => vec![source],
        End::Destination => vec![destination],
        End::Client => vec![client],
        End::Server => vec![server],
    };
    match &term.test {
        Test::Protocol(protocol) => facts.protocol == *protocol,
        Test::Version(version) => facts.version == *version,
        Test::Net { address, prefix } => ends.iter().any(|(ip, _)| match (ip, address) {
            (IpAddr::V4(ip), IpAddr::V4(net)) => {
                u64::from(u32::from(*ip) ^ u32::from(*net)) >> (32 - prefix) == 0
            }
            (IpAddr::V6(ip), IpAddr::V6(net)) => {
                (u128::from(*ip) ^ u128::from(*net)).checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }),
        Test::Ports { first, last } => ends.iter().any(|(_, port)| (first..=last).contains(&port)),
        Test::Process(name) => {
            facts.owner.comm.starts_with(name.as_bytes()) && facts.owner.comm[name.len()] == 0
        }
        Test::Pid(pid) => facts.owner.pid == *pid,
        Test::Netns(inode) => facts.netns == *inode,
        Test::Cgroup(id) => facts.owner.cgroup_id == *id,
        Test::Container(_) => [71, 72].contains(&facts.owner.cgroup_id),
        Test::Pod(_) => false,
    }
}

#[test]
fn a_filter_takes_what_it_says() {
    let tcp = packet(6, "10.0.0.7:40000", "10.1.0.9:443");
    let container = format!("container {CONTAINER}");
    for (text, is_taken) in [
        ("", true),
        ("tcp port 443", true),
        ("udp port 443", false),
        ("port 443 and host 10.0.0.7", true),
        ("client host 10.0.0.7 and server port 443", true),
        ("server host 10.0.0.7", false),
        ("src net 10.0.0.0/16 and dst net 10.1.0.0/16", true),
        ("not (port 80 or port 443)", false),
        ("port 400-500", true),
        ("ip6 or net ::/0", false),
        ("net 0.0.0.0/0", true),
        ("process curl and pid 7", true),
        ("process cur", false),
        (container.as_str(), true),
        ("not pod 12345678-90ab-cdef-1234-567890abcdef", true),
        ("pod 12345678-90ab-cdef-1234-567890abcdef", false),
    ] {
        assert_eq!(takes(text, &tcp), is_taken, "{text}");
    }
    let six = packet(17, "[fd00::1]:53", "[fd00::2]:40000");
    assert!(takes("net ::/0 and udp", &six) && takes("src port 53 and net fd00::/8", &six));
    assert!(!takes("net 0.0.0.0/0", &six));
}

#[test]
fn what_nothing_can_pass_is_known_before_the_kernel_is_asked() {
    assert!(program("pod 12345678-90ab-cdef-1234-567890abcdef").takes_nothing());
    assert!(!program("").takes_nothing());
    assert!(!program("port 1 and not port 1").takes_nothing(), "nobody thinks that far");
}

#[test]
fn the_socket_is_asked_only_where_a_filter_needs_it() {
    assert_eq!(program("tcp port 443 and src host 10.0.0.1").wants, 0);
    for text in ["client port 1", "pid 1", "netns 1", "process x", "cgroup 1"] {
        assert_eq!(program(text).wants, WANTS_OWNER, "{text}");
    }
    assert!(program("server port 1 or udp").needs_holders && program("not process x").needs_holders);
    assert!(!program("netns 1 and cgroup 2").needs_holders);
}

#[test]
fn the_largest_program_takes_no_packet() {
    let largest = Program::largest();
    for kind in 0..=TERM_CGROUP {
        assert!(kind == TERM_TRUE || largest.terms.iter().any(|term| term.kind == kind), "{kind}");
    }
    let facts = packet(6, "10.0.0.7:40000", "10.1.0.9:443");
    assert!(!passes(&largest.terms, &facts));
}

#[test]
fn many_cgroups_are_too_many() {
    let filter = Filter::parse(&format!("container {CONTAINER}")).expect("a filter");
    let mut many = |_: &Test| (0..40).collect();
    assert_eq!(Program::with(&filter, &mut many).err(), Some(NoProgram));
}

/// Every filter of up to three of these terms, however joined, on every one of these packets.
#[test]
fn jumps_decide_as_the_words_do() {
    let terms =
        ["tcp", "server port 443", "src host 10.0.0.7", "net ::/0", "process curl", "client net 10.0.0.0/8"];
    let mut texts: Vec<String> = Vec::new();
    for a in terms {
        for b in terms {
            for c in terms {
                for form in [
                    "A and B or not C",
                    "not (A or B) and C",
                    "A or not (B and not C)",
                    "(A or B) and (C or not A)",
                ] {
                    texts.push(form.replace('A', "@a").replace('B', "@b").replace('C', "@c"));
                    if let Some(text) = texts.last_mut() {
                        *text = text.replace("@a", a).replace("@b", b).replace("@c", c);
                    }
                }
            }
        }
    }
    let mut packets = Vec::new();
    for (protocol, source, destination) in [
        (6, "10.0.0.7:40000", "10.1.0.9:443"),
        (6, "10.1.0.9:443", "10.0.0.7:40000"),
        (17, "[fd00::1]:443", "[fd00::2]:53"),
        (17, "192.168.0.1:1", "10.0.0.7:443"),
    ] {
        for (role, sent) in [(ROLE_CLIENT, 1), (ROLE_SERVER, 1), (ROLE_LISTENER, 0), (0, 0)] {
            packets.push(PacketFacts { role, sent, ..packet(protocol, source, destination) });
        }
    }
    let mut taken = 0;
    for text in &texts {
        let filter = Filter::parse(text).expect("a filter");
        let program = program(text);
        for facts in &packets {
            let is_taken = passes(&program.terms, facts);
            assert_eq!(is_taken, means(&filter, facts), "{text} on {facts:?}");
            taken += usize::from(is_taken);
        }
    }
    let all = texts.len() * packets.len();
    assert!(taken > all / 10 && taken < all, "the packets tell the filters apart: {taken} of {all}");
}
