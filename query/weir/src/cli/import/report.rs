//! What was imported, as a table on standard output.

use std::io::{self, Write};

use weir_collector::receive::pcap::ImportReport;
use weir_kit::exit;

pub(super) fn print(reports: &[(String, ImportReport)]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    exit::stdout(write(&mut out, reports))
}

fn write(out: &mut impl Write, reports: &[(String, ImportReport)]) -> io::Result<()> {
    for (nth, (name, report)) in reports.iter().enumerate() {
        if nth > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{name}")?;
        let totals = report.totals;
        let mut line = |what: &str, value: String| writeln!(out, "  {what:22} {value:>15}");
        line("packets", report.packets.to_string())?;
        line("bytes on the wire", report.wire_bytes.to_string())?;
        line("bytes captured", report.captured_bytes.to_string())?;
        line("TCP connections", totals.tcp_connections.to_string())?;
        line("TCP packets", totals.tcp_packets.to_string())?;
        line("TCP bytes on the wire", report.tcp_wire_bytes.to_string())?;
        line("UDP flows", totals.udp_flows.to_string())?;
        line("UDP packets", totals.udp_packets.to_string())?;
        if totals.sctp_packets > 0 {
            line("SCTP associations", totals.sctp_associations.to_string())?;
            line("SCTP packets", totals.sctp_packets.to_string())?;
        }
        line("flow rows", report.flows.to_string())?;
        line("TLS handshakes", report.handshakes.to_string())?;
        line("DNS questions", report.dns.to_string())?;
        if totals.not_dns > 0 {
            line("no DNS on port 53", totals.not_dns.to_string())?;
        }
        for (reason, packets) in &report.ignored {
            line(&format!("ignored: {reason}"), packets.to_string())?;
        }
        if totals.evicted > 0 {
            line("forgotten too early", totals.evicted.to_string())?;
        }
        if let Some(damage) = &report.damage {
            writeln!(out, "  {damage}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_every_packet_s_fate() {
        let mut report = ImportReport { packets: 3, flows: 1, ..ImportReport::default() };
        report.totals.tcp_packets = 2;
        report.ignored.insert("not_ip", 1);
        let mut text = Vec::new();
        write(&mut text, &[("a.pcap".to_owned(), report)]).unwrap();
        let text = String::from_utf8(text).unwrap();
        let value = |what: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(what)).unwrap();
            line.split_whitespace().last().unwrap().to_owned()
        };
        assert_eq!(
            [value("packets"), value("TCP packets"), value("UDP packets"), value("ignored: not_ip")],
            ["3", "2", "0", "1"]
        );
    }
}
