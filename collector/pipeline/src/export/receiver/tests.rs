use super::*;

fn status(code: Code, details: Vec<u8>) -> Outcome {
    outcome(Err(Status::with_details(code, "no", details.into())))
}

#[test]
fn answers_are_sorted_as_otlp_says() {
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Aborted, Code::DataLoss] {
        assert!(matches!(status(code, Vec::new()), Outcome::Later { after: None, .. }), "{code:?}");
    }
    for (code, reason) in [
        (Code::InvalidArgument, "invalid_argument"),
        (Code::Unauthenticated, "unauthenticated"),
        (Code::Unimplemented, "unimplemented"),
        (Code::ResourceExhausted, "resource_exhausted"),
        (Code::Internal, "refused"),
    ] {
        assert!(
            matches!(status(code, Vec::new()), Outcome::Refused { reason: told, .. } if told == reason),
            "{code:?}"
        );
    }
    let partial = Outcome::Taken { rejected: 3, why: "bad".to_owned() };
    assert_eq!(outcome(Ok((3, "bad".to_owned()))), partial);
}

#[test]
fn a_receiver_that_is_full_for_the_moment_says_when_to_come_again() {
    let info = RetryInfo { retry_delay: Some(Delay { seconds: 2, nanos: 500_000_000 }) };
    let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
    let details = RpcStatus { details: vec![Any { type_url, value: info.encode_to_vec() }] }.encode_to_vec();
    let after = Some(Duration::from_millis(2_500));
    assert!(
        matches!(status(Code::ResourceExhausted, details.clone()), Outcome::Later { after: told, .. } if told == after)
    );
    assert!(
        matches!(status(Code::Unavailable, details), Outcome::Later { after: told, .. } if told == after)
    );
}

fn wrong(config: &ReceiverConfig) -> String {
    Receiver::new(config).expect_err("can't be right").to_string()
}

#[test]
fn what_is_wrong_with_a_receiver_is_said_before_anything_starts() {
    let at = |url: &str| ReceiverConfig { url: url.to_owned(), ..ReceiverConfig::default() };
    for (url, why) in [
        ("collector:4317", "it begins with neither http:// nor https://"),
        ("http://collector:4317/v1/traces", "OTLP over gRPC has no path"),
        ("http://", "it names no host"),
        ("http://a b:1", "invalid"),
    ] {
        assert!(wrong(&at(url)).contains(why), "{url}: {}", wrong(&at(url)));
    }
    let header =
        |header: &str| ReceiverConfig { headers: vec![header.to_owned()], ..at("http://collector:4317") };
    assert!(wrong(&header("token")).contains("there is no = in it"));
    let bad = wrong(&header("x-token=geh\u{e4}im"));
    assert!(bad.contains("not plain ASCII") && !bad.contains("geh"), "a secret is not told: {bad}");
    let ca = |ca: &str, url| ReceiverConfig { ca: Some(ca.into()), ..at(url) };
    assert!(wrong(&ca("/nothing/here.pem", "https://collector:4317")).contains("/nothing/here.pem"));
    assert!(wrong(&ca("Cargo.toml", "https://collector:4317")).contains("no CERTIFICATE in it"));
    assert!(wrong(&ca("Cargo.toml", "http://collector:4317")).contains("without https"));
    assert!(Receiver::new(&header("authorization=Bearer x")).is_ok());
    assert!(!format!("{:?}", header("authorization=Bearer x")).contains("Bearer"));
}
