use proptest::prelude::*;

use super::*;

/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -set_serial 0x8badf00d`
/// `-subj '/C=DE/O=Weir, Ltd./CN=shop.weir.test' -addext 'subjectAltName=DNS:shop.weir.test,DNS:*.api.weir.test,`
/// `IP:10.0.0.7,IP:fd00::7,URI:spiffe://weir.test/ns/shop/sa/web,email:ops@weir.test' -outform DER`
const SHOP: &[u8] = include_bytes!("../tests/fixtures/shop.der");
/// `openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=old.weir.test -outform DER`, its last byte changed.
const FORGED: &[u8] = include_bytes!("../tests/fixtures/forged.der");

#[test]
fn a_certificate_is_read_as_openssl_shows_it() {
    let certificate = Certificate::read(SHOP);
    assert_eq!(certificate.subject.as_deref(), Some("CN=shop.weir.test,O=Weir\\, Ltd.,C=DE"));
    assert_eq!(certificate.issuer, certificate.subject);
    assert_eq!(certificate.serial.as_deref(), Some("8BADF00D"));
    assert_eq!(certificate.key.as_deref(), Some("ec-p256"));
    assert_eq!(certificate.self_signed, Some(true));
    let sans = [
        "shop.weir.test",
        "*.api.weir.test",
        "10.0.0.7",
        "fd00::7",
        "spiffe://weir.test/ns/shop/sa/web",
        "ops@weir.test",
    ];
    assert_eq!(certificate.sans, sans);
    let days = certificate
        .not_after_ns
        .zip(certificate.not_before_ns)
        .map(|(end, start)| (end - start) / 86_400_000_000_000);
    assert_eq!(days, Some(3650));
}

#[test]
fn a_certificate_whose_signature_is_wrong_is_not_self_signed() {
    let certificate = Certificate::read(FORGED);
    assert_eq!(certificate.subject.as_deref(), Some("CN=old.weir.test"));
    assert_eq!(certificate.key.as_deref(), Some("rsa-2048"));
    assert_eq!(certificate.self_signed, Some(false));
}

#[test]
fn a_name_is_covered_as_browsers_would_say() {
    let certificate = Certificate::read(SHOP);
    for (sni, covered) in [
        ("shop.weir.test", true),
        ("SHOP.weir.test.", true),
        ("v1.api.weir.test", true),
        ("a.v1.api.weir.test", false),
        ("api.weir.test", false),
        (".api.weir.test", false),
        ("weir.test", false),
        ("", false),
    ] {
        assert_eq!(certificate.covers(sni), Some(covered), "{sni:?}");
    }
    let without_alternatives = Certificate::read(FORGED);
    assert_eq!(
        without_alternatives.covers("old.weir.test"),
        Some(true),
        "the common name, where nothing else is"
    );
    assert_eq!(Certificate::read(b"no certificate").covers("old.weir.test"), None);
}

#[test]
fn what_can_t_be_read_keeps_its_fingerprint() {
    let certificate = Certificate::read(&SHOP[..SHOP.len() / 2]);
    assert_eq!(certificate.sha256.len(), 64);
    assert_eq!((certificate.subject, certificate.self_signed), (None, None));
}

proptest! {
    /// Whoever shows a certificate chooses its bytes.
    #[test]
    fn no_bytes_make_it_panic(at in 0..SHOP.len(), byte: u8, length in 0..SHOP.len()) {
        let mut der = SHOP.to_vec();
        der[at] = byte;
        let _ = Certificate::read(&der).covers("shop.weir.test");
        let _ = Certificate::read(&der[..length]);
    }
}
