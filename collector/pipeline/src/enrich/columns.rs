//! A batch's columns with the names filled in. One look at the history for each holder of a batch, and one at each text: rows
//! repeat a lot.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use hashbrown::HashMap;
use weir_identity::{Answer, Fixed, History, Holders};
use weir_model::SmolStr;
use weir_model::kinds::{Kind, Port, Time};

use super::tables::{End, Ends, IDENTITY, NAME, NODE, POD};
use super::texts::{NONE, Texts};

/// What could not be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Pods by UID, with the time of their newest row.
    pub(super) pods: std::collections::HashMap<SmolStr, i64>,
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
    let mut ends: Vec<Filled<'_>> =
        table.ends.iter().map(|end| asked.end(batch, end, &mut missing)).collect();
    let mut named: Vec<(&'static str, ArrayRef)> = Vec::new();
    if table.has_direction
        && is_in_cluster
        && let [client, server] = ends.as_mut_slice()
    {
        let directions = directions(batch, client, server);
        if directions.is_changed {
            named.push(("direction", directions.array()));
        }
    }
    for Filled { names, columns, .. } in ends {
        for (name, column) in names.into_iter().zip(columns) {
            if let Some(column) = column.filter(|column| column.is_changed && !name.is_empty()) {
                named.push((name, column.array()));
            }
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
    columns: [Option<Texts>; 8],
}

/// An answer, as keys into an end's columns.
#[derive(Clone, Debug)]
struct Told {
    keys: [i32; 8],
    /// Who is at an address of its node's: no other pod or service of that address.
    is_of_node: bool,
    /// A part of the control plane that is no pod.
    is_part: bool,
}

impl Filled<'_> {
    fn column(&mut self, place: usize) -> &mut Texts {
        self.columns[place].get_or_insert_with(|| Texts::of(self.batch, self.names[place]))
    }

    fn has(&mut self, place: usize, row: usize) -> bool {
        self.column(place).has(row)
    }

    fn is(&mut self, place: usize, row: usize, text: &str) -> bool {
        self.column(place).get(row).is_some_and(|own| own == text)
    }

    fn set(&mut self, place: usize, row: usize, text: &SmolStr) {
        let column = self.column(place);
        let key = column.key_of(text);
        column.set(row, key);
    }

    fn told(&mut self, answer: &Answer) -> Told {
        let Answer { identity, pod, namespace, workload, workload_kind, node, zone, name } = answer;
        let fields = [identity, pod, namespace, workload, workload_kind, node, zone, name];
        let mut keys = [NONE; 8];
        for (place, field) in fields.into_iter().enumerate() {
            if let Some(text) = field {
                keys[place] = self.column(place).key_of(text);
            }
        }
        let identity = identity.as_deref();
        Told {
            keys,
            is_of_node: matches!(identity, Some("node" | "control-plane")),
            is_part: identity == Some("control-plane") && pod.is_none(),
        }
    }

    /// Adds to a row what it doesn't say itself. `is_sure`: it is better than what the row says (a pod's UID, a process).
    fn fill(&mut self, row: usize, told: &Told, is_sure: bool) {
        for (place, key) in told.keys.into_iter().enumerate().filter(|(_, key)| *key != NONE) {
            let column = self.column(place);
            if is_sure && [IDENTITY, POD].contains(&place) || !column.has(row) {
                column.set(row, key);
            }
        }
    }
}

impl Asked<'_> {
    fn end<'b>(&self, batch: &'b RecordBatch, end: &End, missing: &mut Missing) -> Filled<'b> {
        let rows = self.times.len();
        let mut filled = Filled { batch, names: end.filled, columns: [const { None }; 8] };
        let (uids, addresses) = (Texts::of(batch, end.uid), Texts::of(batch, end.ip));
        let ports = batch.column_by_name(end.port).and_then(Port::values).unwrap_or_else(|| vec![None; rows]);
        let sni = Texts::of(batch, end.sni);
        let first = self.times.first().copied().unwrap_or_default();
        let pods = uids.texts().iter().map(|uid| self.history.pod_by_uid(uid, first));
        let pods: Vec<Option<Told>> = pods.map(|answer| Some(filled.told(&answer?))).collect();
        let holders: Vec<Option<Address<'_>>> =
            addresses.texts().iter().map(|text| self.address(text, &mut filled)).collect();
        let mut described: HashMap<_, Told> = HashMap::new();
        for row in 0..rows {
            let at = self.times[row];
            if let Some(uid) = uids.get(row) {
                match &pods[uids.key(row) as usize] {
                    Some(told) => filled.fill(row, told, true),
                    // A name: who sent it has asked already.
                    None if self.is_in_cluster && is_uid(uid) => missing.note(uid, at),
                    None => {}
                }
                continue;
            }
            let address = usize::try_from(addresses.key(row)).ok().and_then(|key| holders[key].as_ref());
            let Some(address) = address else { continue };
            let is_process = filled.is(IDENTITY, row, "process");
            let Some(pick) = address.holders.pick(ports[row], at) else {
                if let Some(part) = address.holders.part(ports[row], at) {
                    let told = filled.told(&part);
                    filled.fill(row, &told, false);
                } else if let Some(told) = &address.fixed {
                    filled.fill(row, told, false);
                }
                if !is_process && !filled.has(IDENTITY, row) {
                    missing.ends += u64::from(address.otherwise == Some("unknown"));
                    if let Some(otherwise) = address.otherwise {
                        filled.set(IDENTITY, row, &SmolStr::new_static(otherwise));
                    }
                }
                if let Some(name) = sni.get(row)
                    && filled.is(IDENTITY, row, "external")
                    && !filled.has(NAME, row)
                {
                    filled.set(NAME, row, name);
                }
                continue;
            };
            let told =
                described.entry(pick.key()).or_insert_with(|| filled.told(&self.history.describe(&pick)));
            if !is_process || told.is_of_node {
                filled.fill(row, told, told.is_part && is_process);
            }
        }
        filled
    }

    fn address(&self, text: &str, filled: &mut Filled<'_>) -> Option<Address<'_>> {
        let address: IpAddr = text.parse().ok()?;
        Some(Address {
            holders: self.history.holders(address, self.span.0, self.span.1),
            fixed: self.fixed.who(address).map(|answer| filled.told(&answer)),
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
    fixed: Option<Told>,
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

/// The directions of a batch's rows; what they say themselves stands where an end is not known well enough.
fn directions<'a>(batch: &'a RecordBatch, client: &mut Filled<'a>, server: &mut Filled<'a>) -> Texts {
    let mut own = Texts::of(batch, "direction");
    let [client_kinds, server_kinds] = [&mut *client, &mut *server].map(|end| {
        let kinds = end.column(IDENTITY).texts().iter();
        kinds.map(|identity| EndKind::of(identity)).collect::<Vec<_>>()
    });
    let words = ["ingress", "egress", "node", "internal"].map(SmolStr::new_static);
    for row in 0..batch.num_rows() {
        let kind = |end: &mut Filled<'_>, kinds: &[EndKind]| {
            usize::try_from(end.column(IDENTITY).key(row)).ok().map(|key| kinds[key])
        };
        let (Some(client_is), Some(server_is)) = (kind(client, &client_kinds), kind(server, &server_kinds))
        else {
            continue;
        };
        let place = match (client_is, server_is) {
            (EndKind::Outside, EndKind::Outside) => continue,
            (EndKind::Outside, _) => 0,
            (_, EndKind::Outside) => 1,
            (EndKind::Host, EndKind::Host) if is_same_node(client, server, row) => 2,
            _ => 3,
        };
        let key = own.key_of(&words[place]);
        own.set(row, key);
    }
    own
}

fn is_same_node(client: &mut Filled<'_>, server: &mut Filled<'_>, row: usize) -> bool {
    let node = client.column(NODE).get(row);
    node.is_some() && node == server.column(NODE).get(row)
}

/// What of an end decides a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndKind {
    Outside,
    Host,
    Other,
}

impl EndKind {
    fn of(identity: &str) -> EndKind {
        match identity {
            "external" => EndKind::Outside,
            "process" | "node" => EndKind::Host,
            _ => EndKind::Other,
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

/// The batch with these columns, added or replaced.
fn with_columns(batch: &RecordBatch, named: Vec<(&'static str, ArrayRef)>) -> Option<RecordBatch> {
    let mut fields = batch.schema().fields().iter().cloned().collect::<Vec<_>>();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    for (name, array) in named {
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
