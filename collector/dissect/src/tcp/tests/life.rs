//! Who is the client, how a connection begins and ends, and what each interval's row says of that.

use super::*;
use Side::{Client, Server};

#[test]
fn a_whole_connection_is_one_row() {
    let mut talk = Talk::between(0x0102_0304, 0x0a0b_0c0d);
    talk.open().say(Client, ACK, b"question");
    talk.wait(20 * MS).say(Server, ACK, b"the answer").wait(MS).close();
    let row = talk.flow();
    assert_eq!(row.connection_id.as_deref(), Some("010203040a0b0c0d"));
    assert_eq!(life(&row), ("only", Some("fin")));
    assert_eq!((row.client_ip.as_deref(), row.client_port), (Some("10.0.0.1"), Some(CLIENT_PORT)));
    assert_eq!((row.server_ip.as_deref(), row.server_port), (Some("192.168.0.2"), Some(SERVER_PORT)));
    assert_eq!(bytes(&row), (8, 10));
    assert_eq!(packets(&row), (5, 3));
    assert_eq!(retransmits(&row), (0, 0));
    assert_eq!(row.connect_us, Some(11_000));
    assert_eq!(row.first_byte_us, Some(20_000), "from the connection's opening to the server's first byte");
    assert_eq!((row.time, row.opened_time), (START_NS, Some(START_NS)));
    assert_eq!(row.end_time, Some(START_NS + 42 * MS));
    assert_eq!(row.encryption.as_deref(), Some("plaintext"));
}

#[test]
fn a_connection_that_is_refused_says_so() {
    let mut talk = Talk::new();
    talk.say(Client, SYN, &[]).say(Server, RST | ACK, &[]);
    let row = talk.flow();
    assert_eq!(life(&row), ("only", Some("refused")));
    assert_eq!((row.resets, bytes(&row), packets(&row)), (1, (0, 0), (1, 1)));
    assert_eq!(row.connect_us, None);
}

#[test]
fn whoever_resets_is_named_and_a_resets_payload_is_not_counted() {
    for (side, reason) in [(Client, "reset_by_client"), (Server, "reset_by_server")] {
        let mut talk = Talk::new();
        talk.open().say(Client, ACK, b"question").say(side, RST | ACK, b"a note to people");
        let row = talk.flow();
        assert_eq!(life(&row), ("only", Some(reason)));
        assert_eq!((row.resets, bytes(&row)), (1, (8, 0)));
    }
}

#[test]
fn an_unanswered_connection_times_out() {
    let mut talk = Talk::new();
    for retry in 0..4 {
        talk.again(Client, 0, SYN, &[]).wait(SECOND_NS << retry);
    }
    talk.tracker.advance(talk.now_ns + 140 * SECOND_NS);
    let rows = talk.tracker.take_rows().flows;
    assert_eq!(rows.len(), 1, "an unanswered connection's row waits for the answer that would name it");
    assert_eq!(life(&rows[0]), ("only", Some("timed_out")));
    assert_eq!(packets(&rows[0]), (4, 0));
    assert_eq!(retransmits(&rows[0]), (3, 0));
}

#[test]
fn a_half_open_connection_at_the_captures_end_is_not_over() {
    let mut talk = Talk::new();
    talk.open().say(Client, FIN | ACK, &[]).say(Server, ACK, b"still talking");
    let row = talk.flow();
    assert_eq!(life(&row), ("opened", None));
    assert_eq!(bytes(&row), (0, 13));
}

/// Seen from its middle, the server is the better known port; a hello knows better.
#[test]
fn a_connection_older_than_the_capture_finds_its_client() {
    let mut talk = Talk::new();
    talk.say(Server, ACK, b"data").say(Client, ACK, b"more");
    let row = talk.flow();
    assert_eq!(row.client_port, Some(CLIENT_PORT));
    assert_eq!((life(&row), row.opened_time, row.connect_us), (("ongoing", None), None, None));
    assert_eq!(row.encryption.as_deref(), Some("unknown"), "what was said before is not known");
    assert_eq!(row.connection_id.unwrap().len(), 32, "an id of its own, since the numbers are not known");

    let mut talk = Talk::new();
    talk.say(Server, ACK, &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
    assert_eq!(talk.flow().client_port, Some(SERVER_PORT), "who says a ClientHello is the client");
}

/// The capture began between SYN and answer, or lost the SYN.
#[test]
fn an_answer_without_its_syn_tells_the_clients_number() {
    let mut talk = Talk::new();
    talk.skip(Client, 1).say(Server, SYN | ACK, &[]).say(Client, ACK, b"hi").close();
    let row = talk.flow();
    assert_eq!(row.connection_id.as_deref(), Some("000003e8000007d0"));
    assert_eq!((row.client_port, bytes(&row)), (Some(CLIENT_PORT), (2, 0)));
}

#[test]
fn ends_that_open_at_the_same_time_have_one_connection() {
    let mut talk = Talk::new();
    talk.say(Client, SYN, &[]).say(Server, SYN, &[]);
    talk.again(Client, 1, SYN | ACK, &[]).again(Server, 1, SYN | ACK, &[]);
    talk.say(Client, ACK, b"one").say(Server, ACK, b"three").close();
    let row = talk.flow();
    assert_eq!(row.connection_id.as_deref(), Some("000003e8000007d0"));
    assert_eq!((bytes(&row), packets(&row)), ((3, 5), (5, 4)));
}

#[test]
fn ports_that_are_used_again_are_another_connection() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, b"first").close();
    talk.next = [5000, 6000];
    talk.wait(SECOND_NS).open().say(Client, ACK, b"second one").close();
    let flows = talk.rows().flows;
    let ids: Vec<_> = flows.iter().map(|row| row.connection_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["000003e8000007d0", "0000138800001770"]);
    assert_eq!(flows.iter().map(|row| row.client_bytes).collect::<Vec<_>>(), [5, 10]);
    assert!(flows.iter().all(|row| life(row) == ("only", Some("fin"))));
}

/// Challenge by an old duplicate, a scanner, or a load balancer's health check: it never came to be.
#[test]
fn a_second_different_answer_is_no_part_of_the_numbers() {
    let mut talk = Talk::new();
    talk.say(Client, SYN, &[]).say(Server, SYN | ACK, &[]);
    talk.raw(Server, 77, 1001, SYN | ACK, &[]).say(Client, ACK, b"hi").close();
    let row = talk.flow();
    assert_eq!(row.connection_id.as_deref(), Some("000003e8000007d0"));
    assert_eq!((bytes(&row), packets(&row), retransmits(&row)), ((2, 0), (4, 3), (0, 0)));
}

/// A last acknowledgement, or a reset by an end that is gone, belongs to what it follows.
#[test]
fn stragglers_are_in_the_closing_row() {
    let mut talk = Talk::new();
    talk.wait(9 * SECOND_NS).open().close().wait(SECOND_NS + 100 * MS).say(Server, RST, &[]);
    talk.tracker.advance(talk.now_ns + 60 * SECOND_NS);
    let rows = talk.tracker.take_rows().flows;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!((life(&rows[0]), rows[0].resets), (("only", Some("fin")), 1));
    assert!(talk.rows().flows.is_empty(), "said once");
}

#[test]
fn each_interval_has_its_row() {
    let mut talk = Talk::new();
    talk.open().say(Client, ACK, &[1; 100]);
    talk.wait(10 * SECOND_NS).say(Server, ACK, &[2; 200]);
    // Nothing moves in the third.
    talk.wait(20 * SECOND_NS).say(Client, ACK, &[3; 300]).close();
    let rows = talk.rows().flows;
    let lives: Vec<_> = rows.iter().map(life).collect();
    assert_eq!(lives, [("opened", None), ("ongoing", None), ("closed", Some("fin"))]);
    let starts: Vec<_> = rows.iter().map(|row| (row.time - START_NS) / SECOND_NS).collect();
    assert_eq!(starts, [0, 10, 30], "cut on multiples of the interval");
    assert_eq!(rows.iter().map(bytes).collect::<Vec<_>>(), [(100, 0), (0, 200), (300, 0)]);
    assert!(rows.iter().all(|row| row.connection_id == rows[0].connection_id));
    assert!(rows.iter().all(|row| row.opened_time == Some(START_NS)));
}

#[test]
fn a_udp_flow_ends_by_its_silence() {
    let mut tracker = FlowTracker::new(Options::default());
    let (asker, server) = ((1, 50_000), (2, 53));
    tracker.packet(START_NS, &datagram(asker, server, b"query"));
    tracker.packet(START_NS + MS, &datagram(server, asker, b"the answer"));
    tracker.packet(START_NS + 40 * SECOND_NS, &datagram(asker, server, b"another"));
    let rows = tracker.finish().flows;
    let lives: Vec<_> = rows.iter().map(life).collect();
    assert_eq!(lives, [("only", Some("idle")), ("opened", None)]);
    assert_eq!(rows.iter().map(bytes).collect::<Vec<_>>(), [(5, 10), (7, 0)]);
    assert!(rows.iter().all(|row| row.client_retransmits.is_none() && row.trace_id.is_none()));
    assert_ne!(rows[0].connection_id, rows[1].connection_id);
    assert_eq!((tracker.totals().udp_flows, tracker.totals().udp_packets), (2, 3));
}

#[test]
fn an_answer_whose_question_was_missed_is_the_servers() {
    let mut tracker = FlowTracker::new(Options::default());
    tracker.packet(START_NS, &datagram((2, 53), (1, 50_000), b"the answer"));
    let rows = tracker.finish().flows;
    assert_eq!((rows[0].client_port, rows[0].server_bytes), (Some(50_000), 10));
}
