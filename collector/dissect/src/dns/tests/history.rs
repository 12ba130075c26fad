//! Names of addresses are those of their time.

use std::net::IpAddr;

use smol_str::SmolStr;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

struct Host(History<u8>);

impl Host {
    fn new() -> Host {
        Host(History::new(100))
    }

    /// Host 0 resolves `name` to [`ADDRESS`].
    fn resolves(&mut self, asker: u32, seconds: i64, name: &str, ttl_s: u32) {
        let message = Wire::answer(1, name, A, 0).record(ITS_NAME, A, ttl_s, &[192, 0, 2, 1]).parse();
        self.0.learn(&0, asker, seconds * SECOND_NS, &SmolStr::new(name), &message);
    }

    fn name(&self, asker: u32, seconds: i64) -> Option<&str> {
        self.0.name(&0, asker, ADDRESS, seconds * SECOND_NS).map(SmolStr::as_str)
    }
}

#[test]
fn each_moment_has_the_name_of_its_own_time() {
    let mut host = Host::new();
    host.resolves(0, 100, "old.example", 60);
    host.resolves(0, 5000, "new.example", 60);
    assert_eq!(host.name(0, 99), None, "nobody had asked yet");
    assert_eq!(host.name(0, 100), Some("old.example"));
    assert_eq!(host.name(0, 160), Some("old.example"));
    assert_eq!(host.name(0, 760), Some("old.example"), "kept for longer than its TTL");
    assert_eq!(host.name(0, 761), None, "but not for good");
    assert_eq!(host.name(0, 4999), None);
    assert_eq!(host.name(0, 5000), Some("new.example"));
    // What is learnt later changes nothing of the past.
    host.resolves(0, 5100, "old.example", 60);
    assert_eq!((host.name(0, 5099), host.name(0, 5100)), (Some("new.example"), Some("old.example")));
}

#[test]
fn an_answer_that_comes_again_goes_on_to_hold() {
    let mut host = Host::new();
    for seconds in (0..10_000).step_by(100) {
        host.resolves(0, seconds, "a.example", 30);
    }
    assert_eq!((host.name(0, 10), host.name(0, 9_999)), (Some("a.example"), Some("a.example")));
    assert_eq!(host.name(0, 9_900 + 631), None);
}

/// Content networks: thousands of names behind one address.
#[test]
fn a_process_s_own_name_counts_first() {
    let mut host = Host::new();
    host.resolves(10, 0, "a.example", 300);
    host.resolves(20, 1, "b.example", 300);
    assert_eq!(host.name(10, 5), Some("a.example"));
    assert_eq!(host.name(20, 5), Some("b.example"));
    assert_eq!(host.name(30, 5), Some("b.example"), "whose resolver is another process");
    assert_eq!(host.name(0, 5), Some("b.example"));
}

#[test]
fn a_chain_names_its_last_address_by_its_first_name_while_it_holds() {
    let message = Wire::answer(1, "www.example", A, 0)
        .record(ITS_NAME, CNAME, 10, &labels("edge.example"))
        .record(&labels("edge.example"), A, 86_400, &[192, 0, 2, 1])
        .parse();
    let mut history = History::new(9);
    history.learn(&0, 0, 0, &SmolStr::new("www.example"), &message);
    let name = |seconds: i64| history.name(&0, 0, ADDRESS, seconds * SECOND_NS).map(SmolStr::as_str);
    assert_eq!(name(10), Some("www.example"));
    assert_eq!(name(611), None);
}

#[test]
fn other_hosts_and_failures_teach_nothing() {
    let mut host = Host::new();
    host.resolves(0, 0, "a.example", 300);
    assert_eq!(host.0.name(&1, 0, ADDRESS, 0), None);
    let failed = Wire::answer(1, "b.example", A, 3).record(ITS_NAME, A, 60, &[192, 0, 2, 2]).parse();
    host.0.learn(&0, 0, 0, &SmolStr::new("b.example"), &failed);
    assert_eq!(host.0.len(), 1);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut history = History::new(10);
    for index in 0..1000_u16 {
        let [high, low] = index.to_be_bytes();
        let message = Wire::answer(1, "a.example", A, 0).record(ITS_NAME, A, 60, &[10, 0, high, low]).parse();
        history.learn(&0, 0, 0, &SmolStr::new("a.example"), &message);
    }
    assert_eq!(history.len(), 10);
    let mut host = Host::new();
    for index in 0..1000 {
        host.resolves(0, index, &format!("{index}.example"), 60);
    }
    assert_eq!(host.name(0, 2000), None);
    assert_eq!(host.name(0, 1000), Some("999.example"));
}
