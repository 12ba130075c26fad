//! "Not now": gRPC's `RESOURCE_EXHAUSTED` with a `google.rpc.RetryInfo`, which says when to come again.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

/// `google.rpc.Status`, as the details of a gRPC status have it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The receiver has no room: the sender keeps what it has and comes again after `retry`.
pub fn busy(message: String, retry: Duration) -> Status {
    let delay = ProtoDuration { seconds: retry.as_secs() as i64, nanos: retry.subsec_nanos() as i32 };
    let info = RetryInfo { retry_delay: Some(delay) };
    let details = vec![Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec().into() }];
    let status = RpcStatus { code: Code::ResourceExhausted as i32, message: message.clone(), details };
    Status::with_details(Code::ResourceExhausted, message, status.encode_to_vec().into())
}

/// When the other side asks us to come again; `None` where it doesn't say.
pub fn retry_after(status: &Status) -> Option<Duration> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(info.value.clone()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_learns_when_to_come_again() {
        let status = busy("no room".to_owned(), Duration::from_millis(1_500));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_after(&status), Some(Duration::from_millis(1_500)));
        assert_eq!(retry_after(&Status::resource_exhausted("a batch too large")), None);
    }

    /// Whatever a server that isn't ours says.
    #[test]
    fn details_that_are_none_of_ours_say_nothing() {
        for details in [&b"\xff\xff"[..], b"", b"\x1a\x03abc"] {
            let status = Status::with_details(Code::ResourceExhausted, "m", Bytes::copy_from_slice(details));
            assert_eq!(retry_after(&status), None);
        }
    }
}
