//! TLS through TCP: segments in any order and cut anywhere, and what the flow says of its encryption.

use super::*;
use crate::testing::{
    alpn, client_hello, key_shares, list16, message, record, server_hello, sni, supported_versions,
};
use Side::{Client, Server};
use weir_model::TlsHandshakeRow;

/// A ClientHello's record, of some 400 bytes.
fn hello() -> Vec<u8> {
    let extensions = [
        sni("shop.example.org"),
        (10, list16(&[29, 23])),
        (13, list16(&[0x0403, 0x0804])),
        alpn(&["h2", "http/1.1"]),
        supported_versions(&[0x0304, 0x0303]),
        key_shares(&[29, 23, 24]),
    ];
    record(22, &message(1, &client_hello(0x0303, &[0x1301, 0x1302, 0xc02b], &extensions)))
}

fn answer() -> Vec<u8> {
    let extensions = [(43, vec![3, 4]), (51, [&[0, 29][..], &[0, 32], &[8; 32]].concat())];
    let mut bytes = record(22, &message(2, &server_hello(0x0303, [4; 32], 6, 0x1301, &extensions)));
    bytes.extend(record(20, &[1]));
    bytes.extend(record(23, &[0; 900]));
    bytes
}

fn finished() -> Vec<u8> {
    record(23, &[0; 53])
}

#[track_caller]
fn one_handshake(rows: &Rows) -> &TlsHandshakeRow {
    assert_eq!((rows.flows.len(), rows.handshakes.len()), (1, 1), "{rows:#?}");
    &rows.handshakes[0]
}

#[test]
fn a_handshake_is_a_row_and_tells_its_flow() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, &hello()).wait(10 * MS).say(Server, ACK, &answer());
    talk.wait(MS).say(Client, ACK, &finished()).close();
    let rows = talk.rows();
    let row = one_handshake(&rows);
    assert_eq!(row.tls_sni.as_deref(), Some("shop.example.org"));
    assert_eq!((row.tls_version.as_deref(), row.tls_established), (Some("1.3"), Some(true)));
    assert_eq!((row.connect_us, row.hello_us, row.handshake_us), (Some(11_000), Some(10_000), Some(11_000)));
    assert_eq!(row.time, START_NS + 11 * MS);
    let flow = &rows.flows[0];
    assert_eq!(flow.connection_id, row.connection_id);
    assert_eq!((flow.encryption.as_deref(), flow.tls_version.as_deref()), (Some("tls"), Some("1.3")));
    assert_eq!(
        (flow.tls_sni.as_deref(), flow.server_name.as_deref()),
        (row.tls_sni.as_deref(), row.tls_sni.as_deref())
    );
}

/// Cuts the hello in three; each order of arrival, with a piece that comes twice, gives the same row.
#[test]
fn a_hello_is_put_together_in_whatever_order_it_comes() {
    let hello = hello();
    let length = hello.len() as u32;
    let mut first_ja4 = None;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut talk = Talk::new();
        talk.open();
        talk.skip(Client, length);
        let cuts = [0, 3, 120, hello.len()];
        for piece in [order[0], order[0], order[1], order[2]] {
            let (from, to) = (cuts[piece], cuts[piece + 1]);
            talk.again(Client, length - from as u32, ACK, &hello[from..to]);
        }
        talk.say(Server, ACK, &answer()).say(Client, ACK, &finished());
        let rows = talk.rows();
        let row = one_handshake(&rows);
        assert_eq!(row.tls_established, Some(true), "order {order:?}");
        let ja4 = row.tls_ja4.clone().unwrap();
        assert_eq!(*first_ja4.get_or_insert(ja4.clone()), ja4, "order {order:?}");
        assert_eq!(rows.flows[0].client_bytes, i64::from(length) + 58, "order {order:?}");
    }
}

#[test]
fn text_is_plaintext_and_starttls_is_not() {
    let mut talk = Talk::new();
    talk.open().say(Server, ACK, b"220 mail.example.org ESMTP\r\n").say(Client, ACK, b"STARTTLS\r\n");
    assert_eq!(talk.flow().encryption.as_deref(), Some("plaintext"));

    let mut talk = Talk::new();
    talk.open().say(Server, ACK, b"220 mail.example.org ESMTP\r\n").say(Client, ACK, b"STARTTLS\r\n");
    talk.say(Server, ACK, b"220 go ahead\r\n").say(Client, ACK, &hello()).say(Server, ACK, &answer());
    talk.say(Client, ACK, &finished());
    let rows = talk.rows();
    assert_eq!(one_handshake(&rows).tls_established, Some(true));
    assert_eq!(rows.flows[0].encryption.as_deref(), Some("tls"));
}

/// `GridFTP`: TLS in lines of FTP, base64.
#[test]
fn tls_in_ftp_s_own_lines_is_seen() {
    use base64::Engine as _;
    let line = |before: &str, bytes: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("{before}{text}\r\n").into_bytes()
    };
    let mut talk = Talk::new();
    talk.open().say(Server, ACK, b"220 ready\r\n").say(Client, ACK, b"AUTH GSSAPI\r\n");
    talk.say(Server, ACK, b"334 ADAT must follow\r\n").say(Client, ACK, &line("ADAT ", &hello()));
    let answer = line("335 ADAT=", &answer());
    let (first, second) = answer.split_at(700);
    talk.say(Server, ACK, first).say(Server, ACK, second);
    talk.say(Client, ACK, &line("ADAT ", &finished())).close();
    let rows = talk.rows();
    let row = one_handshake(&rows);
    assert_eq!(row.tls_sni.as_deref(), Some("shop.example.org"));
    assert_eq!((row.tls_version.as_deref(), row.tls_established), (Some("1.3"), Some(true)));
    assert_eq!(rows.flows[0].encryption.as_deref(), Some("tls"));
}

/// "No handshake seen" is proof of plaintext only where everything was seen.
#[test]
fn what_the_capture_cut_off_is_never_called_plaintext() {
    let hello = hello();
    for snaplen in 0..hello.len() / 2 {
        let mut talk = Talk::new();
        talk.snaplen = snaplen;
        let (first, second) = hello.split_at(hello.len() / 2);
        talk.open().say(Client, ACK, first).say(Client, ACK, second).say(Server, ACK, &answer());
        talk.say(Client, ACK, &finished()).close();
        let rows = talk.rows();
        // Where the ServerHello is still whole, it says so.
        let expected = if rows.handshakes.is_empty() { "unknown" } else { "tls" };
        assert_eq!(rows.flows[0].encryption.as_deref(), Some(expected), "{snaplen} bytes kept");
    }
}

#[test]
fn a_hello_that_the_capture_lost_is_known_by_its_answer() {
    let mut talk = Talk::new();
    talk.open().skip(Client, 400).say(Server, ACK, &answer()).say(Client, ACK, &finished()).close();
    let rows = talk.rows();
    let row = one_handshake(&rows);
    assert_eq!((row.tls_version.as_deref(), row.tls_ja4.as_deref()), (Some("1.3"), None));
    assert_eq!(rows.flows[0].encryption.as_deref(), Some("tls"));
}

/// Acknowledgements padded to Ethernet's least length carry zeros that nobody sent.
#[test]
fn padding_is_no_part_of_a_handshake() {
    let hello = hello();
    let mut talk = Talk::new();
    talk.open().again(Client, 0, ACK, &[0; 6]).say(Client, ACK, &hello).say(Server, ACK, &answer());
    talk.say(Client, ACK, &finished()).close();
    assert_eq!(one_handshake(&talk.rows()).tls_sni.as_deref(), Some("shop.example.org"));
}

#[test]
fn a_handshake_that_ends_early_says_how() {
    for (side, flags, reason) in [
        (Client, FIN | ACK, "closed_by_client"),
        (Server, FIN | ACK, "closed_by_server"),
        (Client, RST | ACK, "reset"),
        (Server, RST, "reset"),
    ] {
        let mut talk = Talk::new();
        talk.open().say(Client, ACK, &hello()).say(side, flags, &[]).say(side.peer(), FIN | ACK, &[]);
        let rows = talk.rows();
        let row = one_handshake(&rows);
        assert_eq!((row.tls_established, row.failure_reason.as_deref()), (Some(false), Some(reason)));
    }
}

/// It would cost a connection's memory for nothing.
#[test]
fn a_long_plaintext_connection_is_not_looked_at_for_ever() {
    let mut talk = Talk::new();
    talk.open();
    for _ in 0..100 {
        talk.say(Server, ACK, &[b'x'; 1000]);
    }
    talk.say(Client, ACK, &hello()).say(Server, ACK, &answer());
    let rows = talk.rows();
    assert_eq!(rows.handshakes.len(), 0);
    assert_eq!(rows.flows[0].encryption.as_deref(), Some("plaintext"));
}
