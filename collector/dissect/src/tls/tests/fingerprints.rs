//! JA3, JA3S and JA4 against the examples that their authors publish.

use super::super::client_hello as read_client;
use super::super::server_hello as read_server;
use super::*;

/// The clients of <https://github.com/salesforce/ja3>'s README, and servers that its authors name in their posts
/// (Trickbot's, Emotet's) or that answer half of today's web.
#[test]
fn ja3_is_what_its_authors_publish() {
    let extensions = [sni("example.org"), (10, list16(&[23, 24, 25])), (11, vec![1, 0])];
    let ciphers = [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4];
    let body = client_hello(769, &ciphers, &extensions);
    let hello = read_client(&body).unwrap();
    assert_eq!(ja3_text(&hello), "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0");
    assert_eq!(ja3(&hello), "ada70206e40642a3e4461f35503241d5");

    let body = client_hello(769, &[4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99], &[]);
    let hello = read_client(&body).unwrap();
    assert_eq!(ja3_text(&hello), "769,4-5-10-9-100-98-3-6-19-18-99,,,");
    assert_eq!(ja3(&hello), "de350869b8c85de67a350c8d186f11e6");

    for (version, cipher, extensions, text, md5) in [
        (769, 49172, &[65281, 11][..], "769,49172,65281-11", "623de93db17d313345d7ea481e7443cf"),
        (771, 60, &[65281], "771,60,65281", "80b3a14bccc8598a1f3bbe83e71f735f"),
        (771, 4866, &[43, 51], "771,4866,43-51", "15af977ce25de452b96affa2addb1036"),
    ] {
        let extensions: Vec<_> = extensions.iter().map(|number| (*number, Vec::new())).collect();
        let body = server_hello(version, [4; 32], 6, cipher, &extensions);
        let hello = read_server(&body).unwrap();
        assert_eq!(ja3s_text(&hello), text);
        assert_eq!(ja3s(&hello), md5);
    }
}

/// Chrome's hello of `FoxIO`'s specification (<https://github.com/FoxIO-LLC/ja4>, technical details of JA4), with
/// its ciphers and extensions in some order and GREASE where Chrome has it.
fn chrome(grease: bool) -> Vec<u8> {
    let signatures = list16(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]);
    let versions = if grease { &[0x5a5a, 0x0304, 0x0303][..] } else { &[0x0304, 0x0303] };
    let mut extensions = vec![
        (0x001b, vec![2, 0, 2]),
        sni("clients4.example.org"),
        (0x0033, key_shares(if grease { &[0x4a4a, 29] } else { &[29] }).1),
        alpn(&["h2", "http/1.1"]),
        (0x4469, vec![0, 3, 2, 104, 50]),
        (0x0017, vec![]),
        (0x002d, vec![1, 1]),
        (0x000d, signatures),
        (0x0005, vec![1, 0, 0, 0, 0]),
        (0x0023, vec![]),
        (0x0012, vec![]),
        supported_versions(versions),
        (0xff01, vec![0]),
        (0x000b, vec![1, 0]),
        (0x000a, list16(if grease { &[0x1a1a, 29, 23, 24] } else { &[29, 23, 24] })),
        (0x0015, vec![0; 40]),
    ];
    let mut ciphers = vec![
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
        0x009d, 0x002f, 0x0035,
    ];
    if grease {
        ciphers.insert(0, 0xdada);
        extensions.insert(0, (0x2a2a, vec![]));
        extensions.push((0xfafa, vec![0]));
    }
    client_hello(0x0303, &ciphers, &extensions)
}

#[test]
fn ja4_is_what_its_authors_publish() {
    let body = chrome(true);
    let hello = read_client(&body).unwrap();
    assert_eq!(
        ja4_text(&hello),
        "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_\
         0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_\
         0403,0804,0401,0503,0805,0501,0806,0601"
    );
    assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

#[test]
fn grease_changes_no_fingerprint() {
    let (with, without) = (chrome(true), chrome(false));
    let (with, without) = (read_client(&with).unwrap(), read_client(&without).unwrap());
    assert_eq!(ja3_text(&with), ja3_text(&without));
    assert_eq!(ja4_text(&with), ja4_text(&without));
}

/// JA4 of a hello with those parts: what stands before the first `_`.
#[track_caller]
fn head(version: u16, ciphers: &[u16], extensions: &[(u16, Vec<u8>)]) -> String {
    let body = client_hello(version, ciphers, extensions);
    let text = ja4_text(&read_client(&body).unwrap());
    text.split('_').next().unwrap().to_owned()
}

#[test]
fn the_first_part_of_ja4_counts_as_the_specification_says() {
    assert_eq!(head(0x0303, &[1, 2], &[]), "t12i020000");
    assert_eq!(head(0x0301, &[1], &[sni("a")]), "t10d010100");
    assert_eq!(head(0x0300, &[1], &[]), "ts3i010000");
    assert_eq!(head(0x0305, &[1], &[]), "t00i010000");
    // The extension's highest, whatever the message's own field says.
    assert_eq!(head(0x0303, &[1], &[supported_versions(&[0x0303, 0x0304])]), "t13i010100");
    assert_eq!(head(0x0303, &[1], &[supported_versions(&[0x0302, 0x0301])]), "t11i010100");
    // Two digits are all there is.
    let ciphers: Vec<u16> = (1..=150).collect();
    let extensions: Vec<_> = (1000..1120).map(|number| (number, Vec::new())).collect();
    assert_eq!(head(0x0303, &ciphers, &extensions), "t12i999900");
}

/// The specification's own examples of names that aren't text.
#[test]
fn an_alpn_that_is_no_text_is_shown_in_hex() {
    for (name, shown) in [
        (&b"h2"[..], "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (&[0xab], "ab"),
        (&[0xab, 0xcd], "ad"),
        (&[0x30, 0xab], "3b"),
        (&[0x30, 0x31, 0xab, 0xcd], "3d"),
        (&[0x30, 0xab, 0xcd, 0x31], "01"),
    ] {
        let mut list = vec![name.len() as u8];
        list.extend(name);
        let extension = (16, crate::testing::prefixed16(&list));
        assert_eq!(head(0x0303, &[1], &[extension])[8..], *shown, "{name:x?}");
    }
}

#[test]
fn what_is_not_there_has_a_form_too() {
    let body = client_hello(0x0303, &[], &[]);
    assert_eq!(ja4(&read_client(&body).unwrap()), "t12i000000_000000000000_000000000000");
    // Extensions, but no signature algorithms: no underscore after the list.
    let body = client_hello(0x0303, &[0x002f], &[(0x0023, vec![]), (0x0017, vec![])]);
    assert_eq!(ja4_text(&read_client(&body).unwrap()), "t12i010200_002f_0017,0023");
    // Only such as are left out of the hash.
    let body = client_hello(0x0303, &[0x002f], &[sni("a"), alpn(&["h2"])]);
    assert!(ja4(&read_client(&body).unwrap()).ends_with("_000000000000"));
}

#[test]
fn extensions_that_break_off_leave_those_before_them() {
    let mut body = client_hello(0x0303, &[0x1301], &[sni("a.example"), (0x1234, vec![1, 2, 3, 4])]);
    // The last extension claims more than there is.
    let at = body.len() - 5;
    body[at] = 200;
    let hello = read_client(&body).unwrap();
    assert_eq!(hello.sni(), Some(&b"a.example"[..]));
    let malformed = hello.malformed.unwrap();
    assert_eq!((malformed.offset, malformed.what), (body.len() - 8, "an extension"));
    assert_eq!(malformed.to_string(), format!("malformed TLS at byte {}: an extension", body.len() - 8));
}
