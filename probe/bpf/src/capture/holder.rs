//! Who holds the socket that a packet belongs to: out of the maps that the probe's other programs keep. Where user space
//! could not share them they are empty maps of the same shape, and only cgroup and namespace are known.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{HashMap, SkStorage};
use aya_ebpf::helpers::{
    bpf_get_socket_cookie, bpf_skb_cgroup_id,
    generated::{bpf_probe_read_kernel, bpf_sk_storage_get},
};
use aya_ebpf::macros::btf_map;
use weir_abi::capture::PacketFacts;
use weir_abi::{Conn, Owner, ROLE_CLIENT, ROLE_LISTENER, ROLE_SERVER, UdpFlow, UdpKey};

/// The probe's TCP connections by their socket's address; the values begin with a [`Conn`].
#[btf_map(name = "WEIR_CONNS")]
static CONNS: HashMap<u64, Conn, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Who listens, in the listener's own storage.
#[btf_map(name = "WEIR_LISTENERS")]
static LISTENERS: SkStorage<Owner> = SkStorage::new();

/// The probe's UDP flows.
#[btf_map(name = "WEIR_UDP")]
static UDP: HashMap<UdpKey, UdpFlow, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Offsets of `sock…skc_net` and `net.ns.inum`, set by user space before load.
#[unsafe(no_mangle)]
static WEIR_NETNS: [u32; 2] = [0; 2];

const IPPROTO_TCP: u8 = 6;

/// Adds the holder, the namespace and the socket's role.
#[inline(always)]
pub fn fill(skb: *mut __sk_buff, facts: &mut PacketFacts) {
    let sk: *mut c_void = unsafe { (*skb).__bindgen_anon_2.sk }.cast();
    if sk.is_null() {
        return;
    }
    facts.netns = netns(sk);
    if let Some(conn) = CONNS.get_ptr(sk as u64) {
        let conn = unsafe { &*conn };
        facts.owner = conn.owner;
        facts.role = conn.role;
    } else if facts.protocol == IPPROTO_TCP {
        let map = core::ptr::from_ref(&LISTENERS).cast_mut().cast();
        let owner = unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), 0) }.cast::<Owner>();
        if !owner.is_null() {
            facts.owner = unsafe { *owner };
            facts.role = ROLE_LISTENER;
        }
    } else if let Some(flow) = UDP.get_ptr(&udp_key(skb, facts)) {
        let flow = unsafe { &*flow };
        facts.owner = flow.owner;
        facts.role = if flow.began_here != 0 { ROLE_CLIENT } else { ROLE_SERVER };
    }
    if facts.owner.cgroup_id == 0 {
        facts.owner.cgroup_id = unsafe { bpf_skb_cgroup_id(skb) };
    }
}

#[inline(always)]
fn udp_key(skb: *mut __sk_buff, facts: &PacketFacts) -> UdpKey {
    let mut key = UdpKey { cookie: unsafe { bpf_get_socket_cookie(skb.cast()) }, ..UdpKey::default() };
    let (source, destination): ([u8; 16], [u8; 16]) =
        unsafe { (core::mem::transmute(facts.source_ip), core::mem::transmute(facts.destination_ip)) };
    if facts.sent != 0 {
        (key.local_ip, key.local_port) = (source, facts.source_port);
        (key.remote_ip, key.remote_port) = (destination, facts.destination_port);
    } else {
        (key.local_ip, key.local_port) = (destination, facts.destination_port);
        (key.remote_ip, key.remote_port) = (source, facts.source_port);
    }
    key
}

/// Inode of the socket's network namespace. The socket of this kind of program is not a typed kernel pointer, so its
/// fields are copied; and no offset may be added to it before its address is made a number, which copying it does.
#[inline(always)]
fn netns(sk: *mut c_void) -> u32 {
    let address: u64 = copy(&raw const sk as u64);
    let net: u64 = copy(address + offset(0));
    copy(net + offset(1))
}

#[inline(always)]
fn offset(index: usize) -> u64 {
    // Volatile: the compiler must not take the zeros above for the values.
    u64::from(unsafe { core::ptr::read_volatile(&raw const WEIR_NETNS[index]) })
}

#[inline(always)]
fn copy<T: Copy>(from: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const c_void);
        value.assume_init()
    }
}
