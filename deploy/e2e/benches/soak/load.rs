//! The load: connections between two ends on one loopback, short and long, ended by either side or reset, and a log of
//! what each did. An address of the server serves [`EACH_ADDRESS`] connections, so that a pair of address and port hardly
//! ever comes twice.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// Connections to one address of the server; two ends of each fit into one answer of the API.
pub(crate) const EACH_ADDRESS: u32 = 2_000;
/// Most at once, within the 20,000 descriptors that most machines allow.
const AT_ONCE: usize = 8_000;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Where the load is served: a probe sees all of its machine, also a load like this one of somebody else's.
pub(crate) fn port() -> u16 {
    2_000 + (std::process::id() % 30_000) as u16
}

/// What one connection did, as both its ends agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) server_ip: Ipv4Addr,
    pub(crate) client_port: u16,
    pub(crate) client_bytes: u64,
    pub(crate) server_bytes: u64,
}

/// The load at work.
pub(crate) struct Load {
    thread: JoinHandle<io::Result<Vec<Logged>>>,
    opened: Arc<AtomicU32>,
}

impl Load {
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Every connection that was established and went as planned.
    ///
    /// # Errors
    /// When one did not: the load itself is broken, and proves nothing.
    pub(crate) fn log(self) -> anyhow::Result<Vec<Logged>> {
        Ok(self.thread.join().expect("the load's thread")?)
    }
}

/// Who ends a connection.
#[derive(Clone, Copy)]
enum End {
    Client,
    Server,
    Reset,
}

#[derive(Clone, Copy)]
struct Plan {
    rounds: u32,
    request: u32,
    response: u32,
    pause: Duration,
    end: End,
}

impl Plan {
    /// Connections of all kinds, the same in every run.
    fn of(number: u32) -> Plan {
        // A few rounds of a linear congruence: spread, not random.
        let mixed = (0..3).fold(u64::from(number), |mixed, _| {
            mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        });
        let bits = |from: u32, count: u32| ((mixed >> from) & ((1 << count) - 1)) as u32;
        let is_long = number.is_multiple_of(100);
        let large = if bits(8, 5) == 0 { 64 } else { 1 };
        Plan {
            rounds: if is_long { 20 } else { 1 + bits(16, 2) },
            request: 1 + bits(20, 10) * large,
            response: 1 + bits(32, 12) * large,
            // Long ones live through several intervals.
            pause: if is_long { Duration::from_millis(1_500) } else { Duration::ZERO },
            end: match bits(48, 3) {
                0 => End::Reset,
                1..=3 => End::Client,
                _ => End::Server,
            },
        }
    }

    /// Before each request: its length, the answer's, whether the server then closes.
    fn header(&self, is_last: bool) -> [u8; 9] {
        let mut header = [0; 9];
        header[..4].copy_from_slice(&self.request.to_be_bytes());
        header[4..8].copy_from_slice(&self.response.to_be_bytes());
        header[8] = u8::from(is_last && matches!(self.end, End::Server));
        header
    }
}

/// Starts it inside the namespace.
pub(crate) fn start(namespace: PathBuf, rate: u32, time: Duration) -> Load {
    let opened = Arc::new(AtomicU32::new(0));
    let seen = opened.clone();
    let thread = std::thread::spawn(move || {
        let inside = Arc::new(File::open(namespace)?);
        let of_worker = inside.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || {
                setns(&*of_worker, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            })
            .enable_all()
            .build()?;
        setns(&*inside, CloneFlags::CLONE_NEWNET)?;
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65000")?;
        runtime.block_on(work(rate, time, seen))
    });
    Load { thread, opened }
}

async fn work(rate: u32, time: Duration, opened: Arc<AtomicU32>) -> io::Result<Vec<Logged>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port())).await?;
    let serving = tokio::spawn(accept(listener));
    let (send, mut done) = mpsc::channel(1_024);
    let gathered = tokio::spawn(async move {
        let mut log = Vec::new();
        while let Some(logged) = done.recv().await {
            log.push(logged?);
        }
        Ok::<_, io::Error>(log)
    });
    let room = Arc::new(Semaphore::new(AT_ONCE / 2));
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < time {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while number < due {
            let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (plan, address, send) = (Plan::of(number), address(number), send.clone());
            tokio::spawn(async move {
                let logged = talk(plan, address).await;
                drop(permit);
                // Nobody listens only when another connection failed, which is what will be said.
                let _ = send.send(logged).await;
            });
            number += 1;
            opened.store(number, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(send);
    let log = gathered.await.map_err(io::Error::other)?;
    serving.abort();
    log
}

/// `127.1.0.1` and up.
fn address(number: u32) -> Ipv4Addr {
    let index = number / EACH_ADDRESS;
    Ipv4Addr::new(127, 1 + (index / 50_000) as u8, (index / 200 % 250) as u8, (1 + index % 200) as u8)
}

async fn talk(plan: Plan, server_ip: Ipv4Addr) -> io::Result<Logged> {
    let to = SocketAddr::from((server_ip, port()));
    let mut stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(to)).await??;
    let client_port = stream.local_addr()?.port();
    let (mut client_bytes, mut server_bytes) = (0, 0);
    let mut request = vec![b'q'; plan.request as usize + 9];
    let mut response = vec![0; plan.response as usize];
    for round in 1..=plan.rounds {
        request[..9].copy_from_slice(&plan.header(round == plan.rounds));
        stream.write_all(&request).await?;
        stream.read_exact(&mut response).await?;
        client_bytes += request.len() as u64;
        server_bytes += response.len() as u64;
        if !plan.pause.is_zero() {
            tokio::time::sleep(plan.pause).await;
        }
    }
    match plan.end {
        End::Reset => stream.set_zero_linger()?,
        End::Client => {}
        // Its FIN comes before ours.
        End::Server => while stream.read(&mut response).await? > 0 {},
    }
    Ok(Logged { server_ip, client_port, client_bytes, server_bytes })
}

async fn accept(listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        } else {
            // Out of descriptors: the client will tell, by its time limit.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Answers until the client ends or asks us to; what fails here fails at the client too.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut response = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let length =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        request.resize(length(0) as usize, 0);
        response.resize(length(4) as usize, b'a');
        stream.read_exact(&mut request).await?;
        stream.write_all(&response).await?;
        if header[8] != 0 {
            return Ok(());
        }
    }
}
