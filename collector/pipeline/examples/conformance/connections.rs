//! Connections against Zeek's conn.log: whether each is found and no other, who opened it, its packets and payload bytes,
//! how long it lasted, how it was opened and how it ended. What a log was cut down to is all that is known of it.
//!
//! Where Zeek counts otherwise by its own rules, the answer is set aside under that rule, with the rule written out
//! ([`Rule`]); nothing is left out for any other reason.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;
use weir_collector::receive::pcap;
use weir_dissect::tcp::LINGER_NS;
use weir_model::FlowRow;
use weir_model::time::SECOND_NS;

use super::report::Report;
use super::zeek::{self, Line};
use super::{End, Ends, end, list};

const FIELDS: [&str; 11] = [
    "found",
    "no others",
    "client",
    "client packets",
    "server packets",
    "client bytes",
    "server bytes",
    "duration",
    "conn_state",
    "opening",
    "close",
];
const WANTED: f64 = 0.995;

/// Where Zeek's answer is to another question than ours.
struct Rule;

impl Rule {
    const ICMP: &str =
        "ICMP has no connections; Zeek pairs messages by type and code, we leave them to `ignored`";
    const NO_PORTS: &str = "a protocol that has no ports (OSPF, VRRP) makes no flows";
    const OUTER: &str = "a tunnel's outside: we tell what goes through it, Zeek that too";
    const CHECKSUM: &str =
        "Zeek leaves packets with a wrong checksum out; a sender's own capture has them everywhere";
    const TAIL: &str =
        "Zeek counts on to the last packet; the connection ended before, within the time for stragglers";
    const LIVING: &str =
        "nothing came in the last interval: our row ends with the one before, Zeek's with the last packet";
    const SPLIT: &str = "Zeek forgets a connection at once after a reset, or 5 s after a SYN that it saw no answer to, and \
                         takes what still comes for others: compared as one, which has no duration in Zeek";
    const SKIPPED: &str = "Zeek stops looking at GridFTP's data connections once it knows them for that";
    const UNREAD: &str = "Zeek counted no packet of it, since a capture's snapshot length cut its header";
    const RESET_THEN_FIN: &str =
        "a reset between the two FINs: Zeek calls it SF once the other FIN has come, for us it was reset";
    const NAMELESS: &str = "the log names no ends, and has not as many lines as we have connections";
}

/// Lines that are looked up by hand: file, the ends' ports, why they are not compared.
const LOOKED_UP: [(&str, u16, u16, &str); 2] = [
    (
        "gre-aruba-amsdu.pcap",
        443,
        49392,
        "several packets in one 802.11 frame (A-MSDU), which we don't take apart: counted as `not_ip`",
    ),
    (
        "misordered-ntp.pcap",
        123,
        123,
        "there is one datagram each way, the server's first; Zeek turned the ends around and left the counts",
    ),
];

/// A connection, as our rows add up.
struct Ours {
    protocol: String,
    ends: (End, End),
    packets: [i64; 2],
    bytes: [i64; 2],
    first_ns: i64,
    end_ns: i64,
    opened: bool,
    close: Option<String>,
}

/// Prints the scores; whether they are good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut report = Report::default();
    let mut captures = 0;
    for capture in list(manifest, "captures") {
        let log = zeek::log(folder, capture, "conn");
        let Some(file) = capture["file"].as_str().filter(|_| !log.is_empty()) else { continue };
        captures += 1;
        match connections(&folder.join(file)) {
            Ok(ours) => compare(file, log, ours, &mut report),
            Err(err) => report.miss(format!("{file}: {err}")),
        }
    }
    report.print(&format!("{captures} captures with Zeek's conn.log"), &FIELDS, WANTED)
}

/// The connections of a capture, in the order of their first packets.
fn connections(path: &Path) -> Result<Vec<Ours>, Box<dyn std::error::Error>> {
    let mut rows: Vec<FlowRow> = Vec::new();
    let on_rows = |ready: pcap::Rows| {
        rows.extend(ready.flows);
        ControlFlow::Continue(())
    };
    // As long as Zeek waits for another datagram; an option of the import, not another way to count.
    let options = pcap::Options { udp_idle_ns: 60 * SECOND_NS, ..pcap::Options::default() };
    // Time goes on behind the capture's end, so that a UDP flow is told to be over, and when it was.
    let mut later = Some(i64::MAX / 4);
    pcap::follow(File::open(path)?, options, || later.take(), on_rows, |_| {})?;
    let mut found: Vec<Ours> = Vec::new();
    let mut known: HashMap<_, usize> = HashMap::new();
    for row in rows {
        let ends = row.ends().ok_or("a row without ends")?;
        let at = *known.entry((row.connection_id.clone(), ends)).or_insert_with(|| {
            found.push(Ours {
                protocol: row.protocol.as_deref().unwrap_or_default().to_owned(),
                ends,
                packets: [0; 2],
                bytes: [0; 2],
                first_ns: row.time,
                end_ns: row.time,
                opened: row.opened_time.is_some(),
                close: None,
            });
            found.len() - 1
        });
        let ours = &mut found[at];
        for (sum, more) in ours.packets.iter_mut().zip([row.client_packets, row.server_packets]) {
            *sum += more;
        }
        for (sum, more) in ours.bytes.iter_mut().zip([row.client_bytes, row.server_bytes]) {
            *sum += more;
        }
        ours.first_ns = ours.first_ns.min(row.opened_time.unwrap_or(row.time));
        ours.end_ns = row.end_time.unwrap_or(row.time);
        ours.close = row.close_reason.map(|reason| reason.to_string());
    }
    found.sort_by_key(|ours| ours.first_ns);
    Ok(found)
}

fn compare(file: &str, log: Vec<Line>, mut ours: Vec<Ours>, report: &mut Report) {
    if log.iter().all(|line| ends(line).is_none()) {
        return compare_nameless(file, &log, &ours, report);
    }
    for line in whole(file, log, &ours, report) {
        let Some((client, server)) = ends(&line) else { continue };
        let text = |name: &str| line.get(name).map(String::as_str).unwrap_or_default();
        let what = format!("{file} {} {}:{} > {}:{}", text("proto"), client.0, client.1, server.0, server.1);
        let protocol = match (text("proto"), text("ip_proto")) {
            ("icmp", _) => {
                report.set_aside(Rule::ICMP, what);
                continue;
            }
            ("unknown_transport", "132") => "sctp",
            ("unknown_transport", _) => {
                report.set_aside(Rule::NO_PORTS, what);
                continue;
            }
            (protocol, _) => protocol,
        };
        let looked_up = |(name, from, to, _): &&(&str, u16, u16, &str)| {
            file.ends_with(name) && (client.1, server.1) == (*from, *to)
        };
        let why = match (text("history"), text("service")) {
            _ if is_tunnel(&line) => Some(Rule::OUTER),
            (_, service) if service.contains("gridftp-data") => Some(Rule::SKIPPED),
            _ if text("orig_pkts") == "0" && text("resp_pkts") == "0" && text("history").is_empty() => {
                Some(Rule::UNREAD)
            }
            (history, _) if history.starts_with('C') => Some(Rule::CHECKSUM),
            _ => LOOKED_UP.iter().find(looked_up).map(|(_, _, _, why)| *why),
        };
        if let Some(why) = why {
            report.set_aside(why, what);
            ours.retain(|ours| ours.ends != (client, server) && ours.ends != (server, client));
            continue;
        }
        let is_it = |ours: &Ours| {
            // Zeek's SCTP has no ports.
            let same = |end: End, theirs: End| end.0 == theirs.0 && (end.1 == theirs.1 || protocol == "sctp");
            let (left, right) = ours.ends;
            ours.protocol == protocol
                && (same(left, client) && same(right, server) || same(left, server) && same(right, client))
        };
        let candidates = (0..ours.len()).filter(|index| is_it(&ours[*index]));
        let found =
            candidates.max_by_key(|index| agreement(&line, &ours[*index])).map(|index| ours.remove(index));
        match found {
            Some(mut found) => {
                if protocol == "sctp" {
                    (found.ends.0.1, found.ends.1.1) = (0, 0);
                }
                report.count("found", true, String::new);
                report.count("no others", true, String::new);
                fields(&what, &line, (client, server), &found, report);
            }
            None => report.count("found", false, || format!("{what}: no such connection")),
        }
    }
    for ours in ours {
        report.count("no others", false, || {
            format!("{file} {} {:?}: Zeek has none, we {}", ours.protocol, ours.ends, told(&ours))
        });
    }
}

/// Where a log has no ends, its lines are told by Zeek's ids, which its tests give out in a fixed order.
fn compare_nameless(file: &str, log: &[Line], ours: &[Ours], report: &mut Report) {
    const IDS: [&str; 4] =
        ["CHhAvVGS1DHFjwGM9", "ClEkJM2Vm5giqnMf4h", "C4J4Th3PJpwUYZZ6gc", "CtPZjS20MLrsMUOJi2"];
    for line in log {
        let what = format!("{file} {line:?}");
        let index =
            IDS.iter().position(|id| line.get("uid").is_some_and(|uid| uid == id)).unwrap_or_default();
        match ours.get(index).filter(|_| log.len() == ours.len()) {
            Some(ours) => fields(&what, line, ours.ends, ours, report),
            None => report.set_aside(Rule::NAMELESS, what),
        }
    }
}

/// Connections that Zeek tells in more parts than we do, as one.
fn whole(file: &str, log: Vec<Line>, ours: &[Ours], report: &mut Report) -> Vec<Line> {
    let mut merged: Vec<Line> = Vec::new();
    let mut surplus: HashMap<(End, End), usize> = HashMap::new();
    for ends in log.iter().filter_map(ends) {
        *surplus.entry(ends).or_default() += 1;
    }
    for (ends, lines) in &mut surplus {
        let parts = ours.iter().filter(|ours| ours.ends == *ends).count();
        *lines = lines.saturating_sub(parts.max(1));
    }
    for line in log {
        let before = merged.iter_mut().find(|before| ends(before) == ends(&line));
        let surplus = ends(&line).and_then(|ends| surplus.get_mut(&ends)).filter(|surplus| **surplus > 0);
        let (Some(before), Some(surplus)) = (before, surplus) else {
            merged.push(line);
            continue;
        };
        *surplus -= 1;
        report.set_aside(Rule::SPLIT, format!("{file} {:?}", ends(&line)));
        for name in ["orig_pkts", "resp_pkts", "orig_bytes", "resp_bytes"] {
            let sum: i64 =
                [&*before, &line].iter().filter_map(|line| line.get(name)?.parse::<i64>().ok()).sum();
            before.insert(name.to_owned(), sum.to_string());
        }
        let history = format!("{}{}", before["history"], line["history"]);
        before.insert("history".to_owned(), history);
        if before.get("conn_state").is_some_and(|state| state == "S0") {
            before.insert("conn_state".to_owned(), line["conn_state"].clone());
        }
        before.remove("duration");
    }
    merged
}

fn ends(line: &Line) -> Option<(End, End)> {
    let of = |address: &str, port: &str| {
        end(Some(&line.get(address)?.as_str().into()), line.get(port)?.parse().ok())
    };
    Some((of("id.orig_h", "id.orig_p")?, of("id.resp_h", "id.resp_p")?))
}

fn is_tunnel(line: &Line) -> bool {
    let service = line.get("service").map(String::as_str).unwrap_or_default();
    ["vxlan", "geneve", "gtpv1", "ayiya", "teredo"].contains(&service)
}

fn agreement(line: &Line, ours: &Ours) -> (usize, i64) {
    let agrees =
        |(name, value): (&str, i64)| line.get(name).is_some_and(|theirs| *theirs == value.to_string());
    let count = numbers(ours).into_iter().filter(|(_, name, value)| agrees((name, *value))).count();
    // The closest in time, of those that agree alike.
    let theirs = line.get("duration").and_then(|text| micros(text)).unwrap_or_default();
    (count, -((ours.end_ns - ours.first_ns) / 1000 - theirs).abs())
}

fn numbers(ours: &Ours) -> [(&'static str, &'static str, i64); 4] {
    [
        ("client packets", "orig_pkts", ours.packets[0]),
        ("server packets", "resp_pkts", ours.packets[1]),
        ("client bytes", "orig_bytes", ours.bytes[0]),
        ("server bytes", "resp_bytes", ours.bytes[1]),
    ]
}

fn fields(what: &str, line: &Line, (client, _): (End, End), ours: &Ours, report: &mut Report) {
    let is_client = ours.ends.0 == client || ours.protocol == "sctp" && ours.ends.0.0 == client.0;
    report.count("client", is_client, || format!("{what}: we have {:?} as client", ours.ends.0));
    if !is_client {
        return;
    }
    for (field, name, value) in numbers(ours) {
        let Some(theirs) = line.get(name) else { continue };
        // Zeek reads no SCTP: it has no bytes of it.
        if ours.protocol != "sctp" || !field.ends_with("bytes") {
            report.count(field, *theirs == value.to_string(), || {
                format!("{what} {field}: {theirs}, we {value}")
            });
        }
    }
    if let Some(theirs) = line.get("duration").and_then(|text| micros(text)) {
        duration(what, theirs, ours, report);
    }
    if let Some(state) = line.get("conn_state").filter(|_| ours.protocol != "sctp") {
        let was_reset =
            line.get("history").and_then(|history| close_of(history)).filter(|close| *close != "fin");
        if state == "SF" && was_reset.is_some() && was_reset == ours.close.as_deref() {
            report.set_aside(Rule::RESET_THEN_FIN, what.to_owned());
        } else {
            let miss = || format!("{what} conn_state: {state}, we {}", told(ours));
            report.count("conn_state", has_state(ours, state), miss);
        }
    }
    if let Some(history) = line.get("history").filter(|_| ours.protocol == "tcp") {
        let opened = history.contains('S');
        report.count("opening", opened == ours.opened, || {
            format!("{what} opening: {history}, we {}", told(ours))
        });
        let close = close_of(history);
        report.count("close", close == ours.close.as_deref(), || {
            format!("{what} close: {history}, we {}", told(ours))
        });
    }
}

fn duration(what: &str, theirs: i64, ours: &Ours, report: &mut Report) {
    let got = (ours.end_ns - ours.first_ns) / 1000;
    let what = format!("{what} duration: {theirs} us, we {got} us");
    if ours.close.is_none() && ours.end_ns % pcap::Options::default().interval_ns == 0 {
        report.set_aside(Rule::LIVING, what);
    } else if ours.protocol == "tcp" && (got + 1..=got + LINGER_NS / 1000).contains(&theirs) {
        report.set_aside(Rule::TAIL, what);
    } else {
        report.count("duration", got == theirs, || what);
    }
}

/// Zeek's seconds, with six decimals, as µs.
fn micros(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.')?;
    Some(seconds.parse::<i64>().ok()? * 1_000_000 + fraction.parse::<i64>().ok()?)
}

/// Whether our connection is in the state that Zeek calls so.
fn has_state(ours: &Ours, state: &str) -> bool {
    let close = ours.close.as_deref();
    if ours.protocol == "udp" {
        let spoke = ours.packets.map(|packets| packets > 0);
        return spoke == [state != "SHR", state != "S0"];
    }
    match state {
        "SF" => close == Some("fin"),
        "S0" => ours.opened && ours.packets[1] == 0 && matches!(close, None | Some("timed_out")),
        "S1" | "S2" | "S3" => ours.opened && ours.packets[1] > 0 && close.is_none(),
        "SH" => ours.packets[1] == 0 && close.is_none(),
        "SHR" => ours.packets[0] == 0 && close.is_none(),
        "REJ" => close == Some("refused"),
        "RSTO" | "RSTOS0" => close == Some("reset_by_client"),
        "RSTR" | "RSTRH" => close == Some("reset_by_server"),
        "OTH" => !ours.opened && close.is_none(),
        _ => false,
    }
}

/// What a history says of the end, by the order of its letters: F is the client's FIN, r the server's reset.
fn close_of(history: &str) -> Option<&'static str> {
    let mut finished = [false; 2];
    for letter in history.chars() {
        match letter {
            'F' => finished[0] = true,
            'f' => finished[1] = true,
            'R' => return Some("reset_by_client"),
            'r' if history.starts_with("Sr") => return Some("refused"),
            'r' => return Some("reset_by_server"),
            _ => {}
        }
        if finished == [true; 2] {
            return Some("fin");
        }
    }
    None
}

fn told(ours: &Ours) -> String {
    let Ours { opened, close, packets, .. } = ours;
    format!("opened {opened}, close {}, packets {packets:?}", close.as_deref().unwrap_or("none"))
}
