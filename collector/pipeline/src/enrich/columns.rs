//! A batch's columns with the names filled in. Column by column, and one look at the history for each holder of a batch:
//! rows repeat a lot.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::Int32Type;
use weir_identity::{Answer, Fixed, History, Holders};
use weir_model::kinds::{Kind, Port, Text, Time};
use weir_model::{DataKind, SmolStr};

use super::tables::{End, Ends, IDENTITY, NAME, NODE, POD};

/// What could not be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Pods by UID, with the time of their newest row.
    pub(super) pods: HashMap<SmolStr, i64>,
    /// Ends of rows: those of these pods, and addresses of pod networks that nobody is known to have had.
    pub(super) ends: u64,
}

/// The batch with its names, where there are any to add, and what could not be told. `is_in_cluster`: what Kubernetes
/// doesn't know is outside of it.
pub(super) fn name(
    batch: &RecordBatch,
    table: &Ends,
    history: &History,
    fixed: &Fixed,
    is_in_cluster: bool,
) -> (Option<RecordBatch>, Missing) {
    let mut missing = Missing::default();
    let Some(times) = batch.column_by_name("time").and_then(Time::values) else { return (None, missing) };
    let span = (times.iter().copied().min().unwrap_or(0), times.iter().copied().max().unwrap_or(0));
    let asked = Asked { history, fixed, is_in_cluster, times: &times, span };
    let mut named = Vec::new();
    let mut identities = Vec::new();
    for end in table.ends {
        let mut filled = asked.end(batch, end, &mut missing);
        if table.has_direction && is_in_cluster {
            identities.push((filled.column(IDENTITY).clone(), filled.column(NODE).clone()));
        }
        let Filled { columns, is_changed, .. } = filled;
        for ((name, column), is_changed) in end.filled.into_iter().zip(columns).zip(is_changed) {
            if let Some(column) = column.filter(|_| is_changed && !name.is_empty()) {
                named.push((name, column));
            }
        }
    }
    if table.has_direction
        && is_in_cluster
        && let [client, server] = identities.as_slice()
    {
        let direction = (0..times.len()).map(|row| direction(client, server, row).map(SmolStr::new_static));
        let own = values(batch, "direction", times.len());
        let told: Vec<Option<SmolStr>> = direction.zip(&own).map(|(new, own)| new.or(own.clone())).collect();
        if told != own {
            named.push(("direction", told));
        }
    }
    let named = if named.is_empty() { None } else { with_columns(batch, named) };
    (named, missing)
}

/// One batch's questions.
struct Asked<'a> {
    history: &'a History,
    fixed: &'a Fixed,
    is_in_cluster: bool,
    times: &'a [i64],
    /// The first and the last of them.
    span: (i64, i64),
}

/// One end's columns, in the order of [`End::filled`]; each is read when somebody asks for it.
struct Filled<'a> {
    batch: &'a RecordBatch,
    names: [&'static str; 8],
    columns: [Option<Vec<Option<SmolStr>>>; 8],
    is_changed: [bool; 8],
}

impl Filled<'_> {
    fn column(&mut self, place: usize) -> &mut Vec<Option<SmolStr>> {
        let read = || values(self.batch, self.names[place], self.batch.num_rows());
        self.columns[place].get_or_insert_with(read)
    }

    fn get(&mut self, place: usize, row: usize) -> Option<&SmolStr> {
        self.column(place)[row].as_ref()
    }

    fn set(&mut self, place: usize, row: usize, text: Option<SmolStr>) {
        let own = &mut self.column(place)[row];
        if *own != text {
            *own = text;
            self.is_changed[place] = true;
        }
    }
}

impl Asked<'_> {
    fn end<'b>(&self, batch: &'b RecordBatch, end: &End, missing: &mut Missing) -> Filled<'b> {
        let rows = self.times.len();
        let columns = [const { None }; 8];
        let mut filled = Filled { batch, names: end.filled, columns, is_changed: [false; 8] };
        let (uids, addresses) = (Distinct::of(batch, end.uid), Distinct::of(batch, end.ip));
        let ports = batch.column_by_name(end.port).and_then(Port::values).unwrap_or_else(|| vec![None; rows]);
        let sni = values(batch, end.sni, rows);
        let pods: Vec<Option<Answer>> = uids
            .texts
            .iter()
            .map(|uid| self.history.pod_by_uid(uid.as_deref()?, *self.times.first()?))
            .collect();
        let holders: Vec<Option<Address<'_>>> =
            addresses.texts.iter().map(|text| self.address(text.as_deref()?)).collect();
        let mut described: HashMap<_, Answer> = HashMap::new();
        for row in 0..rows {
            let at = self.times[row];
            if let Some(key) = uids.key(row) {
                match (&pods[key], &uids.texts[key]) {
                    (Some(answer), _) => fill(&mut filled, row, answer, true),
                    // A name: who sent it has asked already.
                    (None, Some(uid)) if self.is_in_cluster && is_uid(uid) => missing.note(uid, at),
                    (None, _) => {}
                }
                continue;
            }
            let Some(address) = addresses.key(row).and_then(|key| holders[key].as_ref()) else { continue };
            let is_process = filled.get(IDENTITY, row).is_some_and(|own| own == "process");
            let Some(pick) = address.holders.pick(ports[row], at) else {
                let part = address.holders.part(ports[row], at);
                let answer = part.or_else(|| address.fixed.clone());
                if let Some(answer) = &answer {
                    fill(&mut filled, row, answer, false);
                }
                if !is_process && filled.get(IDENTITY, row).is_none() {
                    missing.ends += u64::from(address.otherwise == Some("unknown"));
                    filled.set(IDENTITY, row, address.otherwise.map(SmolStr::new_static));
                }
                let is_outside = filled.get(IDENTITY, row).is_some_and(|own| own == "external");
                if is_outside && sni[row].is_some() && filled.get(NAME, row).is_none() {
                    filled.set(NAME, row, sni[row].clone());
                }
                continue;
            };
            let answer = described.entry(pick.key()).or_insert_with(|| self.history.describe(&pick));
            // A process that was seen on its node is no other pod or service of that address.
            let is_told = !is_process || matches!(answer.identity.as_deref(), Some("node" | "control-plane"));
            if is_told {
                let is_part = answer.identity.as_deref() == Some("control-plane") && answer.pod.is_none();
                fill(&mut filled, row, answer, is_part && is_process);
            }
        }
        filled
    }

    fn address(&self, text: &str) -> Option<Address<'_>> {
        let address: IpAddr = text.parse().ok()?;
        Some(Address {
            holders: self.history.holders(address, self.span.0, self.span.1),
            fixed: self.fixed.who(address),
            otherwise: self.otherwise(address.to_canonical()),
        })
    }

    /// What an address is that nobody is known to have had.
    fn otherwise(&self, address: IpAddr) -> Option<&'static str> {
        if address.is_loopback() {
            return Some("process");
        }
        if self.history.is_of_pods(address) {
            return Some("unknown");
        }
        (self.is_in_cluster || is_global(address)).then_some("external")
    }
}

/// What is known of an address, at any time.
struct Address<'a> {
    holders: Holders<'a>,
    fixed: Option<Answer>,
    otherwise: Option<&'static str>,
}

impl Missing {
    fn note(&mut self, pod: &SmolStr, at: i64) {
        self.ends += 1;
        let latest = self.pods.entry(pod.clone()).or_insert(at);
        *latest = at.max(*latest);
    }
}

/// A UUID, or the hash that a static pod has instead.
fn is_uid(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Adds to a row what it doesn't say itself. `is_sure`: it is better than what the row says (a pod's UID, a process).
fn fill(filled: &mut Filled<'_>, row: usize, answer: &Answer, is_sure: bool) {
    let Answer { identity, pod, namespace, workload, workload_kind, node, zone, name } = answer;
    let fields = [identity, pod, namespace, workload, workload_kind, node, zone, name];
    for (place, field) in fields.into_iter().enumerate() {
        if field.is_none() {
            continue;
        }
        if is_sure && [IDENTITY, POD].contains(&place) || filled.get(place, row).is_none() {
            filled.set(place, row, field.clone());
        }
    }
}

type Where = (Vec<Option<SmolStr>>, Vec<Option<SmolStr>>);

/// As `direction` of `flows` says; `None` where an end is not known well enough.
fn direction(client: &Where, server: &Where, row: usize) -> Option<&'static str> {
    let is_outside = |identity: &str| identity == "external";
    let (client_is, server_is) = (client.0[row].as_deref()?, server.0[row].as_deref()?);
    match (is_outside(client_is), is_outside(server_is)) {
        (true, true) => None,
        (true, false) => Some("ingress"),
        (false, true) => Some("egress"),
        (false, false) => {
            let is_host = |identity: &str| matches!(identity, "process" | "node");
            let same_node = client.1[row].is_some() && client.1[row] == server.1[row];
            Some(if same_node && is_host(client_is) && is_host(server_is) { "node" } else { "internal" })
        }
    }
}

/// Whether it means the same everywhere.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let is_ours = v4.is_private() || v4.is_link_local() || is_shared;
            !(is_ours || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified())
        }
        // Global unicast is 2000::/3.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// A text column as keys into its distinct values.
struct Distinct {
    keys: Vec<Option<usize>>,
    texts: Vec<Option<SmolStr>>,
}

impl Distinct {
    fn of(batch: &RecordBatch, name: &str) -> Distinct {
        Distinct::read(batch, name).unwrap_or(Distinct { keys: Vec::new(), texts: Vec::new() })
    }

    fn read(batch: &RecordBatch, name: &str) -> Option<Distinct> {
        let array = cast(batch.column_by_name(name)?, &DataKind::Text.data_type()).ok()?;
        let dictionary = array.as_dictionary_opt::<Int32Type>()?;
        let texts = dictionary.values().as_string_opt::<i32>()?;
        Some(Distinct {
            keys: dictionary.keys().iter().map(|key| key.map(|key| key as usize)).collect(),
            texts: texts.iter().map(|text| text.map(SmolStr::new)).collect(),
        })
    }

    fn key(&self, row: usize) -> Option<usize> {
        self.keys.get(row).copied().flatten()
    }
}

fn values(batch: &RecordBatch, column: &str, rows: usize) -> Vec<Option<SmolStr>> {
    batch.column_by_name(column).and_then(Text::values).unwrap_or_else(|| vec![None; rows])
}

/// The batch with these columns, added or replaced.
fn with_columns(
    batch: &RecordBatch,
    named: Vec<(&'static str, Vec<Option<SmolStr>>)>,
) -> Option<RecordBatch> {
    let mut fields = batch.schema().fields().iter().cloned().collect::<Vec<_>>();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    for (name, texts) in named {
        let mut builder = Text::builder(texts.len());
        for text in &texts {
            Text::append(&mut builder, text);
        }
        let array = Text::finish(builder);
        let field = Arc::new(arrow::datatypes::Field::new(name, array.data_type().clone(), true));
        if let Some(at) = fields.iter().position(|field| field.name() == name) {
            (fields[at], columns[at]) = (field, array);
        } else {
            fields.push(field);
            columns.push(array);
        }
    }
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    RecordBatch::try_new(schema, columns).ok()
}

#[cfg(test)]
mod tests;
