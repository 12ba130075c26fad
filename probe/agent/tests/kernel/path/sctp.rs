//! SCTP as the path sees it: associations out of packets made by hand, since not every kernel has its sockets.

use weir_model::FlowRow;

use super::node::{CLIENT, CLIENT_IP, Net, SERVER, SERVER_IP, Watched};
use super::packets::{ip4, send_raw};
use crate::bench::sum;

const CLIENT_TAG: u32 = 0x1111_aaaa;
const SERVER_TAG: u32 = 0x2222_bbbb;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const DATA: u8 = 0;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// The association's server port, and packets of both its ends.
struct Association<'a> {
    net: &'a Net,
    port: u16,
}

impl Association<'_> {
    /// A packet with one chunk. The tag in front is the receiver's; INIT has none yet, and says its own.
    fn send(&self, host: usize, kind: u8, body: &[u8]) {
        let (from, to, from_ip, to_ip) = match host {
            CLIENT => (5_000, self.port, CLIENT_IP, SERVER_IP),
            _ => (self.port, 5_000, SERVER_IP, CLIENT_IP),
        };
        let tag = match (kind, host) {
            (INIT, _) => 0,
            (_, CLIENT) => SERVER_TAG,
            _ => CLIENT_TAG,
        };
        let mut packet = [u16::to_be_bytes(from), u16::to_be_bytes(to)].concat();
        packet.extend(tag.to_be_bytes());
        // Routers don't look at the checksum.
        packet.extend([0; 4]);
        packet.extend([kind, 0]);
        packet.extend((4 + body.len() as u16).to_be_bytes());
        packet.extend(body);
        send_raw(self.net, host, vec![ip4(from_ip, to_ip, 132, &packet)]);
    }

    fn open(&self) {
        let init = |tag: u32| [&tag.to_be_bytes()[..], &[0; 12]].concat();
        self.send(CLIENT, INIT, &init(CLIENT_TAG));
        self.send(SERVER, INIT_ACK, &init(SERVER_TAG));
        self.send(CLIENT, COOKIE_ECHO, &[9; 16]);
        self.send(SERVER, COOKIE_ACK, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_is_told_from_init_to_shutdown() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    let association = Association { net: &net, port: 38_412 };
    association.open();
    association.send(CLIENT, DATA, &[1; 112]);
    association.send(SERVER, SACK, &[0; 12]);
    association.send(SERVER, DATA, &[2; 212]);
    association.send(SERVER, SHUTDOWN, &[0; 4]);
    association.send(CLIENT, SHUTDOWN_ACK, &[]);
    association.send(SERVER, SHUTDOWN_COMPLETE, &[]);
    let rows = over(&watched, 38_412).await;
    let row = rows.last().unwrap();
    assert_eq!(row.protocol.as_deref(), Some("sctp"));
    assert_eq!((row.client_ip.as_deref(), row.client_port), (Some(CLIENT_IP), Some(5_000)), "{row:#?}");
    assert_eq!(row.server_ip.as_deref(), Some(SERVER_IP), "{row:#?}");
    assert_eq!(row.connection_id.as_deref(), Some("1111aaaa2222bbbb"), "both initiate tags");
    assert_eq!(row.close_reason.as_deref(), Some("fin"), "{row:#?}");
    assert!(row.opened_time.is_some(), "{row:#?}");
    // Chunks with their heads: INIT, COOKIE ECHO, DATA, SHUTDOWN ACK; and INIT ACK, COOKIE ACK, SACK, DATA, SHUTDOWN, COMPLETE.
    let counted = (sum(&rows, |row| row.client_packets), sum(&rows, |row| row.client_bytes));
    assert_eq!(counted, (4, 20 + 20 + 116 + 4), "{rows:#?}");
    let counted = (sum(&rows, |row| row.server_packets), sum(&rows, |row| row.server_bytes));
    assert_eq!(counted, (6, 20 + 4 + 16 + 216 + 8 + 4), "{rows:#?}");
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_says_who_gave_up() {
    let net = Net::new();
    let watched = Watched::new(&net);
    let probe = watched.probe(&net, &["--interfaces", "in0,out0"]).await;
    let association = Association { net: &net, port: 38_413 };
    association.open();
    association.send(SERVER, ABORT, &[]);
    let rows = over(&watched, 38_413).await;
    let row = rows.last().unwrap();
    assert_eq!(row.close_reason.as_deref(), Some("reset_by_server"), "{row:#?}");
    assert_eq!(row.resets, 1, "{row:#?}");
    probe.stop();
}

async fn over(watched: &Watched, port: u16) -> Vec<FlowRow> {
    let found = |_: &_| watched.path(|row| row.server_port == Some(port));
    let is_over = |rows: &Vec<FlowRow>| rows.iter().any(|row| row.close_reason.is_some());
    watched.keeper.until("its end", found, is_over).await
}
