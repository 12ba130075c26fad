//! At the socket, by cgroup_skb.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_skb_load_bytes};
use aya_ebpf::macros::btf_map;

use crate::kernel::{SkStorage, add, now};
use crate::life::BORN_GROWING;
use crate::tc::at;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// First bytes of both directions; done: 1.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    done: [u32; 2],
    first: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Peer {
    cookie: u64,
    from: [u32; 4],
    to: [u32; 4],
    ports: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Counted {
    last_ns: u64,
    bytes: [u64; 2],
    packets: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Latest {
    peer: Peer,
    counted: Counted,
}

#[btf_map(name = "GATES")]
static GATES: SkStorage<Gate> = SkStorage::new();
#[btf_map(name = "PEERS")]
static PEERS: HashMap<Peer, Counted, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map(name = "LATEST")]
static LATEST: SkStorage<Latest> = SkStorage::new();

#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    let failed = unsafe {
        bpf_skb_load_bytes(skb.cast::<c_void>(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32)
    };
    if failed != 0 { None } else { Some(unsafe { value.assume_init() }) }
}

#[inline(always)]
fn socket(skb: *mut __sk_buff) -> *mut c_void {
    unsafe { (*skb).__bindgen_anon_2.sk }.cast()
}

/// Storage says whether the first bytes of this direction are still wanted.
#[inline(always)]
fn first_bytes(skb: *mut __sk_buff, direction: usize) -> Option<()> {
    let sk = socket(skb);
    if sk.is_null() {
        return None;
    }
    let gate = GATES.get_or_create(sk);
    let gate = unsafe { gate.as_mut() }?;
    if gate.done[direction] != 0 {
        return None;
    }
    let version = load::<u8>(skb, 0)?;
    let (protocol, layer4) =
        if version >> 4 == 4 { (load::<u8>(skb, 9)?, 20) } else { (load::<u8>(skb, 6)?, 40) };
    if protocol != TCP {
        gate.done = [1, 1];
        return None;
    }
    let payload = layer4 + u32::from(load::<u8>(skb, layer4 + 12)? >> 4) * 4;
    if unsafe { (*skb).len } <= payload {
        return None;
    }
    gate.first[direction] = u64::from(load::<u8>(skb, payload)?);
    gate.done[direction] = 1;
    None
}

/// Packets without payload are left by their headers; for the others the socket's entry says what is still wanted.
#[inline(always)]
fn payload_first(skb: *mut __sk_buff, direction: usize) -> Option<()> {
    let header: [u8; 36] = at(skb, 0)?;
    let (protocol, layer4, length) = if header[0] >> 4 == 4 {
        (header[9], 20, header[32])
    } else {
        (header[6], 40, at::<[u8; 56]>(skb, 0)?[52])
    };
    if protocol != TCP {
        return None;
    }
    let payload = layer4 + (length as usize >> 4) * 4;
    if unsafe { (*skb).len } as usize <= payload {
        return None;
    }
    let born = BORN_GROWING.get_ptr_mut(socket(skb) as u64)?;
    let first = unsafe { &mut (*born).counted[direction] };
    if *first == 0 {
        *first = 1 + u64::from(load::<u8>(skb, payload as u32)?);
    }
    None
}

#[inline(always)]
fn udp_peer(skb: *mut __sk_buff) -> Option<Peer> {
    let mut peer = Peer { cookie: 0, from: [0; 4], to: [0; 4], ports: 0 };
    let layer4 = if load::<u8>(skb, 0)? >> 4 == 4 {
        if load::<u8>(skb, 9)? != UDP {
            return None;
        }
        let addresses: [u32; 2] = load(skb, 12)?;
        (peer.from[3], peer.to[3]) = (addresses[0], addresses[1]);
        20
    } else {
        if load::<u8>(skb, 6)? != UDP {
            return None;
        }
        let addresses: [u32; 8] = load(skb, 8)?;
        peer.from.copy_from_slice(&addresses[..4]);
        peer.to.copy_from_slice(&addresses[4..]);
        40
    };
    peer.ports = u64::from(load::<u32>(skb, layer4)?);
    Some(peer)
}

#[inline(always)]
unsafe fn count(counted: *mut Counted, skb: *mut __sk_buff, direction: usize) {
    unsafe {
        (*counted).last_ns = now();
        add(&raw mut (*counted).bytes[direction], u64::from((*skb).len));
        add(&raw mut (*counted).packets[direction], 1);
    }
}

#[inline(always)]
fn by_hash(skb: *mut __sk_buff, direction: usize) -> Option<()> {
    let mut peer = udp_peer(skb)?;
    peer.cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    in_hash(skb, &peer, direction)
}

#[inline(always)]
fn in_hash(skb: *mut __sk_buff, peer: &Peer, direction: usize) -> Option<()> {
    if let Some(counted) = PEERS.get_ptr_mut(peer) {
        unsafe { count(counted, skb, direction) };
    } else {
        let new = Counted { last_ns: now(), bytes: [0; 2], packets: [0; 2] };
        let _ = PEERS.insert(peer, new, u64::from(BPF_NOEXIST));
    }
    None
}

/// The socket's latest peer is counted in its storage; only another one goes to the hash.
#[inline(always)]
fn by_storage(skb: *mut __sk_buff, direction: usize) -> Option<()> {
    let peer = udp_peer(skb)?;
    let sk = socket(skb);
    if sk.is_null() {
        return None;
    }
    let latest = LATEST.get_or_create(sk);
    let latest = unsafe { latest.as_mut() }?;
    // What comes in is what goes out, turned round: one comparison for both.
    let same = latest.peer.from[3] ^ latest.peer.to[3] == peer.from[3] ^ peer.to[3]
        && latest.peer.from[2] ^ latest.peer.to[2] == peer.from[2] ^ peer.to[2];
    if same {
        unsafe { count(&raw mut latest.counted, skb, direction) };
        return None;
    }
    if latest.peer.ports == 0 {
        latest.peer = peer;
        return None;
    }
    in_hash(skb, &peer, direction)
}

macro_rules! both_ways {
    ($($work:ident: $ingress:ident, $egress:ident;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "cgroup_skb/ingress")]
        fn $ingress(skb: *mut __sk_buff) -> i32 {
            let _ = $work(skb, 0);
            1
        }

        #[unsafe(no_mangle)]
        #[unsafe(link_section = "cgroup_skb/egress")]
        fn $egress(skb: *mut __sk_buff) -> i32 {
            let _ = $work(skb, 1);
            1
        }
    )+};
}

both_ways! {
    first_bytes: tls_skb_in, tls_skb_out;
    payload_first: tls_hash_in, tls_hash_out;
    by_hash: udp_hash_in, udp_hash_out;
    by_storage: udp_sto_in, udp_sto_out;
}
