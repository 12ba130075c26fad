//! An exchange → the columns that its messages fill; who asked whom is the caller's.

use weir_model::DnsRow;

use super::codes::{class_name, opcode_name, response_code_name, type_name};
use super::{Exchange, Half};

impl<T> Exchange<T> {
    /// Fills a row's columns that follow from the messages.
    pub fn fill(&self, row: &mut DnsRow) {
        let Some(first) = self.asked.as_ref().or(self.answered.as_ref()) else { return };
        row.time = first.time_ns;
        row.transaction_id = Some(i64::from(first.message.id));
        row.opcode = Some(opcode_name(first.message.opcode));
        row.recursion_desired = Some(first.message.recursion_desired);
        row.retries = self.retries;
        if let Some(question) = self.question() {
            row.question = Some(question.name.clone());
            row.question_type = Some(type_name(question.kind));
            row.question_class = Some(class_name(question.class));
        }
        if let Some(Half { message, bytes, .. }) = &self.asked {
            row.question_bytes = Some(*bytes as i64);
            row.edns_udp_bytes = message.edns.map(|edns| i64::from(edns.udp_bytes));
            row.dnssec_ok = Some(message.edns.is_some_and(|edns| edns.dnssec_ok));
        }
        let Some(Half { message, bytes, .. }) = &self.answered else { return };
        row.answer_bytes = Some(*bytes as i64);
        row.response_code = Some(response_code_name(message.response_code));
        row.authoritative = Some(message.authoritative);
        row.truncated = Some(message.truncated);
        row.recursion_available = Some(message.recursion_available);
        row.authenticated = Some(message.authenticated);
        row.answers = message.answers.iter().map(|record| record.data.clone()).collect();
        row.answer_types = message.answers.iter().map(|record| type_name(record.kind)).collect();
        row.ttl_seconds = message.answers.iter().map(|record| i64::from(record.ttl_s)).min();
        row.latency_us = self.latency_ns().map(|latency_ns| latency_ns / 1000);
    }
}
