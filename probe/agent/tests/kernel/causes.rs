//! Causality: what a service calls is laid to the request that it was called for, by programs of each kind. The truth is
//! in the sizes: whoever asks `2000 + n` bytes makes the service ask `1000 + n` behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_model::ExchangeRow;

use crate::bench::{Bench, Hosts};
use crate::peers::{Little, Nginx};

const ASKED: i64 = 2_000;
const PASSED_ON: i64 = 1_000;

/// A thread for each connection, as most servers in Java, Ruby and Python have it.
const THREADS: &str = r#"
import socket, sys, threading
back = ("127.0.0.1", int(sys.argv[1]))
def serve(client):
    while request := client.recv(4096):
        with socket.create_connection(back) as call:
            call.sendall(b"x" * (len(request) - 1000))
            call.recv(4096)
        client.sendall(b"answer")
    client.close()
server = socket.create_server(("10.83.0.2", 0))
print(server.getsockname()[1])
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
"#;

/// One thread reads, others work, as servers with a pool behind a queue have it.
const POOL: &str = r#"
import queue, socket, sys, threading
back = ("127.0.0.1", int(sys.argv[1]))
work = queue.Queue()
def serve():
    while True:
        client, request = work.get()
        with socket.create_connection(back) as call:
            call.sendall(b"x" * (len(request) - 1000))
            call.recv(4096)
        client.sendall(b"answer")
def read(client):
    while request := client.recv(4096):
        work.put((client, request))
for _ in range(4):
    threading.Thread(target=serve, daemon=True).start()
server = socket.create_server(("10.83.0.2", 0))
print(server.getsockname()[1])
while True:
    threading.Thread(target=read, args=(server.accept()[0],), daemon=True).start()
"#;

/// One thread for all, as nginx, Node.js and asyncio have it.
const EVENT_LOOP: &str = r#"
import asyncio, sys
async def serve(reader, writer):
    while request := await reader.read(4096):
        answer, call = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        call.write(b"x" * (len(request) - 1000))
        await answer.read(4096)
        call.close()
        writer.write(b"answer")
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "10.83.0.2", 0)
    print(server.sockets[0].getsockname()[1])
    await server.serve_forever()
asyncio.run(main())
"#;

/// A goroutine for each connection; every second call is made by one that it starts.
const GOROUTINES: &str = r#"
package main

import ("fmt"; "net"; "os")

func call(n int) {
	back, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil { panic(err) }
	defer back.Close()
	back.Write(make([]byte, n-1000))
	back.Read(make([]byte, 4096))
}

func serve(client net.Conn) {
	defer client.Close()
	request := make([]byte, 4096)
	for {
		n, err := client.Read(request)
		if err != nil { return }
		if n%2 == 0 {
			call(n)
		} else {
			done := make(chan bool)
			go func() { call(n); done <- true }()
			<-done
		}
		client.Write([]byte("answer"))
	}
}

func main() {
	server, err := net.Listen("tcp", "10.83.0.2:0")
	if err != nil { panic(err) }
	fmt.Println(server.Addr().(*net.TCPAddr).Port)
	for {
		client, err := server.Accept()
		if err != nil { panic(err) }
		go serve(client)
	}
}
"#;

/// The service behind: thinks for a moment, so that calls overlap, and answers.
fn back(hosts: &Hosts) -> u16 {
    back_that_says(hosts, b"ok")
}

fn back_that_says(hosts: &Hosts, answer: &'static [u8]) -> u16 {
    let listener = hosts.on(1, || TcpListener::bind("127.0.0.1:0").unwrap()).join().unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    #[expect(clippy::disallowed_methods, reason = "the server's own thread takes its time")]
                    std::thread::sleep(Duration::from_millis(5));
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// So many clients at once, each of which asks so often on one connection.
fn ask(hosts: &Hosts, port: u16, clients: usize, times: usize, from: usize) {
    let at = SocketAddr::from(([10, 83, 0, 2], port));
    let streams: Vec<TcpStream> = (0..clients).map(|_| hosts.connect(at).unwrap()).collect();
    let threads = streams.into_iter().enumerate().map(|(client, mut stream)| {
        std::thread::spawn(move || {
            for time in 0..times {
                let size = ASKED as usize + from + client * times + time;
                stream.write_all(&vec![b'q'; size]).unwrap();
                stream.read_exact(&mut [0; 6]).unwrap();
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}

/// The service's calls, and of each whether its cause is right.
async fn calls(bench: &Bench, front: u16, back: u16, count: usize) -> Vec<(ExchangeRow, bool)> {
    let is_right = |call: &ExchangeRow, cause: Option<ExchangeRow>| {
        cause.is_some_and(|cause| cause.request_bytes - ASKED == call.request_bytes - PASSED_ON)
    };
    let calls = matched(bench, front, back, count).await;
    let judged = calls.into_iter().map(|(call, cause)| {
        let is_right = is_right(&call, cause);
        (call, is_right)
    });
    judged.collect()
}

/// The service's calls, and of each the exchange that it is laid to.
async fn matched(
    bench: &Bench,
    front: u16,
    back: u16,
    count: usize,
) -> Vec<(ExchangeRow, Option<ExchangeRow>)> {
    let seen = |bench: &Bench| {
        let of = |port, observer: &str| {
            let mut rows = bench.exchanges(port);
            rows.retain(|row| row.observer.as_deref() == Some(observer));
            rows
        };
        (of(front, "server"), of(back, "client"))
    };
    let (inbound, outbound) = bench
        .until("every exchange", seen, |(inbound, outbound)| {
            inbound.len() >= count && outbound.len() >= count
        })
        .await;
    let cause = |call: &ExchangeRow| {
        let is_it = |row: &&ExchangeRow| {
            row.connection_id == call.cause_connection_id && row.request_offset == call.cause_request_offset
        };
        inbound.iter().find(is_it).cloned()
    };
    let matched = outbound.into_iter().map(|call| {
        let cause = cause(&call);
        (call, cause)
    });
    matched.collect()
}

fn is_by(call: &ExchangeRow, method: &str) -> bool {
    call.cause_method.as_deref() == Some(method)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_s_calls_are_for_the_request_that_it_reads() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let back = back(&hosts);
    let front = Little::python(&hosts, THREADS, &[back.to_string()]);
    ask(&hosts, front.port, 8, 10, 0);
    for (call, is_right) in calls(&bench, front.port, back, 80).await {
        assert!(is_by(&call, "thread") && is_right, "{call:#?}");
        assert_eq!(call.cause_candidates, Some(1));
    }
    bench.stop().await;
}

/// Work that goes to another thread leaves no trace that the kernel shows: no cause is better than a wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_s_calls_have_no_cause_rather_than_a_wrong_one() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let back = back(&hosts);
    let front = Little::python(&hosts, POOL, &[back.to_string()]);
    ask(&hosts, front.port, 8, 10, 0);
    for (call, _) in calls(&bench, front.port, back, 80).await {
        assert_eq!(call.cause_method, None, "{call:#?}");
        assert_eq!(call.cause_connection_id, None);
    }
    bench.stop().await;
}

/// nginx as a proxy handles what it reads at once, so even its guesses are right; with a connection for each call, and with
/// connections that stay. The requests come in parts, with others' between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_s_calls_are_for_the_request_that_it_passes_on() {
    const CLIENTS: usize = 8;
    const EACH: usize = 10;
    for stays in [false, true] {
        let hosts = Hosts::new();
        let bench = Bench::start().await;
        let back = back_that_says(&hosts, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let nginx = Nginx::proxy(&hosts, back, stays);
        let at = SocketAddr::from(([10, 83, 0, 2], nginx.port));
        let streams: Vec<TcpStream> = (0..CLIENTS).map(|_| hosts.connect(at).unwrap()).collect();
        let threads = streams.into_iter().enumerate().map(|(client, mut stream)| {
            std::thread::spawn(move || {
                for time in 0..EACH {
                    let path = "p".repeat(1 + client * EACH + time);
                    stream.write_all(format!("GET /{path} HTT").as_bytes()).unwrap();
                    #[expect(clippy::disallowed_methods, reason = "so that the server reads it in parts")]
                    std::thread::sleep(Duration::from_millis(2));
                    stream.write_all(b"P/1.1\r\nHost: front\r\n\r\n").unwrap();
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"\r\n\r\nok") {
                        let mut part = [0; 1024];
                        let read = stream.read(&mut part).unwrap();
                        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
                        answer.extend(&part[..read]);
                    }
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        // The same path behind other headers: what a request is longer or shorter by is the same for all.
        let calls = matched(&bench, nginx.port, back, CLIENTS * EACH).await;
        let by: Vec<Option<i64>> = calls
            .iter()
            .map(|(call, cause)| cause.as_ref().map(|cause| call.request_bytes - cause.request_bytes))
            .collect();
        assert!(
            by[0].is_some() && by.iter().all(|other| *other == by[0]),
            "stays: {stays}, {by:?}, {calls:#?}"
        );
        let known = |call: &ExchangeRow| is_by(call, "thread") || is_by(call, "event_loop");
        assert!(calls.iter().all(|(call, _)| known(call)), "{calls:#?}");
        assert!(calls.iter().any(|(call, _)| is_by(call, "event_loop")), "eight at once");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_loop_s_calls_are_sure_only_with_one_request_open() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let back = back(&hosts);
    let front = Little::python(&hosts, EVENT_LOOP, &[back.to_string()]);
    ask(&hosts, front.port, 1, 10, 0);
    for (call, is_right) in calls(&bench, front.port, back, 10).await {
        assert!(is_by(&call, "thread") && is_right, "one at a time: {call:#?}");
    }
    ask(&hosts, front.port, 8, 10, 10);
    let calls = calls(&bench, front.port, back, 90).await;
    for (call, is_right) in &calls {
        assert!(is_right | !is_by(call, "thread"), "what is called sure is right: {call:#?}");
        assert!(is_by(call, "thread") == (call.cause_candidates == Some(1)), "{call:#?}");
    }
    assert!(calls.iter().any(|(call, _)| is_by(call, "event_loop")), "eight at once");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goroutine_s_calls_and_those_of_its_children_are_for_the_request_that_it_reads() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let back = back(&hosts);
    let front = Little::go(&hosts, GOROUTINES, &[back.to_string()]);
    // The probe looks at new processes now and then; until it did, this one is like any other.
    let mut asked = 0;
    loop {
        ask(&hosts, front.port, 1, 1, asked);
        asked += 1;
        let seen = calls(&bench, front.port, back, asked).await;
        if seen.iter().any(|(call, _)| call.goroutine.is_some()) {
            break;
        }
    }
    ask(&hosts, front.port, 8, 10, asked);
    let calls = calls(&bench, front.port, back, asked + 80).await;
    let later = calls.iter().filter(|(call, _)| call.request_bytes >= PASSED_ON + asked as i64);
    for (call, is_right) in later {
        let expected = if call.request_bytes % 2 == 0 { "goroutine" } else { "goroutine_parent" };
        assert!(is_by(call, expected) && *is_right, "{call:#?}");
        assert!(call.goroutine.is_some());
    }
    bench.stop().await;
}
