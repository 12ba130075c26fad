//! Files that end early, files with garbage in them, files that are none.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The whole file in each format, and where its records begin.
fn files() -> [(&'static str, Vec<u8>, Vec<usize>); 2] {
    let frames = frames();
    let pcap = LITTLE.pcap(1000, link::ETHERNET, &frames);
    let pcapng = LITTLE.pcapng(&frames);
    let (mut in_pcap, mut in_pcapng) = (vec![24], vec![LITTLE.pcapng(&[]).len()]);
    for (_, frame) in &frames {
        in_pcap.push(in_pcap[in_pcap.len() - 1] + 16 + frame.len());
        in_pcapng.push(in_pcapng[in_pcapng.len() - 1] + 32 + frame.len().next_multiple_of(4));
    }
    assert_eq!((in_pcap.last(), in_pcapng.last()), (Some(&pcap.len()), Some(&pcapng.len())));
    [("pcap", pcap, in_pcap), ("pcapng", pcapng, in_pcapng)]
}

/// A disk that was full, a capture that was killed.
#[test]
fn a_file_that_ends_early_gives_what_is_whole() {
    for (name, file, starts) in files() {
        for cut in (starts[0]..starts[4] + 20).chain(file.len() - 40..file.len()) {
            let report = read(&file[..cut]).report;
            let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
            assert_eq!(report.packets, whole as u64, "{name} cut at {cut}");
            let torn = cut - starts[whole];
            if torn == 0 {
                assert_eq!(report.damage, None, "{name} cut at {cut}");
                continue;
            }
            let damage = report.damage.unwrap();
            assert_eq!((damage.offset, damage.skipped_bytes), (starts[whole] as u64, torn as u64));
            assert_eq!(
                damage.to_string(),
                format!(
                    "damaged at byte {}: the file ends inside a record, of which only {torn} bytes are there; \
                     {torn} bytes skipped, everything else was read",
                    starts[whole]
                )
            );
        }
    }
}

#[test]
fn a_length_that_cant_be_costs_one_packet_and_is_told_with_its_offset() {
    for (name, mut file, starts) in files() {
        let start = starts[50];
        let at = if name == "pcap" { start + 8 } else { start + 4 };
        file[at..at + 4].fill(0xff);
        let report = read(&file).report;
        assert_eq!(report.packets, 105, "{name}");
        let damage = report.damage.unwrap();
        assert_eq!((damage.offset, damage.places), (start as u64, 1), "{name}");
        assert_eq!(damage.skipped_bytes, (starts[51] - start) as u64, "{name}");
        assert!(damage.to_string().starts_with(&format!("damaged at byte {start}: a ")), "{damage}");
    }
}

/// Two files into one, a hole of zeros left by a crash, a transfer that lost a piece.
#[test]
fn a_gap_costs_what_it_covers() {
    for (name, file, starts) in files() {
        let mut zeroed = file.clone();
        zeroed[starts[20] + 5..starts[30] + 3].fill(0);
        let report = read(&zeroed).report;
        assert!((94..=106).contains(&report.packets), "{name}, zeros: {}", report.packets);
        let mut shorter = file.clone();
        shorter.drain(starts[20] + 5..starts[30] + 3);
        let report = read(&shorter).report;
        assert!((94..=96).contains(&report.packets), "{name}, a piece lost: {}", report.packets);
        assert!(report.damage.is_some_and(|damage| damage.offset <= starts[31] as u64), "{name}");
        let mut longer = file.clone();
        longer.splice(starts[20]..starts[20], [0xee; 1000]);
        let report = read(&longer).report;
        assert_eq!(report.packets, 106, "{name}, something in between");
        let damage = report.damage.unwrap();
        assert_eq!((damage.offset, damage.skipped_bytes), (starts[20] as u64, 1000), "{name}");
    }
}

/// Damage beyond what is read at once must not be found by chance of a buffer's end.
#[test]
fn damage_longer_than_a_buffer_is_passed() {
    for (name, mut file, starts) in files() {
        file.splice(starts[20]..starts[20], std::iter::repeat_n(0xee, 3 << 20));
        let report = read(&file).report;
        assert_eq!(report.packets, 106, "{name}");
        assert_eq!(report.damage.unwrap().skipped_bytes, 3 << 20, "{name}");
    }
}

#[test]
fn a_file_that_is_no_capture_says_what_it_is() {
    let message = |bytes: &[u8]| try_read(bytes).unwrap_err().to_string();
    let text = message(b"this is a text file, longer than any header");
    assert_eq!(text, "not a capture file: it begins with 74686973, and neither pcap nor pcapng does");
    assert_eq!(
        message(b""),
        "not a capture file: it begins with nothing at all, and neither pcap nor pcapng does"
    );
    assert!(
        message(&LITTLE.pcap(1, 1, &[])[..20]).starts_with("not a capture file: it begins with 4d3cb2a1")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes overwritten anywhere after the header: nothing panics, and what is far from them is read.
    #[test]
    fn damage_is_survived_and_stays_local(
        which in 0_usize..2,
        at in any::<Index>(),
        garbage in proptest::collection::vec(any::<u8>(), 1..80),
    ) {
        let (name, mut file, starts) = files()[which].clone();
        let at = starts[0] + at.index(file.len() - starts[0] - garbage.len());
        file[at..at + garbage.len()].copy_from_slice(&garbage);
        let report = read(&file).report;
        let touched = starts.windows(2).filter(|pair| pair[0] < at + garbage.len() && at < pair[1]).count() as u64;
        prop_assert!(
            report.packets <= 106 && report.packets + touched >= 106,
            "{name}, {} bytes at {at}: {} packets, {touched} touched, {:?}", garbage.len(), report.packets, report.damage
        );
        prop_assert_eq!(report.file_bytes, file.len() as u64);
    }

    /// Any bytes behind a good header, also in the middle of good records.
    #[test]
    fn no_bytes_make_it_panic(
        which in 0_usize..2,
        keep in any::<Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let (_, mut file, starts) = files()[which].clone();
        file.truncate(starts[0] + keep.index(2000));
        file.extend(noise);
        let report = read(&file).report;
        prop_assert!(report.captured_bytes <= file.len() as u64);
    }
}
