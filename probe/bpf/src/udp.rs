//! UDP flows: one entry for each socket and other end, counted where packets meet their socket. DNS's datagrams, and those
//! that `handshake.rs` wants, are handed on to `datagram.rs`.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_get_socket_cookie, bpf_skb_cgroup_id, generated::bpf_probe_read_kernel,
};
use weir_abi::{DNS_PORT, Field, KIND_UDP, Lost, Owner, UdpFlow, UdpKey, UdpRecord};

use crate::datagram::{self, Part};
use crate::handshake::{self, PEEK};
use crate::kernel::{self, copied};
use crate::lost::add;
use crate::maps::{EVENTS, UDP};
use crate::packet::{Ip, load};

const UDP_HEADER: u32 = 8;
const PEEK_END: usize = UDP_HEADER as usize + PEEK;

/// Counts a UDP packet.
#[inline(always)]
pub fn packet(skb: *mut __sk_buff, ip: &Ip, sent: bool) -> Result<(), Lost> {
    let mut key = UdpKey::default();
    let ip_len = ip.len;
    let (from, to) = if ip.is_v4 {
        (kernel::mapped(load::<u32>(skb, 12)?), kernel::mapped(load::<u32>(skb, 16)?))
    } else {
        (load::<[u8; 16]>(skb, 8)?, load::<[u8; 16]>(skb, 24)?)
    };
    let total = unsafe { (*skb).len };
    // One read for the ports and for what the payload begins with: a second one would cost each packet as much.
    let can_be_handshake = total >= ip_len + PEEK_END as u32;
    let mut header = [0_u8; PEEK_END];
    if can_be_handshake {
        header = load::<[u8; PEEK_END]>(skb, ip_len)?;
    } else {
        header[..4].copy_from_slice(&load::<[u8; 4]>(skb, ip_len)?);
    }
    let from_port = u16::from_be_bytes([header[0], header[1]]);
    let to_port = u16::from_be_bytes([header[2], header[3]]);
    if sent {
        (key.local_ip, key.local_port, key.remote_ip, key.remote_port) = (from, from_port, to, to_port);
    } else {
        (key.local_ip, key.local_port, key.remote_ip, key.remote_port) = (to, to_port, from, from_port);
    }
    key.cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let headers = ip_len + UDP_HEADER;
    let payload = if total > headers { total - headers } else { 0 };
    let segments = unsafe { (*skb).gso_segs };
    let flow = match UDP.get_ptr_mut(&key) {
        Some(flow) => flow,
        None => begin(skb, &key, sent)?,
    };
    unsafe { count(flow, sent, u64::from(payload), u64::from(if segments > 1 { segments } else { 1 })) };
    if sent && unsafe { (*flow).owner.pid } == 0 {
        unsafe { (*flow).owner = sender(skb) };
    }
    let part = if key.local_port == DNS_PORT || key.remote_port == DNS_PORT {
        Part::First
    } else if can_be_handshake && handshake::may_be(header[UDP_HEADER as usize], unsafe { &*flow }) {
        let mut bytes = [0_u8; PEEK];
        bytes.copy_from_slice(&header[UDP_HEADER as usize..]);
        let segment = unsafe { (*skb).gso_size };
        let len = if segment > 0 && segment < payload { segment } else { payload };
        match handshake::wanted(unsafe { &mut *flow }, &bytes, len, sent)? {
            Some(part) => part,
            None => return Ok(()),
        }
    } else {
        return Ok(());
    };
    datagram::copy(skb, &key, flow, sent, headers, part)
}

#[inline(always)]
unsafe fn count(flow: *mut UdpFlow, sent: bool, bytes: u64, packets: u64) {
    let now = kernel::now();
    unsafe {
        (*flow).last_ns = now;
        if sent {
            add(&raw mut (*flow).sent_bytes, bytes);
            add(&raw mut (*flow).sent_packets, packets);
        } else {
            if (*flow).first_received_ns == 0 {
                (*flow).first_received_ns = now;
            }
            add(&raw mut (*flow).received_bytes, bytes);
            add(&raw mut (*flow).received_packets, packets);
        }
    }
}

/// A new flow: an entry, and news of it for user space.
#[inline(always)]
fn begin(skb: *mut __sk_buff, key: &UdpKey, sent: bool) -> Result<*mut UdpFlow, Lost> {
    let now = kernel::now();
    let mut flow = UdpFlow { first_ns: now, last_ns: now, began_here: u8::from(sent), ..UdpFlow::default() };
    flow.owner.cgroup_id = unsafe { bpf_skb_cgroup_id(skb) };
    flow.netns = netns(skb);
    // Refused because another CPU was faster: then the lookup below finds that one's.
    let _ = UDP.insert(key, &flow, u64::from(BPF_NOEXIST));
    let Some(entry) = UDP.get_ptr_mut(key) else { return Err(Lost::UdpMapFull) };
    if let Some(mut news) = EVENTS.reserve_untyped::<UdpRecord>(0) {
        news.write(UdpRecord { kind: KIND_UDP, _pad: [0; 7], time_ns: now, key: *key });
        news.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        crate::lost::count(Err(Lost::RingFullUdp));
    }
    Ok(entry)
}

/// Who sends this datagram. Typed task pointers are not to be had in this kind of program on older kernels, so
/// the fields are copied.
#[inline(always)]
fn sender(skb: *mut __sk_buff) -> Owner {
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    let mut owner = Owner { cgroup_id: unsafe { bpf_skb_cgroup_id(skb) }, ..Owner::default() };
    owner.pid = copied(task, Field::Tgid, 0);
    let leader: u64 = copied(task, Field::Leader, 0);
    owner.comm = copied(leader as *const c_void, Field::Comm, 0);
    owner
}

/// The network namespace. The packet's socket is typed, but of a type that shows none of this: its address is read
/// back as a number.
#[inline(always)]
fn netns(skb: *mut __sk_buff) -> u32 {
    let sk = kernel::socket_of(skb);
    let mut socket = 0_u64;
    let read = unsafe { bpf_probe_read_kernel((&raw mut socket).cast(), 8, (&raw const sk).cast()) };
    if read != 0 {
        return 0;
    }
    let net: u64 = copied(socket as *const c_void, Field::Net, 0);
    copied(net as *const c_void, Field::NetInode, 0)
}
