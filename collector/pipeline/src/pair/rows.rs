//! What pairing looks at in a batch of flows.

use std::hash::BuildHasher;

use arrow::array::{Array, AsArray, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use foldhash::quality::FixedState;

/// Who told of a row, as bits: a row of both ends has two.
pub(super) const CLIENT: u8 = 1;
pub(super) const SERVER: u8 = 2;
pub(super) const PATH: u8 = 4;

/// What a row's state says, as bits.
pub(super) const OPENED: u8 = 1;
pub(super) const CLOSED: u8 = 2;

/// Counters with a total since the opening beside them.
pub(super) const COUNTED: [&str; 4] = ["client_bytes", "server_bytes", "client_packets", "server_packets"];
/// Those totals.
pub(super) const TOTALS: [&str; 4] =
    ["client_bytes_total", "server_bytes_total", "client_packets_total", "server_packets_total"];
/// Counters that each end has of the same events, without a total.
pub(super) const SEEN: [&str; 3] = ["exchanges", "resets", "icmp_errors"];
/// Which of [`COUNTED`] a probe counts in 32 bits.
pub(super) const WRAPS: [bool; 4] = [false, false, true, true];

/// Text of few values, each decoded once.
struct Coded<'a, T> {
    keys: &'a Int32Array,
    codes: Vec<T>,
}

impl<'a, T: Copy> Coded<'a, T> {
    fn of(batch: &'a RecordBatch, column: &str, code: impl Fn(&str) -> T) -> Option<Coded<'a, T>> {
        let dictionary = batch.column_by_name(column)?.as_dictionary_opt::<Int32Type>()?;
        let texts = dictionary.values().as_string_opt::<i32>()?;
        let codes = texts.iter().map(|text| code(text.unwrap_or_default())).collect();
        Some(Coded { keys: dictionary.keys(), codes })
    }

    fn get(&self, row: usize) -> Option<T> {
        self.keys.is_valid(row).then(|| self.codes[self.keys.value(row) as usize])
    }
}

/// A batch of `flows`, column by column.
pub(super) struct Flows<'a> {
    ids: &'a StringArray,
    is_udp: Coded<'a, bool>,
    observers: Coded<'a, u8>,
    is_probe_s: Coded<'a, bool>,
    states: Coded<'a, u8>,
    ips: [Coded<'a, u64>; 2],
    ports: [&'a Int32Array; 2],
    times: &'a PrimitiveArray<TimestampNanosecondType>,
    end_times: &'a PrimitiveArray<TimestampNanosecondType>,
    opened_times: &'a PrimitiveArray<TimestampNanosecondType>,
    counted: [&'a Int64Array; 4],
    totals: [&'a Int64Array; 4],
    seen: [&'a Int64Array; 3],
    connections: &'a Int64Array,
}

/// All columns that [`Flows`] reads.
pub(super) const COLUMNS: [&str; 24] = [
    "time",
    "end_time",
    "opened_time",
    "connection_id",
    "state",
    "observer",
    "source",
    "protocol",
    "client_ip",
    "client_port",
    "server_ip",
    "server_port",
    COUNTED[0],
    COUNTED[1],
    COUNTED[2],
    COUNTED[3],
    TOTALS[0],
    TOTALS[1],
    TOTALS[2],
    TOTALS[3],
    "connections",
    SEEN[0],
    SEEN[1],
    SEEN[2],
];

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// The same for all rows of a connection, whoever tells of it.
    pub(super) key: u64,
    /// Whether the key is made of addresses and ports, which other flows have later.
    pub(super) is_by_addresses: bool,
    pub(super) observers: u8,
    pub(super) state: u8,
    pub(super) time: i64,
    pub(super) end_time: i64,
    /// Where the opening was seen.
    pub(super) opened: Option<i64>,
    pub(super) counted: [i64; 4],
    pub(super) totals: Option<[i64; 4]>,
    pub(super) seen: [i64; 3],
    pub(super) connections: i64,
}

fn numbers<'a, const N: usize>(batch: &'a RecordBatch, columns: [&str; N]) -> Option<[&'a Int64Array; N]> {
    let arrays: Option<Vec<&Int64Array>> =
        columns.iter().map(|column| batch.column_by_name(column)?.as_primitive_opt::<Int64Type>()).collect();
    arrays?.try_into().ok()
}

impl<'a> Flows<'a> {
    /// `None` where a column is missing or of another type: nothing is paired then.
    pub(super) fn of(batch: &'a RecordBatch) -> Option<Flows<'a>> {
        let hasher = FixedState::default();
        let hash = |text: &str| hasher.hash_one(text);
        let time = |column| batch.column_by_name(column)?.as_primitive_opt::<TimestampNanosecondType>();
        let port = |column| batch.column_by_name(column)?.as_primitive_opt::<Int32Type>();
        Some(Flows {
            ids: batch.column_by_name("connection_id")?.as_string_opt::<i32>()?,
            is_udp: Coded::of(batch, "protocol", |protocol| protocol == "udp")?,
            observers: Coded::of(batch, "observer", |observer| match observer {
                "client" => CLIENT,
                "server" => SERVER,
                "both" => CLIENT | SERVER,
                "path" => PATH,
                _ => 0,
            })?,
            is_probe_s: Coded::of(batch, "source", |source| source == "probe")?,
            states: Coded::of(batch, "state", |state| match state {
                "opened" => OPENED,
                "closed" => CLOSED,
                "only" => OPENED | CLOSED,
                _ => 0,
            })?,
            ips: [Coded::of(batch, "client_ip", hash)?, Coded::of(batch, "server_ip", hash)?],
            ports: [port("client_port")?, port("server_port")?],
            times: time("time")?,
            end_times: time("end_time")?,
            opened_times: time("opened_time")?,
            counted: numbers(batch, COUNTED)?,
            totals: numbers(batch, TOTALS)?,
            seen: numbers(batch, SEEN)?,
            connections: numbers(batch, ["connections"])?[0],
        })
    }

    /// What a row's state says, whether or not anything else of it is known.
    pub(super) fn state(&self, row: usize) -> u8 {
        self.states.get(row).unwrap_or_default()
    }

    /// When a row ended (0: not known), and when its connection was opened.
    pub(super) fn times(&self, row: usize) -> (i64, Option<i64>) {
        let value =
            |array: &PrimitiveArray<TimestampNanosecondType>| array.is_valid(row).then(|| array.value(row));
        (value(self.end_times).unwrap_or_default(), value(self.opened_times))
    }

    /// The row, where several observers may have told of it: a probe's, of a connection that has an id. Captures are their
    /// own world.
    pub(super) fn get(&self, row: usize) -> Option<Flow> {
        let observers = self.observers.get(row).filter(|observers| *observers != 0)?;
        self.is_probe_s.get(row).filter(|is_probe_s| *is_probe_s)?;
        let time = self.times.value(row);
        let value =
            |array: &PrimitiveArray<TimestampNanosecondType>| array.is_valid(row).then(|| array.value(row));
        let at = |array: &&Int64Array| if array.is_valid(row) { array.value(row) } else { 0 };
        let has_totals = self.totals.iter().all(|total| total.is_valid(row));
        Some(Flow {
            key: self.key(row)?,
            is_by_addresses: self.is_udp.get(row)?,
            observers,
            state: self.state(row),
            time,
            end_time: value(self.end_times).unwrap_or(time),
            opened: value(self.opened_times),
            counted: self.counted.each_ref().map(at),
            totals: has_totals.then(|| self.totals.each_ref().map(at)),
            seen: self.seen.each_ref().map(at),
            connections: at(&self.connections),
        })
    }

    /// Of TCP and SCTP the id, which all observers make alike; UDP has nothing of that kind but its 5-tuple.
    fn key(&self, row: usize) -> Option<u64> {
        let hasher = FixedState::default();
        if self.is_udp.get(row)? {
            let [client, server] = [self.ips[0].get(row)?, self.ips[1].get(row)?];
            let ports = self.ports.map(|ports| ports.value(row));
            return Some(hasher.hash_one((client, server, ports)));
        }
        self.ids.is_valid(row).then(|| hasher.hash_one(self.ids.value(row)))
    }
}
