//! What a `PutResult` says of one batch, as JSON in its `app_metadata`:
//! `{"sequence":7}` (durable) or `{"sequence":7,"refused":{"reason":"malformed","message":"…"}}`.

use serde::{Deserialize, Serialize};

/// The answer to one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The batch's sequence.
    pub sequence: u64,
    /// Absent: the batch is durable. Present: it never will be, and the sender counts its rows as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// Why a batch can't be stored; sending it again can't help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", reason.as_str())]
pub struct Refusal {
    /// For counters.
    pub reason: RefusalReason,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its message.
    pub fn new(reason: RefusalReason, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into() }
    }
}

/// The reasons, as counters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// More bytes than the limit once decompressed.
    TooLarge,
    /// More rows than the limit.
    TooManyRows,
    /// Not Arrow IPC, or its parts don't agree.
    Malformed,
    /// A table that this collector doesn't have.
    UnknownTable,
    /// A column whose type can't be made the table's.
    BadColumn,
    /// Rows without their own time.
    NoTime,
    /// A reason that a newer collector gave.
    #[serde(other)]
    Other,
}

impl RefusalReason {
    /// The name in counters and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::TooLarge => "too_large",
            RefusalReason::TooManyRows => "too_many_rows",
            RefusalReason::Malformed => "malformed",
            RefusalReason::UnknownTable => "unknown_table",
            RefusalReason::BadColumn => "bad_column",
            RefusalReason::NoTime => "no_time",
            RefusalReason::Other => "other",
        }
    }
}

impl Ack {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields")
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are not an acknowledgement of ours.
    pub fn decode(bytes: &[u8]) -> Result<Ack, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_acknowledgement_is_only_its_sequence() {
        let ack = Ack { sequence: 7, refused: None };
        assert_eq!(ack.encode(), br#"{"sequence":7}"#);
        assert_eq!(Ack::decode(&ack.encode()).expect("decodes"), ack);
    }

    /// An older sender must still see that the batch was refused.
    #[test]
    fn a_reason_from_a_newer_collector_is_still_a_refusal() {
        let ack = Ack::decode(br#"{"sequence":7,"refused":{"reason":"lunar_phase","message":"m"}}"#)
            .expect("decodes");
        assert_eq!(ack.refused.expect("refused").reason, RefusalReason::Other);
    }
}
