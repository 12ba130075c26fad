//! A capture like a busy node's, the same bytes every time: TLS over TCP on many connections at once, data both ways,
//! retransmissions, a little UDP, some ARP.

use std::io::{self, Write};

/// How long the capture's day is spread: a packet every so many ns.
const STEP_NS: u64 = 25_000;
/// Connections that are open at once.
const AT_ONCE: usize = 2_000;
/// Segments of application data in one connection.
const DATA: u32 = 40;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) packets: u64,
    pub(crate) tcp_packets: u64,
    pub(crate) tcp_bytes: u64,
    pub(crate) udp_packets: u64,
    pub(crate) bytes: u64,
    pub(crate) connections: u64,
}

struct Connection {
    client: [u8; 4],
    server: [u8; 4],
    port: u16,
    sequence: [u32; 2],
    step: u32,
}

/// Writes a pcap (ns, Ethernet) of `packets` packets.
pub(crate) fn capture(out: &mut impl Write, packets: u64) -> io::Result<Written> {
    let mut header = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        header.extend(word.to_le_bytes());
    }
    out.write_all(&header)?;
    let mut written = Written::default();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut open: Vec<Connection> = (0..AT_ONCE).map(|nth| connect(nth as u64, &mut written)).collect();
    let mut started = open.len() as u64;
    let mut frame = Vec::with_capacity(1600);
    while written.packets < packets {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let nth = (random >> 8) as usize % open.len();
        frame.clear();
        let tcp = match random % 100 {
            0 => {
                udp(&mut frame, &open[nth], random);
                false
            }
            1 if random & 0x1000 != 0 => {
                frame.extend([0xff; 12]);
                frame.extend([0x08, 0x06]);
                frame.resize(60, 0);
                false
            }
            _ => {
                if open[nth].segment(&mut frame, random) {
                    open[nth] = connect(started, &mut written);
                    started += 1;
                }
                true
            }
        };
        let length = frame.len() as u32;
        let now = 1_700_000_000_000_000_000 + written.packets * STEP_NS;
        for word in [(now / 1_000_000_000) as u32, (now % 1_000_000_000) as u32, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&frame)?;
        written.packets += 1;
        written.bytes += u64::from(length);
        if tcp {
            written.tcp_packets += 1;
            written.tcp_bytes += u64::from(length);
        } else if frame[12..14] == [0x08, 0x00] {
            written.udp_packets += 1;
        }
    }
    out.flush()?;
    Ok(written)
}

fn connect(nth: u64, written: &mut Written) -> Connection {
    written.connections += 1;
    let [.., a, b, c] = (nth as u32 / 50_000 + 1).to_be_bytes();
    Connection {
        client: [10, a, b, c],
        server: [192, 168, (nth % 7) as u8, (nth % 31) as u8 + 1],
        port: 10_000 + (nth % 50_000) as u16,
        sequence: [(nth as u32).wrapping_mul(2_654_435_761), (nth as u32).wrapping_mul(40_503) ^ 0xffff_0000],
        step: 0,
    }
}

impl Connection {
    /// The next segment; true: it was the last.
    fn segment(&mut self, frame: &mut Vec<u8>, random: u64) -> bool {
        const SYN: u8 = 2;
        const FIN: u8 = 1;
        const PSH: u8 = 8;
        const ACK: u8 = 16;
        let step = self.step;
        self.step += 1;
        match step {
            0 => self.write(frame, 0, SYN, &[], true),
            1 => self.write(frame, 1, SYN | ACK, &[], true),
            2 => self.write(frame, 0, ACK, &[], true),
            3 => self.write(frame, 0, PSH | ACK, &client_hello(random), true),
            4 => self.write(frame, 1, PSH | ACK, &server_hello(random), true),
            5 => self.write(frame, 0, PSH | ACK, &record(23, 58), true),
            step if step < DATA => {
                let from = usize::from(random & 3 != 0);
                let length = [0, 120, 700, 1400][(random >> 4) as usize & 3];
                let again = (random >> 20).is_multiple_of(64);
                if again && length > 0 {
                    // Sent twice: the sequence number doesn't move on the first time.
                    self.write(frame, from, PSH | ACK, &record(23, length), false);
                    self.step -= 1;
                } else if length == 0 {
                    self.write(frame, from, ACK, &[], true);
                } else {
                    self.write(frame, from, PSH | ACK, &record(23, length), true);
                }
            }
            DATA => self.write(frame, 0, FIN | ACK, &[], true),
            step if step == DATA + 1 => self.write(frame, 1, FIN | ACK, &[], true),
            _ => {
                self.write(frame, 0, ACK, &[], true);
                return true;
            }
        }
        false
    }

    fn write(&mut self, frame: &mut Vec<u8>, from: usize, flags: u8, payload: &[u8], moves_on: bool) {
        let (src, dst) = if from == 0 { (self.client, self.server) } else { (self.server, self.client) };
        let ports = if from == 0 { (self.port, 443) } else { (443, self.port) };
        ipv4(frame, 6, src, dst, 20 + payload.len());
        frame.extend(ports.0.to_be_bytes());
        frame.extend(ports.1.to_be_bytes());
        frame.extend(self.sequence[from].to_be_bytes());
        frame.extend(self.sequence[1 - from].to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        if moves_on {
            let numbers = payload.len() as u32 + u32::from(flags & 3 != 0);
            self.sequence[from] = self.sequence[from].wrapping_add(numbers);
        }
    }
}

fn udp(frame: &mut Vec<u8>, connection: &Connection, random: u64) {
    ipv4(frame, 17, connection.client, connection.server, 8 + 40);
    frame.extend((20_000 + (random >> 40) as u16 % 512).to_be_bytes());
    frame.extend([0, 53, 0, 48, 0, 0]);
    frame.extend([7; 40]);
}

fn ipv4(frame: &mut Vec<u8>, protocol: u8, src: [u8; 4], dst: [u8; 4], length: usize) {
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    frame.extend([0x45, 0]);
    frame.extend((20 + length as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(src);
    frame.extend(dst);
}

fn record(kind: u8, length: usize) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend((length as u16).to_be_bytes());
    record.resize(5 + length, 0x5a);
    record
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([kind, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

fn extension(list: &mut Vec<u8>, number: u16, content: &[u8]) {
    list.extend(number.to_be_bytes());
    list.extend((content.len() as u16).to_be_bytes());
    list.extend(content);
}

fn client_hello(random: u64) -> Vec<u8> {
    let mut extensions = Vec::new();
    let name = format!("service-{}.example.org", random % 997);
    let mut sni = vec![0, name.len() as u8 + 3, 0, 0, name.len() as u8];
    sni.extend(name.as_bytes());
    extension(&mut extensions, 0, &sni);
    extension(&mut extensions, 10, &[0, 6, 0x2a, 0x2a, 0, 29, 0, 23]);
    extension(&mut extensions, 11, &[1, 0]);
    extension(&mut extensions, 13, &[0, 6, 4, 3, 8, 4, 4, 1]);
    extension(&mut extensions, 16, b"\0\x0c\x02h2\x08http/1.1");
    extension(&mut extensions, 43, &[4, 3, 4, 3, 3]);
    let mut share = vec![0, 36, 0, 29, 0, 32];
    share.extend([9; 32]);
    extension(&mut extensions, 51, &share);
    let mut body = vec![3, 3];
    body.extend([5; 32]);
    body.push(32);
    body.extend([6; 32]);
    body.extend([0, 10, 0x1a, 0x1a, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    handshake(1, &body)
}

fn server_hello(random: u64) -> Vec<u8> {
    let mut extensions = Vec::new();
    extension(&mut extensions, 43, &[3, 4]);
    let mut share = vec![0, 29, 0, 32];
    share.extend([8; 32]);
    extension(&mut extensions, 51, &share);
    let mut body = vec![3, 3];
    body.extend([random as u8; 32]);
    body.push(32);
    body.extend([6; 32]);
    body.extend([0x13, 0x01, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut bytes = handshake(2, &body);
    bytes.extend(record(20, 1));
    bytes.extend(record(23, 900));
    bytes
}
