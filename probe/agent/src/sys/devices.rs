//! Which network devices there are, from the kernel itself (`rtnetlink(7)`): names, indices, kinds, and news that one came,
//! went or changed. News needs a bound socket, which a confined probe may not make any more: it is made at the start.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A network device of our own network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `ARPHRD_*`.
    pub(crate) kind: u16,
}

impl Device {
    /// Whether its packets begin with an Ethernet header (`netdevice(7)`); else with the IP header.
    pub(crate) fn is_ethernet(&self) -> bool {
        matches!(self.kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }

    /// Whether it is one of those whose packets we can read.
    pub(crate) fn is_readable(&self) -> bool {
        const ARPHRD_RAWIP: u16 = 519;
        const ARPHRD_IP6GRE: u16 = 823;
        self.is_ethernet()
            || matches!(
                self.kind,
                libc::ARPHRD_NONE
                    | libc::ARPHRD_PPP
                    | libc::ARPHRD_TUNNEL
                    | libc::ARPHRD_TUNNEL6
                    | libc::ARPHRD_SIT
                    | libc::ARPHRD_IPGRE
                    | ARPHRD_IP6GRE
                    | ARPHRD_RAWIP
            )
    }
}

/// `struct nlmsghdr`, `struct ifinfomsg`.
const MESSAGE: usize = 16;
const INFO: usize = 16;
/// `RTEXT_FILTER_SKIP_STATS`: counters are most of what the kernel would say of a device.
const SKIP_STATS: u32 = 1 << 3;
const BUFFER: usize = 64 << 10;

/// Asks for devices, and hears of changes.
pub(crate) struct Devices {
    news: OwnedFd,
    buffer: Vec<u8>,
}

impl Devices {
    /// # Errors
    /// The kernel has no such sockets for us.
    pub(crate) fn open() -> io::Result<Devices> {
        let news = socket(libc::SOCK_NONBLOCK)?;
        // SAFETY: any bytes are a value of this struct of integers.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        // SAFETY: a plain system call; the address outlives it, and is as long as is said.
        let bound = unsafe {
            libc::bind(news.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_nl>() as u32)
        };
        super::succeeded(libc::c_long::from(bound))?;
        Ok(Devices { news, buffer: vec![0; BUFFER] })
    }

    /// Whether something changed since the last call.
    pub(crate) fn have_changed(&mut self) -> bool {
        let mut changed = false;
        loop {
            match receive(&self.news, &mut self.buffer) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                // More than the socket holds: something did.
                Err(_) => return true,
            }
        }
    }

    /// All there are.
    ///
    /// # Errors
    /// The kernel doesn't answer.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Device>> {
        let socket = socket(0)?;
        let request = request();
        // SAFETY: a plain system call; the buffer is as long as is said. Netlink needs no address: it goes to the kernel.
        let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        super::succeeded(sent as libc::c_long)?;
        let mut devices = Vec::new();
        loop {
            let length = match receive(&socket, &mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if !read_messages(&self.buffer[..length], &mut devices)? {
                return Ok(devices);
            }
        }
    }
}

fn socket(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, libc::NETLINK_ROUTE)
    };
    super::succeeded(libc::c_long::from(fd))?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: a plain system call; the buffer is as long as is said.
    let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    super::succeeded(length as libc::c_long)?;
    Ok(length as usize)
}

/// `RTM_GETLINK` for all devices, without their counters.
fn request() -> Vec<u8> {
    const LENGTH: usize = MESSAGE + INFO + 8;
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend((LENGTH as u32).to_ne_bytes());
    bytes.extend(libc::RTM_GETLINK.to_ne_bytes());
    bytes.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0; INFO]);
    bytes.extend(8_u16.to_ne_bytes());
    bytes.extend(libc::IFLA_EXT_MASK.to_ne_bytes());
    bytes.extend(SKIP_STATS.to_ne_bytes());
    bytes
}

/// The devices of one piece of the answer; whether more comes.
fn read_messages(mut bytes: &[u8], devices: &mut Vec<Device>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (number::<4>(bytes, 0), number::<2>(bytes, 4)) {
        let Some(message) = bytes.get(..length as usize).filter(|message| message.len() >= MESSAGE) else {
            return Ok(false);
        };
        match kind as i32 {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => {
                let error = number::<4>(message, MESSAGE).map_or(libc::EIO, |error| -(error as i32));
                return Err(io::Error::from_raw_os_error(error));
            }
            _ if kind == u32::from(libc::RTM_NEWLINK) => devices.extend(device(message)),
            _ => {}
        }
        bytes = bytes.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn device(message: &[u8]) -> Option<Device> {
    let kind = number::<2>(message, MESSAGE + 2)? as u16;
    let index = number::<4>(message, MESSAGE + 4)?;
    let mut attributes = message.get(MESSAGE + INFO..)?;
    loop {
        let (length, which) = (number::<2>(attributes, 0)? as usize, number::<2>(attributes, 2)?);
        if which == u32::from(libc::IFLA_IFNAME) {
            let name = attributes.get(4..length)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            return Some(Device { index, name: String::from_utf8_lossy(&name[..end]).into_owned(), kind });
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// A number of `N` bytes, in the machine's order.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; N] = bytes.get(at..at + N)?.try_into().ok()?;
    Some(bytes.iter().enumerate().fold(0, |sum, (place, byte)| {
        let place = if cfg!(target_endian = "big") { N - 1 - place } else { place };
        sum | u32::from(*byte) << (8 * place)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_devices_are_those_of_procfs() {
        let devices =
            Devices::open().and_then(|mut devices| devices.all()).expect("netlink is allowed to all");
        let text = std::fs::read_to_string("/proc/self/net/dev").expect("procfs");
        let mut expected: Vec<&str> = text
            .lines()
            .skip(2)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        let mut names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        // Tests beside this one make devices.
        names.retain(|name| expected.contains(name));
        expected.retain(|name| names.contains(name));
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let loopback = devices.iter().find(|device| device.name == "lo").expect("lo");
        assert!(loopback.index == 1 && loopback.is_ethernet() && loopback.is_readable());
    }
}
