//! What a capture on demand is: who is asked, which packets, how much of them.
//!
//! | file        | subject                                                             |
//! |-------------|---------------------------------------------------------------------|
//! | `filter.rs` | which packets: a small language close to tcpdump's, and its errors    |
//!
//! The side that is asked and the probe read the same text by the same code. Never here: sockets, packets, files.

mod filter;

use serde::{Deserialize, Serialize};

pub use filter::{End, Filter, FilterError, MOST_TERMS, Term, Test};

/// Longest capture, in seconds.
pub const MOST_SECONDS: u32 = 3_600;
/// Most packets of one capture.
pub const MOST_PACKETS: u64 = 10_000_000;
/// Most bytes of one capture's file.
pub const MOST_BYTES: u64 = 4 << 30;
/// Most payload of one packet: no packet that a socket sends has more.
pub const MOST_PAYLOAD: u32 = 65_536;

/// What is asked for; each absent field has a default that bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureRequest {
    /// Which packets, in the language of [`Filter`]; empty: all.
    pub filter: String,
    /// Nodes whose probes are asked; empty: all that are connected.
    pub nodes: Vec<String>,
    /// How long.
    pub seconds: u32,
    /// Most packets, all nodes together.
    pub packets: u64,
    /// Most bytes of the file.
    pub bytes: u64,
    /// Bytes of payload kept of each packet; 0: headers only.
    pub payload: u32,
}

impl Default for CaptureRequest {
    fn default() -> CaptureRequest {
        CaptureRequest {
            filter: String::new(),
            nodes: Vec::new(),
            seconds: 30,
            packets: 100_000,
            bytes: 100 << 20,
            payload: 0,
        }
    }
}

impl CaptureRequest {
    /// Whether every number is within its bounds.
    ///
    /// # Errors
    /// A sentence that names the first that is not.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, most: u64| {
            if value == 0 || value > most {
                return Err(format!("{name}: give 1 to {most}, not {value}"));
            }
            Ok(())
        };
        within("seconds", u64::from(self.seconds), u64::from(MOST_SECONDS))?;
        within("packets", self.packets, MOST_PACKETS)?;
        within("bytes", self.bytes, MOST_BYTES)?;
        if self.payload > MOST_PAYLOAD {
            return Err(format!(
                "payload: give 0 to {MOST_PAYLOAD} bytes of each packet, not {}",
                self.payload
            ));
        }
        Ok(())
    }
}

/// A probe that waits for captures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectedProbe {
    /// Its node.
    pub node: String,
    /// Its version.
    pub version: String,
    /// Whether its operator lets it send payload.
    pub allows_payload: bool,
}

/// Why a capture does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureRefusal {
    /// The filter can't be read.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// A number is out of its bounds.
    #[error("{0}")]
    Bounds(String),
    /// Payload was asked for, which this server was not started for.
    #[error("payload is not captured here: this server gives headers only")]
    Payload,
    /// A node that is asked for has no connected probe, or there is none at all.
    #[error("{0}")]
    NoProbe(String),
    /// As many captures as there may be are under way.
    #[error("{0} captures are under way already")]
    Busy(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_bounded() {
        let request: CaptureRequest = serde_json::from_str("{}").expect("all fields have a default");
        assert_eq!(request.check(), Ok(()));
        assert_eq!(request.payload, 0, "headers only unless told otherwise");
        assert!(serde_json::from_str::<CaptureRequest>(r#"{"second": 3}"#).is_err());
    }

    #[test]
    fn no_number_is_without_bounds() {
        let refused = |request: CaptureRequest| request.check().expect_err("refused");
        let usual = CaptureRequest::default();
        assert!(refused(CaptureRequest { seconds: 0, ..usual.clone() }).contains("seconds"));
        assert!(refused(CaptureRequest { packets: u64::MAX, ..usual.clone() }).contains("packets"));
        assert!(refused(CaptureRequest { bytes: 0, ..usual.clone() }).contains("bytes"));
        assert!(refused(CaptureRequest { payload: u32::MAX, ..usual }).contains("payload"));
    }
}
