//! Several rows of one connection and interval → one: which of them says each column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringDictionaryBuilder, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use weir_model::tables::FLOWS;
use weir_model::{SmolStr, Table};

use super::clocks::Handshake;
use super::rows::{CLIENT, CLOSED, COUNTED, OPENED, PATH, SERVER, TOTALS};

/// A row: which batch, and which of its rows.
pub(super) type Place = (usize, usize);

/// Rows that become one.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// All of them.
    pub(super) rows: Vec<Place>,
    /// Who told of them.
    pub(super) observers: u8,
    /// Both bits of `state`, of all.
    pub(super) state: u8,
    /// Those of the client's end, of the server's, and of the path; one row may be of both ends.
    pub(super) ends: [Option<Place>; 3],
}

impl Group {
    pub(super) fn add(&mut self, place: Place, observers: u8, state: u8) {
        self.rows.push(place);
        self.observers |= observers;
        self.state |= state;
        for (end, bit) in self.ends.iter_mut().zip([CLIENT, SERVER, PATH]) {
            // A row of both ends passed some path, but is no witness of it.
            let is_this = observers & bit != 0 && (bit != PATH || observers == PATH);
            if is_this {
                end.get_or_insert(place);
            }
        }
    }

    /// Who is believed first, then next.
    fn order(&self, rule: Rule) -> impl Iterator<Item = Place> {
        let [client, server, path] = self.ends;
        let ends = if matches!(rule, Rule::Server) { [server, client, path] } else { [client, server, path] };
        ends.into_iter().flatten()
    }
}

/// How a column is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What each counts is added.
    Sum,
    /// The highest.
    Highest,
    /// The client's, else the server's, else the path's: the first that is known.
    Client,
    /// The server's first.
    Server,
    /// As the client's, else what the client has for the column, where the server's end has another: DNAT.
    Dialled(&'static str),
    /// As the client's, else what the server has for the column, where the client's end has another: SNAT.
    LeftBy(&'static str),
    /// The value that comes first here.
    Strongest(&'static [&'static str]),
    /// Of all bits together.
    Observer,
    State,
    Direction,
}

fn rule(column: &'static str) -> Rule {
    match column {
        "connections" | "exchanges" | "resets" | "drops" | "icmp_errors" => Rule::Sum,
        _ if COUNTED.contains(&column) => Rule::Sum,
        _ if TOTALS.contains(&column) => Rule::Highest,
        "service_ip" => Rule::Dialled("server_ip"),
        "service_port" => Rule::Dialled("server_port"),
        "egress_ip" => Rule::LeftBy("client_ip"),
        "observer" => Rule::Observer,
        "state" => Rule::State,
        "direction" => Rule::Direction,
        "encryption" => Rule::Strongest(&["mtls", "tls", "plaintext", "unknown"]),
        "policy_verdict" => Rule::Strongest(&["dropped", "error", "audit", "forwarded"]),
        _ if column.starts_with("server_") => Rule::Server,
        _ => Rule::Client,
    }
}

/// One row a group, of `batches` that have the table's own columns.
pub(super) fn merged(batches: &[&RecordBatch], groups: &[Group]) -> RecordBatch {
    let table: &'static Table = &FLOWS;
    let columns = table.columns.iter().map(|column| choose(column.name, batches, groups));
    RecordBatch::try_new(table.schema(), columns.collect()).expect("columns are chosen from the table's own")
}

/// The openings of TCP connections that two nodes saw: names of the client's node and the server's, and their times.
pub(super) fn handshakes(batches: &[&RecordBatch], groups: &[Group]) -> Vec<(SmolStr, SmolStr, Handshake)> {
    let [nodes, protocols, took] = ["node", "protocol", "connect_us"].map(|column| arrays(batches, column));
    let opened = arrays(batches, "opened_time");
    let opened = |(batch, row): Place| {
        let times = opened[batch].as_primitive::<TimestampNanosecondType>();
        times.is_valid(row).then(|| times.value(row))
    };
    let took = |(batch, row): Place| {
        let times = took[batch].as_primitive::<Int64Type>();
        times.is_valid(row).then(|| times.value(row).saturating_mul(1_000))
    };
    let name = |from: &[&dyn Array], (batch, row): Place| text(from[batch], row).map(SmolStr::new);
    let handshake = |group: &Group| {
        let [Some(client), Some(server), _] = group.ends else { return None };
        let is_seen = group.state & OPENED != 0 && client != server;
        if !is_seen || name(&protocols, client)? != "tcp" {
            return None;
        }
        let handshake = Handshake { sent: opened(client)?, took: took(client)?, came: opened(server)? };
        Some((name(&nodes, client)?, name(&nodes, server)?, handshake))
    };
    groups.iter().filter_map(handshake).collect()
}

fn arrays<'a>(batches: &[&'a RecordBatch], column: &str) -> Vec<&'a dyn Array> {
    let array = |batch: &&'a RecordBatch| batch.column_by_name(column).expect("the table's own").as_ref();
    batches.iter().map(array).collect()
}

fn choose(column: &'static str, batches: &[&RecordBatch], groups: &[Group]) -> ArrayRef {
    let rule = rule(column);
    let mut from = arrays(batches, column);
    match rule {
        Rule::Sum => numbers(&from, groups, |sum, value| sum + value),
        Rule::Highest => numbers(&from, groups, i64::max),
        Rule::Observer => texts(groups, |group| match group.observers & (CLIENT | SERVER) {
            CLIENT => "client",
            SERVER => "server",
            0 => "path",
            _ => "both",
        }),
        Rule::State => texts(groups, |group| match group.state {
            OPENED => "opened",
            CLOSED => "closed",
            0 => "ongoing",
            _ => "only",
        }),
        Rule::Direction => texts(groups, |group| direction(&from, group)),
        Rule::Client | Rule::Server if is_empty(&from) => new_null_array(from[0].data_type(), groups.len()),
        Rule::Client | Rule::Server => {
            let pick = |group: &Group| first_known(&from, group, rule).unwrap_or(group.rows[0]);
            let places: Vec<Place> = groups.iter().map(pick).collect();
            interleave(&from, &places).expect("places are within")
        }
        Rule::Strongest(values) => {
            let strength = |place: &Place| {
                let text = text(from[place.0], place.1);
                values.iter().position(|value| Some(*value) == text).unwrap_or(values.len())
            };
            let pick =
                |group: &Group| group.rows.iter().copied().min_by_key(strength).unwrap_or(group.rows[0]);
            let places: Vec<Place> = groups.iter().map(pick).collect();
            interleave(&from, &places).expect("places are within")
        }
        Rule::Dialled(other) | Rule::LeftBy(other) => {
            let others = arrays(batches, other);
            let whose = usize::from(matches!(rule, Rule::LeftBy(_)));
            let pick = |group: &Group| {
                let known = first_known(&from, group, rule);
                let seen_otherwise = || {
                    let [Some(client), Some(server), _] = group.ends else { return None };
                    let [at_client, at_server] = [client, server].map(|(batch, row)| (others[batch], row));
                    let (batch, row) = [client, server][whose];
                    (!is_same(at_client, at_server)).then_some((from.len() + batch, row))
                };
                known.or_else(seen_otherwise).unwrap_or(group.rows[0])
            };
            let places: Vec<Place> = groups.iter().map(pick).collect();
            from.extend(others);
            interleave(&from, &places).expect("places are within")
        }
    }
}

fn is_empty(from: &[&dyn Array]) -> bool {
    from.iter().all(|array| array.null_count() == array.len())
}

fn first_known(from: &[&dyn Array], group: &Group, rule: Rule) -> Option<Place> {
    group.order(rule).find(|(batch, row)| from[*batch].is_valid(*row))
}

fn numbers(from: &[&dyn Array], groups: &[Group], add: impl Fn(i64, i64) -> i64) -> ArrayRef {
    let from: Vec<&Int64Array> = from.iter().map(|array| array.as_primitive::<Int64Type>()).collect();
    let of_group = |group: &Group| {
        let known = group.rows.iter().filter(|(batch, row)| from[*batch].is_valid(*row));
        known.map(|(batch, row)| from[*batch].value(*row)).reduce(&add)
    };
    Arc::new(groups.iter().map(of_group).collect::<Int64Array>())
}

fn texts<'a>(groups: &[Group], of_group: impl Fn(&Group) -> &'a str) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    for group in groups {
        builder.append_value(of_group(group));
    }
    Arc::new(builder.finish())
}

fn text(array: &dyn Array, row: usize) -> Option<&str> {
    let dictionary = array.as_dictionary::<Int32Type>();
    let values: &StringArray = dictionary.values().as_string();
    dictionary.keys().is_valid(row).then(|| values.value(dictionary.keys().value(row) as usize))
}

/// Both of one type, text or port.
fn is_same(left: (&dyn Array, usize), right: (&dyn Array, usize)) -> bool {
    match left.0.as_primitive_opt::<Int32Type>() {
        Some(ports) => ports.value(left.1) == right.0.as_primitive::<Int32Type>().value(right.1),
        None => text(left.0, left.1) == text(right.0, right.1),
    }
}

/// Two ends that both have a probe are in the cluster, whatever NAT made each of them believe of the other.
fn direction<'a>(from: &[&'a dyn Array], group: &Group) -> &'a str {
    let [client, server, path] = group.ends.map(|end| end.and_then(|(batch, row)| text(from[batch], row)));
    match (client, server) {
        (Some("egress" | "internal"), Some("ingress" | "internal")) => "internal",
        (Some("node") | None, Some(other)) => other,
        (Some(own), _) => own,
        (None, None) => path.unwrap_or("node"),
    }
}
