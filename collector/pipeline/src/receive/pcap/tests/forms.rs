//! Formats, byte orders, clocks, link layers.

use super::*;

#[test]
fn every_format_gives_the_same_rows() {
    let frames = frames();
    let expected = read(&LITTLE.pcap(1, link::ETHERNET, &frames));
    assert_eq!((expected.flows.len(), expected.handshakes.len()), (8, 7), "as make.sh made it");
    assert_eq!((expected.report.packets, expected.report.totals.tcp_packets), (106, 106));
    for (name, file) in [
        ("pcap in µs", LITTLE.pcap(1000, link::ETHERNET, &frames)),
        ("pcap in µs, big-endian", BIG.pcap(1000, link::ETHERNET, &frames)),
        ("pcap in ns, big-endian", BIG.pcap(1, link::ETHERNET, &frames)),
        ("pcapng", LITTLE.pcapng(&frames)),
        ("pcapng, big-endian", BIG.pcapng(&frames)),
    ] {
        let imported = read(&file);
        imported.has_the_rows_of(&expected, name);
        assert_eq!(imported.report.file_bytes, file.len() as u64, "{name}");
        assert_eq!(imported.report.wire_bytes, expected.report.wire_bytes, "{name}");
        assert_eq!(imported.report.damage, None, "{name}");
    }
}

#[test]
fn every_link_layer_gives_the_same_rows() {
    let ethernet = frames();
    let expected = read(&LITTLE.pcap(1000, link::ETHERNET, &ethernet));
    for link_type in
        [link::LINUX_SLL, link::LINUX_SLL2, link::NULL, link::LOOP, link::PPP, link::RAW, link::IPV4]
    {
        let frames: Vec<Frame> =
            ethernet.iter().map(|(time_ns, frame)| (*time_ns, behind(link_type, frame))).collect();
        let imported = read(&LITTLE.pcap(1000, link_type, &frames));
        imported.has_the_rows_of(&expected, &format!("link type {link_type}"));
        assert_eq!(imported.report.ignored, BTreeMap::new(), "link type {link_type}");
    }
}

/// Interfaces have link layers and clocks of their own, and a packet may come from any of them.
#[test]
fn interfaces_of_one_file_are_put_together() {
    let frames = frames();
    let expected = read(&LITTLE.pcap(1, link::ETHERNET, &frames));
    for order in [LITTLE, BIG] {
        let mut file = order.section();
        let started_s = 1_700_000_000;
        file.extend(order.interface(link::ETHERNET, 262_144, None, 0));
        file.extend(order.interface(link::RAW, 0, Some(9), 0));
        file.extend(order.interface(link::LINUX_SLL2, 0, Some(9), started_s));
        for (nth, (time_ns, frame)) in frames.iter().enumerate() {
            let ns = *time_ns as u64;
            file.extend(match nth % 3 {
                0 => order.enhanced(0, ns / 1000, frame),
                1 => order.enhanced(1, ns, &behind(link::RAW, frame)),
                _ => {
                    order.enhanced(2, ns - started_s as u64 * 1_000_000_000, &behind(link::LINUX_SLL2, frame))
                }
            });
        }
        read(&file).has_the_rows_of(&expected, &format!("{order:?}"));
    }
}

#[test]
fn a_clock_of_any_resolution_is_read() {
    let frame = &frames()[0].1;
    let time_of = |resolution, ticks| {
        let mut file = LITTLE.section();
        file.extend(LITTLE.interface(link::ETHERNET, 0, Some(resolution), 0));
        file.extend(LITTLE.enhanced(0, ticks, frame));
        read(&file).report.times_ns.unwrap().0
    };
    assert_eq!(time_of(3, 1_700_000_000_123), 1_700_000_000_123_000_000);
    assert_eq!(time_of(0, 1_700_000_000), 1_700_000_000_000_000_000);
    assert_eq!(time_of(0x80 + 20, (1_700_000_000 << 20) + (1 << 19)), 1_700_000_000_500_000_000);
    // Finer than we keep, and further than we can say.
    assert_eq!(time_of(12, 1_700_000_000_123_456_789), 1_700_000_000_123_456);
    assert_eq!(time_of(0, u64::MAX), i64::MAX);
}

/// `cat` and `mergecap -a` make such files; each section has its own byte order and interfaces.
#[test]
fn sections_follow_each_other() {
    let frames = frames();
    let (first, second) = frames.split_at(40);
    let file = [LITTLE.pcapng(first), BIG.pcapng(second)].concat();
    read(&file).has_the_rows_of(&read(&LITTLE.pcapng(&frames)), "two sections");
}

#[test]
fn blocks_of_old_and_simple_files_are_read() {
    let frames = frames();
    let expected = read(&LITTLE.pcapng(&frames));
    for order in [LITTLE, BIG] {
        let mut file = order.section();
        file.extend(order.interface(link::ETHERNET, 0, None, 0));
        for (time_ns, frame) in &frames {
            let (ticks, length) = (*time_ns as u64 / 1000, frame.len() as u32);
            let mut content = order.halves(0, 0xffff);
            content.extend(order.words(&[(ticks >> 32) as u32, ticks as u32, length, length]));
            content.extend(frame);
            file.extend(order.block(2, content));
            // What a file may hold beside packets: names, statistics, anything.
            file.extend(order.block(4, vec![0; 4]));
            file.extend(order.block(0x0bad, vec![1, 2, 3]));
        }
        read(&file).has_the_rows_of(&expected, &format!("{order:?}"));
    }
    // Simple packets have no time, and only the interface says how much of each was kept.
    let mut file = LITTLE.section();
    file.extend(LITTLE.interface(link::ETHERNET, 61, None, 0));
    for (_, frame) in &frames {
        let mut content = LITTLE.words(&[frame.len() as u32]);
        content.extend(&frame[..frame.len().min(61)]);
        file.extend(LITTLE.block(3, content));
    }
    let report = read(&file).report;
    assert_eq!((report.packets, report.wire_bytes), (106, expected.report.wire_bytes));
    let kept: usize = frames.iter().map(|(_, frame)| frame.len().min(61)).sum();
    assert_eq!(report.captured_bytes, kept as u64);
}

#[test]
fn what_is_in_no_flow_is_counted_with_its_reason() {
    let mut frames = vec![(1, vec![0xff; 60])];
    frames[0].1[12..14].copy_from_slice(&[0x08, 0x06]);
    let report = read(&LITTLE.pcap(1, link::ETHERNET, &frames)).report;
    assert_eq!(report.ignored, BTreeMap::from([("not_ip", 1)]));
    let report = read(&LITTLE.pcap(1, 4711, &frames)).report;
    assert_eq!(report.ignored, BTreeMap::from([("unknown_link_type", 1)]));
    assert_eq!((report.packets, report.flows), (1, 0));
}
