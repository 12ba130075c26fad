//! Who asks. Every door (HTTP, PostgreSQL, Flight) makes one of these for each question, and nothing behind the doors asks
//! further: once callers authenticate, it is here that they get their name, and what they may see.

use std::net::IpAddr;
use std::sync::Arc;

/// Whose question it is: for the queue, in which each caller has its turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    name: Arc<str>,
}

impl Caller {
    /// Somebody of whom nothing is known.
    pub fn anonymous() -> Caller {
        Caller { name: "anonymous".into() }
    }

    /// Who is at this address: all that is known while nobody authenticates.
    pub fn at(address: IpAddr) -> Caller {
        Caller { name: address.to_canonical().to_string().into() }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}
