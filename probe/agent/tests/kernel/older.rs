//! Connections older than the probe, and what a stopping probe still says.

use std::io::{Read, Write};

use aya::maps::{HashMap, Map, MapData};
use weir_model::FlowRow;

use crate::bench::{Bench, Hosts, collector, sum};
use crate::restart::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_older_than_the_probe_counts_from_its_start() {
    let hosts = Hosts::new();
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&[b'o'; 4000]).unwrap();
    server.read_exact(&mut [0; 4000]).unwrap();
    server.write_all(&[b'o'; 100]).unwrap();
    client.read_exact(&mut [0; 100]).unwrap();
    let bench = Bench::start().await;
    let rows =
        bench.until("a row at both ends", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    assert!(
        rows.iter().all(|row| row.state.as_deref() == Some("ongoing") && row.client_bytes == 0),
        "{rows:#?}"
    );
    assert_eq!(
        rows[0].connection_id, rows[1].connection_id,
        "one id at both ends, though nobody saw the opening"
    );
    assert_eq!(rows[0].connection_id.as_deref().unwrap().len(), 16);
    client.write_all(&[b'n'; 70]).unwrap();
    server.read_exact(&mut [0; 70]).unwrap();
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    let (client_rows, server_rows) = bench.both_ends(at.port()).await;
    for rows in [client_rows, server_rows] {
        assert_eq!(
            (sum(&rows, |row| row.client_bytes), sum(&rows, |row| row.server_bytes)),
            (70, 0),
            "{rows:#?}"
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_probe_reports_what_moved_and_leaves_nothing_behind() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    bench.until("early rows", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    client.write_all(&[b'l'; 321]).unwrap();
    server.read_exact(&mut [0; 321]).unwrap();
    let rows: Vec<FlowRow> =
        bench.stop().await.into_iter().filter(|row| row.server_port == Some(at.port())).collect();
    assert_eq!(sum(&rows, |row| row.client_bytes), 2 * 321, "{rows:#?}");
}

/// A connection that closes while the probe takes note of it: nobody is told that it closed. What that leaves is made here
/// by hand, since the moment lasts some hundred nanoseconds: the entry of a socket that is there, and closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closed_as_it_was_picked_up_is_found_out() {
    // Value of the map; only the ports are looked at (`Conn`).
    type State = [u8; 200];
    const LOCAL_PORT: usize = 88;
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let probe = place.probe(&endpoint, &[]).await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (server, _) = listener.accept().unwrap();
    let pinned = find(&place.pins(), "WEIR_CONNS").expect("the probe's map is pinned");
    let map = Map::from_map_data(MapData::from_pin(pinned).unwrap()).unwrap();
    let mut conns: HashMap<_, u64, State> = HashMap::try_from(map).unwrap();
    let ports = [client.local_addr().unwrap().port(), at.port()].map(u16::to_ne_bytes).concat();
    let is_ours = |state: &State| state[LOCAL_PORT..LOCAL_PORT + 4] == ports;
    let (socket, state) =
        conns.iter().map(Result::unwrap).find(|(_, state)| is_ours(state)).expect("it's there");
    // It closes, but this process holds the socket still.
    drop(server);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let ends = |rows: &Vec<FlowRow>| {
        rows.iter().filter(|row| matches!(row.state.as_deref(), Some("closed" | "only"))).count()
    };
    keeper.until("both ends' end", |keeper| keeper.flows(at.port()), |rows| ends(rows) == 2).await;
    assert!(conns.get(&socket, 0).is_err(), "a close that is seen takes the entry out");
    conns.insert(socket, state, 0).unwrap();
    keeper.until("its entry gone", |_| conns.get(&socket, 0).is_err(), |gone| *gone).await;
    keeper.until("that it is counted", |keeper| keeper.lost("close_unseen"), |lost| *lost >= 1).await;
    // Once more in the last interval, which no other follows.
    conns.insert(socket, state, 0).unwrap();
    probe.stop();
    assert!(keeper.lost("close_unseen") >= 2, "what the last look finds is told too");
    assert_eq!(ends(&keeper.flows(at.port())), 2, "and nothing more is told of it");
    drop(client);
}

/// A file of that name, at any depth.
fn find(directory: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(directory).unwrap().flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { (entry.file_name() == name).then_some(path) }
    })
}
