//! DNS as tshark reads it, and a comparison of our rows with it, field by field.
//!
//! Compared: every question and answer on port 53 that tshark shows, but no copies that it calls retransmissions, since
//! we tell an exchange once. Names are compared in lower case, as rows have them; answers as a set, since tshark's
//! output is a map; of record types that tshark shows in another form than zone files only the type is.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use weir_collector::receive::pcap;
use weir_dissect::dns::{response_code_name, type_name};
use weir_model::DnsRow;

/// What is compared.
pub(crate) const FIELDS: [&str; 5] = ["question", "type", "rcode", "answers", "latency"];

/// How our rows of one capture compare.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// By field: right, known.
    pub(crate) scores: BTreeMap<&'static str, (usize, usize)>,
    /// Each difference.
    pub(crate) misses: Vec<String>,
    /// Rows of exchanges that tshark doesn't show.
    pub(crate) surplus: Vec<String>,
}

/// An exchange: both ends and the id, then the fields in the order of [`FIELDS`].
#[derive(Clone, Debug, PartialEq)]
struct Exchange {
    key: (String, IpAddr, u64, IpAddr, u64, u64),
    answered: bool,
    fields: [Option<String>; 5],
}

/// Imports a capture and compares.
pub(crate) fn compare(path: &Path) -> Result<Comparison, Box<dyn Error>> {
    let mut rows = Vec::new();
    let on_rows = |ready: pcap::Rows| {
        rows.extend(ready.dns);
        ControlFlow::Continue(())
    };
    pcap::import(File::open(path)?, pcap::Options::default(), on_rows, |_| {})?;
    let mut ours: Vec<Exchange> = rows.iter().filter_map(of_row).collect();
    let mut comparison = Comparison::default();
    for theirs in exchanges(path)? {
        let same = |ours: &Exchange| ours.key == theirs.key && ours.answered == theirs.answered;
        let agreement = |ours: &Exchange| {
            ours.fields.iter().zip(&theirs.fields).filter(|(ours, theirs)| ours == theirs).count()
        };
        let candidates = (0..ours.len()).filter(|index| same(&ours[*index]));
        let found = candidates.max_by_key(|index| agreement(&ours[*index])).map(|index| ours.remove(index));
        for (index, field) in FIELDS.into_iter().enumerate() {
            let Some(wanted) = &theirs.fields[index] else { continue };
            let got = found.as_ref().and_then(|found| found.fields[index].as_ref());
            let score = comparison.scores.entry(field).or_default();
            score.1 += 1;
            if got == Some(wanted) {
                score.0 += 1;
            } else {
                comparison.misses.push(format!("{:?} {field}: tshark says {wanted}, we {got:?}", theirs.key));
            }
        }
    }
    comparison.surplus = ours.iter().map(|ours| format!("{ours:?}")).collect();
    Ok(comparison)
}

fn of_row(row: &DnsRow) -> Option<Exchange> {
    let latency = row.latency_us.map(|latency_us| latency_us.to_string());
    let text = |value: &Option<weir_model::SmolStr>| value.as_ref().map(ToString::to_string);
    let mut answers: Vec<String> = row
        .answers
        .iter()
        .zip(&row.answer_types)
        .map(|(data, kind)| comparable(kind, data.to_string()))
        .collect();
    answers.sort();
    let answered = row.response_code.is_some();
    Some(Exchange {
        key: (
            text(&row.protocol)?,
            row.client_ip.as_ref()?.parse().ok()?,
            u64::from(row.client_port?),
            row.server_ip.as_ref()?.parse().ok()?,
            u64::from(row.server_port?),
            row.transaction_id? as u64,
        ),
        answered,
        fields: [
            text(&row.question),
            text(&row.question_type),
            text(&row.response_code),
            answered.then(|| answers.join("|")),
            latency,
        ],
    })
}

/// What tshark says is in a capture.
fn exchanges(path: &Path) -> Result<Vec<Exchange>, Box<dyn Error>> {
    // What quotes a packet (ICMP's errors) is none.
    let filter = "dns && (udp.port == 53 || tcp.port == 53) && !icmp && !icmpv6";
    let output = Command::new("tshark")
        .args(["-n", "-2", "-T", "json", "--no-duplicate-keys", "-Y", filter, "-r"])
        .arg(path)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let packets: Value = serde_json::from_slice(&output.stdout)?;
    let mut all = Vec::new();
    for packet in packets.as_array().into_iter().flatten() {
        let layers = &packet["_source"]["layers"];
        for message in many(&layers["dns"]) {
            all.extend(of_message(layers, message));
        }
    }
    // Of a packet that was cut tshark reads the message but ties it to no other.
    let loose: Vec<_> =
        all.iter().filter(|one: &&Exchange| one.answered && one.fields[4].is_none()).cloned().collect();
    all.retain(|one| one.answered || !loose.iter().any(|answer| answer.key == one.key));
    Ok(all)
}

/// An answer, or a question without one.
fn of_message(layers: &Value, message: &Value) -> Option<Exchange> {
    let flags = &message["dns.flags_tree"];
    let is_answer = flags["dns.flags.response"] == "1";
    let is_copy = ["dns.retransmit_request", "dns.retransmit_response", "dns.retransmission"]
        .iter()
        .any(|field| !message[field].is_null());
    if is_copy || !is_answer && !message["dns.response_in"].is_null() {
        return None;
    }
    let protocol = if layers["udp"].is_null() { "tcp" } else { "udp" };
    // The innermost, where there are tunnels.
    let last = |value: &Value| many(value).last().cloned();
    let transport = last(&layers[protocol])?;
    let ip = last(&layers["ip"]).map(|ip| (ip["ip.src"].clone(), ip["ip.dst"].clone()));
    let ip =
        ip.or_else(|| last(&layers["ipv6"]).map(|ip| (ip["ipv6.src"].clone(), ip["ipv6.dst"].clone())))?;
    let address = |value: &Value| Some(value.as_str()?.parse::<IpAddr>().ok()?.to_canonical());
    let end =
        |ip: &Value, port: &str| Some((address(ip)?, number(&transport[format!("{protocol}.{port}")])?));
    let (src, dst) = (end(&ip.0, "srcport")?, end(&ip.1, "dstport")?);
    if src.1 != 53 && dst.1 != 53 {
        return None;
    }
    let (client, server) = if is_answer { (dst, src) } else { (src, dst) };
    let question = message["Queries"].as_object().and_then(|queries| queries.values().next());
    let question = question.and_then(|question| many(question).next());
    let mut answers: Vec<String> = message["Answers"]
        .as_object()
        .into_iter()
        .flat_map(|answers| answers.values().flat_map(many))
        .map(|record| answer(record).unwrap_or_else(|| format!("unread: {record}")))
        .collect();
    answers.sort();
    // EDNS has the upper bits of the code; tshark shows them apart.
    let upper = message["Additional records"].as_object().and_then(|records| {
        records.values().flat_map(many).find_map(|record| number(&record["dns.resp.ext_rcode"]))
    });
    let code = number(&flags["dns.flags.rcode"]).unwrap_or(0) | upper.unwrap_or(0) << 4;
    let latency = message["dns.time"].as_str().and_then(|text| text.parse::<f64>().ok());
    Some(Exchange {
        key: (protocol.to_owned(), client.0, client.1, server.0, server.1, number(&message["dns.id"])?),
        answered: is_answer,
        fields: [
            question.map(|question| name(&question["dns.qry.name"])),
            question
                .and_then(|question| Some(type_name(number(&question["dns.qry.type"])? as u16).to_string())),
            is_answer.then(|| response_code_name(code as u16).to_string()),
            is_answer.then(|| answers.join("|")),
            // In whole ns, without what the form of a fraction adds.
            latency.map(|seconds| ((seconds * 1e9).round() as i64 / 1000).to_string()),
        ],
    })
}

/// A record as our rows have it.
fn answer(record: &Value) -> Option<String> {
    let kind = number(&record["dns.resp.type"])? as u16;
    let text = |field: &str| record[field].as_str().map(str::to_owned);
    let data = match kind {
        1 => text("dns.a")?,
        28 => record["dns.aaaa"].as_str()?.parse::<IpAddr>().ok()?.to_string(),
        2 => name(&record["dns.ns"]),
        5 => name(&record["dns.cname"]),
        12 => name(&record["dns.ptr.domain_name"]),
        39 => name(&record["dns.dname"]),
        6 => {
            let numbers =
                ["serial_number", "refresh_interval", "retry_interval", "expire_limit", "mininum_ttl"]
                    .map(|field| text(&format!("dns.soa.{field}")).unwrap_or_default());
            format!(
                "{} {} {}",
                name(&record["dns.soa.mname"]),
                name(&record["dns.soa.rname"]),
                numbers.join(" ")
            )
        }
        15 => format!("{} {}", text("dns.mx.preference")?, name(&record["dns.mx.mail_exchange"])),
        16 => many(&record["dns.txt"])
            .filter_map(|text| {
                Some(format!("\"{}\"", text.as_str()?.replace('\\', "\\\\").replace('"', "\\\"")))
            })
            .collect::<Vec<_>>()
            .join(" "),
        33 => format!(
            "{} {} {} {}",
            text("dns.srv.priority")?,
            text("dns.srv.weight")?,
            text("dns.srv.port")?,
            name(&record["dns.srv.target"])
        ),
        _ => String::new(),
    };
    Some(comparable(&type_name(kind), data))
}

/// Type and data; the type alone where forms differ, and as much of long ones as rows keep.
fn comparable(kind: &str, mut data: String) -> String {
    let is_compared = ["A", "AAAA", "NS", "CNAME", "PTR", "DNAME", "SOA", "MX", "TXT", "SRV"].contains(&kind);
    if !is_compared {
        return kind.to_owned();
    }
    data.truncate(1024);
    format!("{kind} {data}")
}

fn name(value: &Value) -> String {
    match value.as_str().unwrap_or_default() {
        "<Root>" | "" => ".".to_owned(),
        name => name.to_ascii_lowercase(),
    }
}

fn number(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
}

/// The value, or each of an array's.
fn many(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Null => [].iter(),
        Value::Array(values) => values.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}
