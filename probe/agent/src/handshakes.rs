//! TLS handshakes: chunks of first bytes → rows, and what a flow's row says about its encryption. Those over UDP are in
//! `handshakes/datagrams.rs`.

mod datagrams;

use std::collections::VecDeque;
use std::sync::Arc;

use smol_str::SmolStr;
use weir_abi::{CertificateHead, ChunkHead, Conn, ROLE_CLIENT, ROLE_SERVER, SIDE_CLIENT};
use weir_dissect::tls::{Conversation, Handshake, Progress, Side};
use weir_model::{FlowRow, TlsHandshakeRow};

use crate::by_cookie::ByCookie;
use crate::clock::Clock;
use crate::ends::{Ends, tcp_id};
use crate::flows::opened;
use crate::identity::Identities;
use crate::reassemble::Stream;
pub(crate) use datagrams::UdpHandshakes;

/// Most connections whose handshake is remembered; more are counted as given up.
const MAX_CONNECTIONS: usize = 131_072;

/// How long a server's library may take until it reads the client's certificate, which came with the handshake's end.
const CERTIFICATE_PATIENCE_NS: u64 = 1_000_000_000;

/// What a flow's row says about its encryption; shared by all that know the connection, since there may be very many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) encryption: SmolStr,
    pub(crate) version: Option<SmolStr>,
    pub(crate) sni: Option<SmolStr>,
    /// Application protocol that was negotiated, or the one that was offered.
    pub(crate) alpn: Option<SmolStr>,
    /// Whether that carries several requests at once; `None` where TLS 1.3 hides which was chosen.
    pub(crate) multiplexed: Option<bool>,
}

impl Facts {
    /// Fills in a flow's columns.
    pub(crate) fn fill(&self, row: &mut FlowRow) {
        row.encryption = Some(self.encryption.clone());
        row.tls_version.clone_from(&self.version);
        row.tls_sni.clone_from(&self.sni);
        row.server_name.clone_from(&self.sni);
    }
}

/// How a connection ended, for a handshake that was not over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) by: Side,
    pub(crate) reset: bool,
    pub(crate) time_ns: i64,
}

#[derive(Default)]
struct Talk {
    /// While bytes are still wanted.
    live: Option<Box<Live>>,
    facts: Option<Arc<Facts>>,
}

struct Live {
    conn: Conn,
    conversation: Conversation,
    streams: [Stream; 2],
    /// It is over; the row waits for the client's certificate.
    waits: bool,
}

/// The handshakes of all open connections, by socket cookie.
#[derive(Default)]
pub(crate) struct Handshakes {
    talks: ByCookie<Talk>,
    /// Handshakes whose bytes had a hole when their connection ended, or that came when there were too many.
    pub(crate) given_up: u64,
    /// Certificates that a library read and that belong to no handshake that we know.
    pub(crate) certificates_given_up: u64,
    /// How many have bytes and no row yet.
    under_way: u64,
    /// Whether libraries are probed.
    has_libraries: bool,
    /// Connections whose row waits for the client's certificate, and until when.
    waiting: VecDeque<(u64, u64)>,
}

impl Handshakes {
    /// With certificates from TLS libraries, if those are probed.
    pub(crate) fn new(has_libraries: bool) -> Handshakes {
        Handshakes { has_libraries, ..Handshakes::default() }
    }

    /// Takes over what an earlier run of the probe knew of a connection.
    pub(crate) fn restore(&mut self, cookie: u64, facts: Arc<Facts>) {
        self.talks.insert(cookie, Talk { live: None, facts: Some(facts) });
    }

    /// How many have bytes and no row yet.
    pub(crate) fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Takes bytes; a row when the handshake is over.
    pub(crate) fn bytes(
        &mut self,
        head: &ChunkHead,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Option<TlsHandshakeRow> {
        if self.talks.len() >= MAX_CONNECTIONS && !self.talks.contains_key(&head.conn.cookie) {
            self.given_up += 1;
            return None;
        }
        let talk = self.talks.entry(head.conn.cookie).or_insert_with(|| {
            self.under_way += 1;
            let live = Live {
                conn: head.conn,
                conversation: Conversation::new(),
                streams: <[Stream; 2]>::default(),
                waits: false,
            };
            Talk { live: Some(Box::new(live)), facts: None }
        });
        let live = talk.live.as_mut().filter(|live| !live.waits)?;
        let side = if head.side == SIDE_CLIENT { Side::Client } else { Side::Server };
        // The kernel's clock, until there is a row: nothing between two of these times may jump.
        let time_ns = head.time_ns as i64;
        let mut progress = Progress::NeedMore;
        let conversation = &mut live.conversation;
        live.streams[usize::from(head.side != SIDE_CLIENT)].push(head.offset, bytes, |bytes| {
            progress = conversation.push(side, time_ns, bytes);
        });
        match progress {
            Progress::NeedMore => {
                talk.facts = live.conversation.handshake().map(facts);
                None
            }
            Progress::NotTls => {
                self.under_way -= 1;
                talk.live = None;
                None
            }
            Progress::Done => {
                let hides = live.conversation.handshake().is_some_and(Handshake::hides_client_certificate);
                if self.has_libraries && hides && live.conn.role == ROLE_SERVER {
                    live.waits = true;
                    talk.facts = live.conversation.handshake().map(facts);
                    self.waiting.push_back((head.time_ns + CERTIFICATE_PATIENCE_NS, head.conn.cookie));
                    return None;
                }
                self.under_way -= 1;
                talk.finish(context)
            }
        }
    }

    /// Takes a certificate that this end's TLS library read, so the other end's; a row when the handshake waited for it.
    pub(crate) fn certificate(
        &mut self,
        head: &CertificateHead,
        der: &[u8],
        context: &mut Context<'_>,
    ) -> Option<TlsHandshakeRow> {
        let talk = self.talks.get_mut(&head.cookie).filter(|talk| talk.live.is_some());
        let Some(talk) = talk else {
            self.certificates_given_up += 1;
            return None;
        };
        let live = talk.live.as_mut()?;
        let shown_by = if live.conn.role == ROLE_CLIENT { Side::Server } else { Side::Client };
        if !live.conversation.read_by_library(shown_by, head.received as usize, der) {
            self.certificates_given_up += 1;
            return None;
        }
        talk.facts = live.conversation.handshake().map(facts);
        if !live.waits {
            return None;
        }
        self.under_way -= 1;
        talk.finish(context)
    }

    /// Rows that waited long enough for a client's certificate, at the probe's end all that wait.
    pub(crate) fn expire(
        &mut self,
        now: u64,
        stopping: bool,
        context: &mut Context<'_>,
        rows: &mut Vec<TlsHandshakeRow>,
    ) {
        while let Some((until, cookie)) = self.waiting.front().copied()
            && (stopping || until <= now)
        {
            self.waiting.pop_front();
            // Its connection may have ended, or its certificate come.
            let Some(talk) = self.talks.get_mut(&cookie) else { continue };
            if talk.live.as_ref().is_some_and(|live| live.waits) {
                self.under_way -= 1;
                rows.extend(talk.finish(context));
            }
        }
    }

    /// What is known of a connection's encryption.
    pub(crate) fn facts(&self, cookie: u64) -> Option<&Facts> {
        self.shared_facts(cookie).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub(crate) fn shared_facts(&self, cookie: u64) -> Option<&Arc<Facts>> {
        self.talks.get(&cookie)?.facts.as_ref()
    }

    /// The connection is over: a row, if its handshake had begun and was not reported.
    pub(crate) fn closed(
        &mut self,
        cookie: u64,
        ending: Ending,
        context: &mut Context<'_>,
    ) -> Option<TlsHandshakeRow> {
        let mut talk = self.talks.swap_remove(&cookie)?;
        let live = talk.live.as_mut()?;
        self.under_way -= 1;
        // Bytes after a hole in what never was TLS are none of a handshake.
        let is_tls = live.conversation.handshake().is_some();
        if is_tls && live.streams.iter().any(Stream::has_gap) {
            self.given_up += 1;
        }
        live.conversation.closed(Some(ending.by), ending.reset, ending.time_ns);
        talk.finish(context)
    }

    /// The connections of which something is known.
    pub(crate) fn cookies(&self) -> impl Iterator<Item = u64> {
        self.talks.keys().copied()
    }

    /// Forgets connections that are no longer there (their end was lost).
    pub(crate) fn retain(&mut self, is_alive: impl Fn(u64) -> bool) {
        self.talks.retain(|cookie, _| is_alive(*cookie));
        self.under_way = self.talks.values().filter(|talk| talk.live.is_some()).count() as u64;
    }
}

impl Talk {
    fn finish(&mut self, context: &mut Context<'_>) -> Option<TlsHandshakeRow> {
        let live = self.live.take()?;
        let handshake = live.conversation.handshake()?;
        self.facts = Some(facts(handshake));
        let mut row = TlsHandshakeRow::default();
        handshake.fill(&mut row);
        row.time = context.clock.utc(row.time as u64);
        let conn = &live.conn;
        let holder = context.identities.holder(&conn.owner);
        Ends::of(conn).fill_handshake(&mut row, context.node, holder);
        row.connection_id = Some(tcp_id(conn, context.node, opened(conn)));
        row.protocol = Some(SmolStr::new_static("tcp"));
        row.connect_us = (conn.connect_us > 0).then_some(i64::from(conn.connect_us));
        row.source = Some(SmolStr::new_static("probe"));
        Some(row)
    }
}

/// What every row is made with.
pub(crate) struct Context<'a> {
    pub(crate) node: &'a SmolStr,
    pub(crate) clock: Clock,
    pub(crate) identities: &'a mut Identities,
}

fn facts(handshake: &Handshake) -> Arc<Facts> {
    let offered = &handshake.alpn_offered;
    // Of several that were offered none is known to be chosen; where none was, nothing is multiplexed.
    let alpn = handshake.alpn.as_ref().or(if offered.len() == 1 { offered.first() } else { None });
    let is_multiplexed = |name: &SmolStr| name == "h2";
    let multiplexed = match alpn {
        Some(name) => Some(is_multiplexed(name)),
        None if offered.iter().any(is_multiplexed) && handshake.version.as_deref() == Some("1.3") => None,
        None => Some(false),
    };
    Arc::new(Facts {
        encryption: SmolStr::new_static(handshake.encryption()),
        version: handshake.version.clone(),
        sni: handshake.sni.clone(),
        alpn: alpn.cloned(),
        multiplexed,
    })
}
