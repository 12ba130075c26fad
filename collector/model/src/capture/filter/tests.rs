use proptest::prelude::*;

use super::*;

fn term(end: End, test: Test) -> Filter {
    Filter::Term(Term { end, test })
}

fn port(number: u16) -> Filter {
    term(End::Either, Test::Ports { first: number, last: number })
}

fn error(text: &str) -> (usize, String) {
    let error = Filter::parse(text).expect_err(text);
    (error.at, format!("{error} {}", error.hint.as_deref().unwrap_or_default()))
}

#[test]
fn tcpdump_s_usual_filters_mean_the_same() {
    let host = term(End::Either, Test::Net { address: "10.0.0.1".parse().expect("an address"), prefix: 32 });
    let tcp = || term(End::Either, Test::Protocol(6));
    assert_eq!(Filter::parse(" \t").expect("blank"), Filter::Everything);
    assert_eq!(
        Filter::parse("port 443 and host 10.0.0.1").expect("and"),
        Filter::All(vec![port(443), host.clone()])
    );
    assert_eq!(Filter::parse("tcp port 443").expect("qualified"), Filter::All(vec![tcp(), port(443)]));
    assert_eq!(
        Filter::parse("tcp and (port 80 or !port 443)").expect("grouped"),
        Filter::All(vec![tcp(), Filter::Any(vec![port(80), Filter::Not(Box::new(port(443)))])])
    );
    assert_eq!(
        Filter::parse("port 1 or port 2 and port 3").expect("and binds closer"),
        Filter::Any(vec![port(1), Filter::All(vec![port(2), port(3)])])
    );
    assert_eq!(Filter::parse("host ::ffff:10.0.0.1").expect("mapped"), host);
}

#[test]
fn ends_are_told_apart() {
    let net = |address: &str, prefix| Test::Net { address: address.parse().expect("an address"), prefix };
    for (text, end, test) in [
        ("client net 10.0.0.0/8", End::Client, net("10.0.0.0", 8)),
        ("server port 8000-8080", End::Server, Test::Ports { first: 8000, last: 8080 }),
        ("src host fd00::1", End::Source, net("fd00::1", 128)),
        ("dst net ::/0", End::Destination, net("::", 0)),
        ("net 0.0.0.0/0", End::Either, net("0.0.0.0", 0)),
        ("process \"my app\"", End::Either, Test::Process("my app".into())),
        ("process a-name-of-more-than-fifteen", End::Either, Test::Process("a-name-of-more-".into())),
        ("pid 7", End::Either, Test::Pid(7)),
        ("netns 4026531840", End::Either, Test::Netns(4_026_531_840)),
    ] {
        assert_eq!(Filter::parse(text).expect(text), term(end, test), "{text}");
    }
}

#[test]
fn an_error_points_at_its_word() {
    for (text, at, word) in [
        ("port https", 5, "no port"),
        ("port 99999", 5, "no port"),
        ("host example.org", 5, "not looked up"),
        ("net 10.0.0.1/8", 4, "10.0.0.0/8 is the network"),
        ("net 10.0.0.0/33", 4, "0 to 32"),
        ("tcp and", 7, "missing"),
        ("(tcp or udp", 11, "close"),
        ("tcp)", 3, "no parenthesis"),
        ("tcp udp", 4, "join"),
        ("prot 443", 0, "no term"),
        ("client tcp", 7, "host, net or port"),
        ("port", 4, "after port"),
        ("process \"x", 8, "other half"),
        ("pod 123", 4, "36"),
        ("größe 1", 0, "no term"),
    ] {
        let (found, text_of_it) = error(text);
        assert_eq!(found, at, "{text}: {text_of_it}");
        assert!(text_of_it.contains(word), "{text}: {text_of_it}");
    }
}

#[test]
fn no_filter_is_too_large_for_the_kernel_or_for_our_stack() {
    let many = vec!["port 1"; MOST_TERMS + 1].join(" or ");
    assert!(error(&many).1.contains("at most 32 terms"));
    assert!(error(&"(".repeat(2_000)).1.contains("deep"));
    assert!(error(&"not ".repeat(1_000)).1.contains("deep"));
    assert!(error(&" ".repeat(5_000)).1.contains("bytes"));
}

fn any_test() -> impl Strategy<Value = (End, Test)> {
    let end = prop_oneof![
        Just(End::Either),
        Just(End::Source),
        Just(End::Destination),
        Just(End::Client),
        Just(End::Server)
    ];
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        // Not a mapped one: those are read as IPv4.
        any::<u64>().prop_map(|bits| IpAddr::V6((u128::from(bits) | 1 << 125).into())),
    ];
    let of_end = prop_oneof![
        address.prop_map(|address| Test::Net { address, prefix: bits(address) }),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Test::Ports { first: a.min(b), last: a.max(b) }),
        (0_u8..=32).prop_map(|prefix| Test::Net {
            address: IpAddr::V4(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0).into()),
            prefix,
        }),
    ];
    let of_none = prop_oneof![
        any::<u8>().prop_map(Test::Protocol),
        prop_oneof![Just(4_u8), Just(6)].prop_map(Test::Version),
        "[a-z][a-z :/()!-]{0,14}".prop_map(|name| Test::Process(name.into())),
        any::<u32>().prop_map(Test::Pid),
        any::<u32>().prop_map(Test::Netns),
        any::<u64>().prop_map(Test::Cgroup),
        "[0-9a-f]{64}".prop_map(|id| Test::Container(id.into())),
        "[0-9a-f]{36}".prop_map(|id| Test::Pod(id.into())),
    ];
    prop_oneof![(end, of_end), of_none.prop_map(|test| (End::Either, test))]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let leaf = any_test().prop_map(|(end, test)| term(end, test));
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|filter| Filter::Not(Box::new(filter))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::All),
            prop::collection::vec(inner, 2..4).prop_map(Filter::Any),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(filter in any_filter()) {
        let text = filter.to_string();
        prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,80}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.at <= text.len());
        }
    }

    #[test]
    fn no_words_break_the_reader(words in prop::collection::vec(
        prop_oneof![Just("tcp"), Just("port"), Just("80"), Just("("), Just(")"), Just("not"), Just("and"), Just("or"),
            Just("client"), Just("host"), Just("10.0.0.1"), Just("process"), Just("\"")], 0..40)) {
        let text = words.join(" ");
        match Filter::parse(&text) {
            Ok(filter) => prop_assert!(filter.terms() <= MOST_TERMS),
            Err(error) => prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at)),
        }
    }
}
