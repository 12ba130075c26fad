//! How a connection begins: a wish for encryption, which there is none of, then who it is and what it has set.

use std::io;
use std::sync::Arc;

use pgwire::messages::PgWireFrontendMessage as Said;
use pgwire::messages::SslNegotiationMetaMessage as Encryption;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{NegotiateProtocolVersion, SecretKey, Startup};
use weir_query::postgres::{SettingError, Settings};

use super::cancel::Known;
use super::refusal::Refusal;
use super::wire::Wire;

/// Version 3.0 of the protocol, which every client has.
const PROTOCOL: i32 = 3 << 16;

/// Reads how a client begins. `None`: it has left, or wanted nothing but to cancel a question.
///
/// # Errors
/// What is no beginning; nothing can be said to whoever that was.
pub(super) async fn begin(wire: &mut Wire, known: &Arc<Known>) -> io::Result<Option<Startup>> {
    // TLS and GSSAPI are asked for once each; whoever goes on asking has nothing else to say.
    for _ in 0..3 {
        let Some(message) = wire.first().await? else { return Ok(None) };
        match message {
            Said::SslNegotiation(Encryption::PostgresSsl(_)) => wire.put(&SslResponse::Refuse)?,
            Said::SslNegotiation(Encryption::PostgresGss(_)) => wire.put(&GssEncResponse::Refuse)?,
            Said::CancelRequest(asked) => {
                if let SecretKey::I32(secret) = asked.secret_key {
                    known.cancel(asked.pid, secret);
                }
                return Ok(None);
            }
            Said::Startup(startup) => return Ok(Some(startup)),
            _ => break,
        }
        wire.flush().await?;
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "no client of PostgreSQL begins so"))
}

/// What is answered to a client that wants a newer protocol, or options of one.
pub(super) fn negotiated(startup: &Startup) -> Option<NegotiateProtocolVersion> {
    let unknown: Vec<String> =
        startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    (startup.protocol_number_minor > 0 || !unknown.is_empty())
        .then(|| NegotiateProtocolVersion::new(PROTOCOL, unknown))
}

/// The settings that a client begins with.
///
/// # Errors
/// A setting that can't be what it wants; unknown ones are left alone.
pub(super) fn settings(startup: &Startup, version: &str) -> Result<Settings, Refusal> {
    let given = |name: &str| startup.parameters.get(name).map_or("", String::as_str);
    if !["", "false", "off", "no", "0"].contains(&given("replication")) {
        return Err(Refusal::new("0A000", "there is no replication here"));
    }
    let mut settings = Settings::new(version, given("user"));
    let named = startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in named.chain(options(given("options"))) {
        match settings.set(name, Some(value)) {
            Ok(()) | Err(SettingError::Unknown(_)) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(settings)
}

/// `-c name=value --name=value`.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().filter_map(|word| {
        let word = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).unwrap_or(word);
        word.split_once('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(parameters: &[(&str, &str)]) -> Startup {
        let mut startup = Startup::new();
        startup.parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        startup
    }

    #[test]
    fn a_client_begins_with_settings() {
        let begun = startup(&[
            ("user", "ann"),
            ("database", "any"),
            ("application_name", "psql"),
            ("options", "-c statement_timeout=5s --extra_float_digits=3 -cgeqo=off"),
        ]);
        let settings = settings(&begun, "0.1.0").expect("settings");
        for (name, value) in
            [("application_name", "psql"), ("statement_timeout", "5000"), ("extra_float_digits", "3")]
        {
            assert_eq!(settings.get(name), Some(value));
        }
        for wrong in [("client_encoding", "LATIN1"), ("replication", "database")] {
            assert!(super::settings(&startup(&[wrong]), "0.1.0").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_newer_protocol_is_talked_down() {
        let mut newer = startup(&[("_pq_.tea", "1")]);
        newer.protocol_number_minor = 2;
        let answer = negotiated(&newer).expect("an answer");
        assert_eq!((answer.newest_minor_protocol, answer.unsupported_options.len()), (PROTOCOL, 1));
        assert!(negotiated(&startup(&[])).is_none());
    }
}
