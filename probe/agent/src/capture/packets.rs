//! Packets out of the ring → reports: who holds each one's socket, and not more than was asked for.

use aya::maps::{MapData, RingBuf};
use hashbrown::HashMap;
use parking_lot::Mutex;
use weir_abi::Owner;
use weir_abi::capture::PacketHead;
use weir_wire::control::{Order, Packet, Report};

use crate::clock::Clock;
use crate::identity::{Holder, Identities};
use crate::sys;

/// Packets and bytes of one report, well below what the collector takes.
const REPORT_PACKETS: usize = 1_024;
const REPORT_BYTES: usize = 256 << 10;
/// Holders that are remembered; they are asked for again when there are more.
const MOST_HOLDERS: usize = 4_096;

/// Whom a packet belongs to.
type Key = (u64, u32, [u8; 16], u32);

/// What is still to come, and who was seen.
pub(super) struct Packets<'a> {
    clock: Clock,
    identities: &'a Mutex<Identities>,
    holders: HashMap<Key, String>,
    /// Packets and bytes that there is still room for.
    room: (u64, u64),
    limit: String,
}

impl<'a> Packets<'a> {
    pub(super) fn new(clock: Clock, identities: &'a Mutex<Identities>, order: &Order) -> Packets<'a> {
        let room = (order.packets, order.bytes);
        Packets { clock, identities, holders: HashMap::new(), room, limit: String::new() }
    }

    /// Which limit was reached.
    pub(super) fn limit(&self) -> String {
        self.limit.clone()
    }

    /// What the ring has, as far as one report holds it; `None` if it has nothing. `is_full`: a limit is reached.
    pub(super) fn report(&mut self, ring: &mut RingBuf<MapData>, is_full: &mut bool) -> Option<Report> {
        let mut report = Report::default();
        let mut indices = HashMap::new();
        let mut bytes = 0;
        while !*is_full && report.packets.len() < REPORT_PACKETS && bytes < REPORT_BYTES {
            let Some(record) = ring.next() else { break };
            let Some((head, kept)) = read(&record) else { continue };
            if self.room.0 == 0 || self.room.1 < kept.len() as u64 {
                let what = if self.room.0 == 0 { "packets" } else { "bytes" };
                self.limit = format!("the limit of {what} is reached");
                *is_full = true;
                break;
            }
            self.room.0 -= 1;
            self.room.1 -= kept.len() as u64;
            bytes += kept.len() + size_of::<PacketHead>();
            let key = (head.owner.cgroup_id, head.owner.pid, head.owner.comm, head.netns);
            let holder = *indices.entry(key).or_insert_with(|| {
                report.holders.push(self.holder(key, &head));
                report.holders.len() - 1
            });
            report.packets.push(Packet {
                time_ns: self.clock.utc(head.time_ns),
                wire_len: head.wire_len,
                sent: head.sent != 0,
                holder: holder as u32,
                bytes: kept.to_vec().into(),
            });
        }
        // The last packet that there was room for ends it too: nobody waits for one that is not taken.
        if !*is_full && self.room.0 == 0 {
            "the limit of packets is reached".clone_into(&mut self.limit);
            *is_full = true;
        }
        (!report.packets.is_empty()).then_some(report)
    }

    fn holder(&mut self, key: Key, head: &PacketHead) -> String {
        if let Some(words) = self.holders.get(&key) {
            return words.clone();
        }
        if self.holders.len() >= MOST_HOLDERS {
            self.holders.clear();
        }
        let words = words(&self.identities.lock().holder(&head.owner), &head.owner, head.netns);
        self.holders.insert(key, words.clone());
        words
    }
}

fn read(record: &[u8]) -> Option<(PacketHead, &[u8])> {
    let head: PacketHead = sys::read(record)?;
    let start = size_of::<PacketHead>();
    Some((head, record.get(start..start + head.kept as usize)?))
}

/// `pid=7 process=curl container=… pod=… netns=…`: what is known.
fn words(holder: &Holder, owner: &Owner, netns: u32) -> String {
    let mut words = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let is_one_word = !value.contains([' ', '"']);
            words.push(if is_one_word { format!("{name}={value}") } else { format!("{name}={value:?}") });
        }
    };
    add("pid", holder.pid.map(|pid| pid.to_string()));
    add("process", holder.process.as_ref().map(ToString::to_string));
    add("pod", holder.workload.pod.as_ref().map(ToString::to_string));
    add("container", holder.workload.container.as_ref().map(ToString::to_string));
    add("unit", holder.workload.unit.as_ref().map(ToString::to_string));
    add("cgroup", (owner.cgroup_id != 0).then(|| owner.cgroup_id.to_string()));
    add("netns", (netns != 0).then(|| netns.to_string()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Workload;

    #[test]
    fn a_holder_reads_as_words() {
        let workload = Workload { pod: Some("p-1".into()), ..Workload::default() };
        let holder = Holder { pid: Some(7), process: Some("my \"app\"".into()), workload };
        let owner = Owner { cgroup_id: 9, ..Owner::default() };
        assert_eq!(words(&holder, &owner, 5), r#"pid=7 process="my \"app\"" pod=p-1 cgroup=9 netns=5"#);
        assert_eq!(words(&Holder::default(), &Owner::default(), 0), "");
    }

    #[test]
    fn a_record_that_is_cut_is_none() {
        let mut record = vec![0; size_of::<PacketHead>() + 4];
        let at = std::mem::offset_of!(PacketHead, kept);
        record[at..at + 4].copy_from_slice(&5_u32.to_ne_bytes());
        assert!(read(&record).is_none(), "five bytes said, four there");
        record[at..at + 4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(read(&record).map(|(_, kept)| kept.len()), Some(3), "the rest is not set");
    }
}
