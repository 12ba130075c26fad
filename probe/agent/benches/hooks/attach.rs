//! Loads a candidate and attaches it; dropping what comes back detaches it.

#[path = "../../../bpf/candidates/fields.rs"]
mod fields;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, SchedClassifier, SockOps, TcAttachType,
};
use aya::{Btf, Ebpf, EbpfLoader};

use crate::candidates::{Candidate, Hook};
use crate::lab::hosts::{CLIENT, Hosts, SERVER};
use crate::lab::pause;

/// How often the ring is looked at, as the probe does.
const POLL: Duration = Duration::from_millis(50);

/// What candidates are attached to.
pub(crate) struct Ground {
    object: Vec<u8>,
    offsets: Vec<u32>,
    pub(crate) btf: Btf,
    cgroups: File,
}

/// Programs at work, and a thread that reads what they record.
pub(crate) struct Attached {
    pub(crate) ebpf: Ebpf,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Ground {
    pub(crate) fn new(object: Vec<u8>) -> Ground {
        let offsets = weir_probe::lab::kernel_offsets(&fields::FIELDS).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut of_cgroup2 = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let path = of_cgroup2.find_map(|line| line.split(' ').nth(1)).expect("cgroup v2 is mounted");
        Ground { object, offsets, btf: Btf::from_sys_fs().unwrap(), cgroups: File::open(path).unwrap() }
    }

    pub(crate) fn attach(&self, candidate: &Candidate, hosts: &Hosts) -> Attached {
        let mut ebpf = EbpfLoader::new()
            .override_global("CANDIDATE_OFFSETS", &self.offsets[..], true)
            .load(&self.object)
            .unwrap();
        for (name, hook) in candidate.programs {
            self.attach_one(&mut ebpf, name, *hook, hosts);
        }
        let ring = RingBuf::try_from(ebpf.take_map("EVENTS").unwrap()).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let wakes = candidate.wakes;
        let seen = over.clone();
        let reader =
            std::thread::spawn(
                move || if wakes { read_when_woken(ring, &seen) } else { read_in_turns(ring, &seen) },
            );
        Attached { ebpf, over, reader: Some(reader) }
    }

    fn attach_one(&self, ebpf: &mut Ebpf, name: &str, hook: Hook, hosts: &Hosts) {
        let program =
            ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}: build the candidates"));
        match hook {
            Hook::Tracepoint(tracepoint) => {
                let program: &mut BtfTracePoint = program.try_into().unwrap();
                program.load(tracepoint, &self.btf).unwrap();
                program.attach().unwrap();
            }
            Hook::SocketIn | Hook::SocketOut => {
                let program: &mut CgroupSkb = program.try_into().unwrap();
                program.load().unwrap();
                let direction = match hook {
                    Hook::SocketIn => CgroupSkbAttachType::Ingress,
                    _ => CgroupSkbAttachType::Egress,
                };
                program.attach(&self.cgroups, direction, CgroupAttachMode::Single).unwrap();
            }
            Hook::DeviceIn | Hook::DeviceOut => {
                let program: &mut SchedClassifier = program.try_into().unwrap();
                program.load().unwrap();
                for host in [CLIENT, SERVER] {
                    let direction = match hook {
                        Hook::DeviceIn => TcAttachType::Ingress,
                        _ => TcAttachType::Egress,
                    };
                    hosts.within(host, || program.attach("eth0", direction).map(drop)).unwrap();
                }
            }
            Hook::SockOps => {
                let program: &mut SockOps = program.try_into().unwrap();
                program.load().unwrap();
                program.attach(&self.cgroups, CgroupAttachMode::Single).unwrap();
            }
        }
    }
}

fn read_in_turns(mut ring: RingBuf<MapData>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        while ring.next().is_some() {}
        pause(POLL);
    }
}

#[expect(
    deprecated,
    reason = "what it asks for instead is unsafe; the ring lives as long as its reader here"
)]
fn read_when_woken(ring: RingBuf<MapData>, over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ring = tokio::io::unix::AsyncFd::new(ring).unwrap();
        while !over.load(Ordering::Relaxed) {
            // Woken by a record; the limit is only there to see that it is over.
            let Ok(ready) = tokio::time::timeout(POLL, ring.readable_mut()).await else { continue };
            let mut ready = ready.unwrap();
            while ready.get_inner_mut().next().is_some() {}
            ready.clear_ready();
        }
    });
}
