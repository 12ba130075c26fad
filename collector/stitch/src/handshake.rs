//! A TLS handshake's span, child of its connection's as the same observer had it.

use weir_model::time::{SECOND_NS, date_text};
use weir_model::{SmolStr, SpanRow, TlsHandshakeRow, format_smolstr, ids};

use crate::attributes::Attributes;
use crate::connection::span_of;
use crate::ends::{self, Side};

/// The span; `None` for a row that doesn't say which connection it is about.
pub(crate) fn span(row: &TlsHandshakeRow) -> Option<SpanRow> {
    let connection_id = row.connection_id.as_ref()?;
    let side = Side::of_observer(row.observer.as_deref())[0];
    let length_ns = row.handshake_us.or(row.hello_us).unwrap_or(0).max(0).saturating_mul(1_000);
    let times = (row.time, row.time.saturating_add(length_ns));
    let failure = row.failure_reason.as_ref().map(|reason| failure(reason));

    let (client, server) = ends::of_handshake(row);
    let mut attributes = Attributes::default();
    ends::between(&mut attributes, side, &client, &server, row.protocol.as_ref(), row.tls_sni.as_ref());
    attributes.text("weir.connection.id", Some(connection_id));
    attributes.text("weir.observer", row.observer.as_ref());
    agreed(&mut attributes, row);
    certificates(&mut attributes, row);
    attributes.text("error.type", row.failure_reason.as_ref());

    let mut span = SpanRow {
        parent_span_id: Some(ids::span_id(connection_id, side.role())),
        confidence: Some(1.0),
        operation: Some(SmolStr::new_static("TLS handshake")),
        kind: Some(SmolStr::new_static("internal")),
        ..span_of(connection_id, side.pick("client-tls", "server-tls"), times, failure, row.node.as_ref())
    };
    (span.attributes, span.attribute_types) = attributes.finish();
    side.pick(client, server).own(&mut span, row.node.as_ref());
    Some(span)
}

/// What was offered and agreed.
fn agreed(attributes: &mut Attributes, row: &TlsHandshakeRow) {
    attributes.text("tls.protocol.name", Some(&SmolStr::new_static("tls")));
    attributes.text("tls.protocol.version", row.tls_version.as_ref());
    attributes.text("tls.cipher", row.tls_cipher.as_ref());
    attributes.text("tls.curve", row.tls_group.as_ref());
    attributes.text("tls.next_protocol", row.tls_alpn.as_ref());
    attributes.flag("tls.resumed", row.tls_resumed);
    attributes.flag("tls.established", row.tls_established);
    attributes.text("tls.client.ja3", row.tls_ja3.as_ref());
    attributes.text("tls.server.ja3s", row.tls_ja3s.as_ref());
    attributes.text("weir.tls.client.ja4", row.tls_ja4.as_ref());
    let offered: SmolStr = row
        .tls_alpn_offered
        .iter()
        .enumerate()
        .flat_map(|(place, protocol)| [if place > 0 { "," } else { "" }, protocol.as_str()])
        .collect();
    attributes.text("weir.tls.client.alpn", Some(&offered).filter(|offered| !offered.is_empty()));
    attributes.flag("weir.tls.post_quantum", row.tls_post_quantum);
    attributes.flag("weir.tls.early_data", row.tls_early_data);
    attributes.flag("weir.tls.hello_retry", row.tls_hello_retry);
    attributes.flag("weir.tls.ech", row.tls_ech);
    attributes.text("weir.tls.alert", row.tls_alert.as_ref());
    attributes.int("weir.tls.hello_us", row.hello_us);
}

fn certificates(attributes: &mut Attributes, row: &TlsHandshakeRow) {
    let date = |time: Option<i64>| time.map(rfc3339);
    attributes.text("tls.server.subject", row.server_certificate_subject.as_ref());
    attributes.text("tls.server.issuer", row.server_certificate_issuer.as_ref());
    attributes.text("tls.server.not_before", date(row.server_certificate_not_before).as_ref());
    attributes.text("tls.server.not_after", date(row.server_certificate_not_after).as_ref());
    attributes.text("tls.server.hash.sha256", row.server_certificate_sha256.as_ref());
    attributes.text("tls.client.subject", row.client_certificate_subject.as_ref());
    attributes.text("tls.client.issuer", row.client_certificate_issuer.as_ref());
    attributes.text("tls.client.not_before", date(row.client_certificate_not_before).as_ref());
    attributes.text("tls.client.not_after", date(row.client_certificate_not_after).as_ref());
    attributes.text("tls.client.hash.sha256", row.client_certificate_sha256.as_ref());
    attributes.flag("weir.tls.sni_mismatch", row.certificate_sni_mismatch);
}

/// What went wrong, for a person.
fn failure(reason: &str) -> SmolStr {
    match reason {
        "closed_by_client" => {
            SmolStr::new_static("the client closed the connection during the TLS handshake")
        }
        "closed_by_server" => {
            SmolStr::new_static("the server closed the connection during the TLS handshake")
        }
        "reset" => SmolStr::new_static("the connection was reset during the TLS handshake"),
        alert => format_smolstr!("TLS handshake failed: {alert}"),
    }
}

/// `2026-11-24T08:00:00Z`: certificates count seconds.
fn rfc3339(time: i64) -> SmolStr {
    let seconds = time.div_euclid(SECOND_NS);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format_smolstr!("{}T{hour:02}:{minute:02}:{second:02}Z", date_text(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_s_dates_are_written_as_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_505_045 * SECOND_NS), "2026-11-24T07:24:05Z");
    }
}
