//! Latency at a load that stays the same, whoever is measured: requests are due at fixed times, and one that had to wait
//! for the one before counts from when it was due. So a slow answer is not hidden by fewer questions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::lab::hosts::{CLIENT, Hosts};
use crate::lab::loads::{self, Load};
use crate::lab::{Spread, pause};
use crate::subject::{Subject, Yard};
use crate::verdicts::Verdicts;

const CLIENTS: u32 = 16;
/// Part of what the machine can do at most.
const LOADED: f64 = 0.3;

pub(crate) fn measure(yard: &Yard, hosts: &Hosts, rounds: u32, seconds: u32, verdicts: &mut Verdicts) {
    let subjects = Subject::all();
    println!("\nLatency at equal load, µs, median (lowest–highest) of {rounds} rounds.\n");
    println!("| load | with | a second | p50 | p99 | p50, with ÷ without | p99, with ÷ without |");
    println!("|---|---|---|---|---|---|---|");
    for load in [Load::KeepAlive, Load::Connections] {
        let rate = loads::run(hosts, load, 1).per_second * LOADED;
        let mut taken: Vec<Vec<Taken>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds as usize {
            for index in (0..subjects.len()).map(|index| (index + round) % subjects.len()) {
                let running = yard.start(&subjects[index], hosts);
                taken[index].push(paced(hosts, load, rate, Duration::from_secs(seconds.into())));
                drop(running);
            }
        }
        for (subject, runs) in subjects.iter().zip(&taken) {
            let of =
                |figure: fn(&Taken) -> f64| Spread::of(&runs.iter().map(figure).collect::<Vec<_>>()).unwrap();
            let against = |figure: fn(&Taken) -> f64| {
                let pairs = runs.iter().zip(&taken[0]).map(|(with, without)| figure(with) / figure(without));
                Spread::of(&pairs.collect::<Vec<_>>()).unwrap()
            };
            let (p50, p99) = (of(|run| run.p50_us), of(|run| run.p99_us));
            let (more50, more99) = (against(|run| run.p50_us), against(|run| run.p99_us));
            let per_second = of(|run| run.per_second).median;
            let (load_name, name) = (load.name(), subject.name());
            println!(
                "| {load_name} | {name} | {per_second:.0} | {:.0} | {:.0} | {more50} | {more99} |",
                p50.median, p99.median
            );
            verdicts.latency(load, subject, more99);
        }
    }
}

/// How long answers took.
pub(crate) struct Taken {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) per_second: f64,
}

/// Asks the web server `per_second` times a second, for so long.
pub(crate) fn paced(hosts: &Hosts, load: Load, per_second: f64, time: Duration) -> Taken {
    let between = Duration::from_secs_f64(f64::from(CLIENTS) / per_second);
    let mut all = hosts.within(CLIENT, || {
        let began = Instant::now();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let first = began + between.mul_f64(f64::from(client) / f64::from(CLIENTS));
                    scope.spawn(move || ask(load, first, between, began + time))
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<u32>>()
        })
    });
    all.sort_unstable();
    let at =
        |part: f64| all.get((all.len() as f64 * part) as usize).map_or(0.0, |ns| f64::from(*ns) / 1000.0);
    Taken { p50_us: at(0.5), p99_us: at(0.99), per_second: all.len() as f64 / time.as_secs_f64() }
}

/// One client; gives ns of each answer.
fn ask(load: Load, first: Instant, between: Duration, end: Instant) -> Vec<u32> {
    // The kernel otherwise joins timers that are 50 µs apart.
    nix::sys::prctl::set_timerslack(1).unwrap();
    let address = loads::web_address();
    let open = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let mut kept = (load == Load::KeepAlive).then(open);
    let mut taken = Vec::new();
    let mut buffer = [0; 1024];
    let mut due = first;
    while due < end {
        let now = Instant::now();
        let started = if now < due {
            pause(due - now);
            // How late the timer woke us is not the answer's.
            Instant::now()
        } else {
            due
        };
        if let Some(stream) = &mut kept {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n").unwrap();
            let mut length = 0;
            // The answer ends with the body that the server is set up to give.
            while !buffer[..length].ends_with(b"weir") {
                let read = stream.read(&mut buffer[length..]).unwrap();
                assert!(read > 0, "the server closed");
                length += read;
            }
        } else {
            let mut stream = open();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").unwrap();
            while stream.read(&mut buffer).unwrap() > 0 {}
        }
        taken.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
        due += between;
    }
    taken
}
