//! Losses and gauges → rows of `probe_health`, so that no answer looks more complete than it is.

use std::collections::BTreeMap;

use smol_str::SmolStr;
use weir_abi::Lost;
use weir_model::ProbeHealthRow;

use crate::features::FeatureStatus;

/// What the agent itself lost since it started; the kernel counts its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnLosses {
    /// Rows that found no room in the spool while the collector was away or slow, or could not be written there.
    pub(crate) rows_dropped: u64,
    /// Rows that the collector refused.
    pub(crate) rows_refused: u64,
    /// Connections whose end nobody saw, because no probe was running.
    pub(crate) ended_unseen: u64,
    /// States of an earlier probe that this one can't read.
    pub(crate) state_unreadable: u64,
    /// Handshakes whose bytes never became whole.
    pub(crate) handshakes_given_up: u64,
    /// Certificates that a TLS library read and that belong to no handshake that we know.
    pub(crate) certificates_given_up: u64,
    /// Functions of TLS libraries that could not be probed.
    pub(crate) libraries_not_probed: u64,
    /// Exchanges that have no row of their own, since there were more than `exchange_rows` a second.
    pub(crate) exchange_rows_shed: u64,
    /// Exchanges of connections that were never introduced.
    pub(crate) exchanges_given_up: u64,
    /// Records that could not be read.
    pub(crate) records_unreadable: u64,
    /// Messages on DNS's port that are no DNS.
    pub(crate) dns_unreadable: u64,
    /// DNS questions for which there was no room, and holes in DNS streams.
    pub(crate) dns_given_up: u64,
    /// Processes that had ended before they were looked at.
    pub(crate) processes_gone: u64,
    /// Processes that were not looked at: too many new ones at once.
    pub(crate) processes_not_told: u64,
    /// Files of container runtimes that could not be read.
    pub(crate) containers_unreadable: u64,
    /// Interfaces whose packets could not be looked at.
    pub(crate) interfaces_not_watched: u64,
    /// Packets at interfaces that came after their connection's last row.
    pub(crate) path_late: u64,
}

/// What the kernel lost since its programs were loaded, by [`Lost`].
pub(crate) type KernelLosses = [u64; Lost::COUNT];

impl OwnLosses {
    /// All of them with name and sentence.
    fn all(&self) -> [(&'static str, &'static str, u64); 17] {
        [
            (
                "rows_dropped",
                "rows missing: the collector was away or slow for longer than the spool holds, raise spool_bytes",
                self.rows_dropped,
            ),
            ("rows_refused", "rows missing: the collector refused them, its log says why", self.rows_refused),
            (
                "ended_unseen",
                "connections without their last row: they ended while the probe was not running",
                self.ended_unseen,
            ),
            (
                "state_unreadable",
                "restarts that began anew: another version of the probe wrote the state",
                self.state_unreadable,
            ),
            (
                "handshakes_given_up",
                "handshakes missing or partial: some of their bytes were not seen",
                self.handshakes_given_up,
            ),
            (
                "certificates_given_up",
                "certificates of TLS 1.3 left out: a library read them, but for no handshake that they can belong to",
                self.certificates_given_up,
            ),
            (
                "libraries_not_probed",
                "TLS libraries whose certificates of TLS 1.3 are missing: too many, or the kernel refused (CAP_SYS_PTRACE to look)",
                self.libraries_not_probed,
            ),
            (
                "exchanges_given_up",
                "exchanges missing: the first record of their connection was lost",
                self.exchanges_given_up,
            ),
            (
                EXCHANGE_ROWS_SHED,
                "exchanges without a row of their own: more than exchange_rows a second; their flows count them",
                self.exchange_rows_shed,
            ),
            (
                "records_unreadable",
                "records of another version: agent and kernel programs don't fit, restart the probe",
                self.records_unreadable,
            ),
            (
                "dns_unreadable",
                "messages on port 53 without a row: they can't be read as DNS",
                self.dns_unreadable,
            ),
            (
                "dns_given_up",
                "DNS questions or answers missing, or told apart: too many at once, or bytes of a stream were not seen",
                self.dns_given_up,
            ),
            (
                "processes_gone",
                "processes without executable and arguments: they had ended before they were looked at",
                self.processes_gone,
            ),
            (
                "processes_not_told",
                "processes without a row: too many new ones at once",
                self.processes_not_told,
            ),
            (
                "containers_unreadable",
                "containers without image and name: their runtime's state is too long, or of an unknown form",
                self.containers_unreadable,
            ),
            (
                "interfaces_not_watched",
                "interfaces whose packets are not counted: the kernel refused, the probe's log says why",
                self.interfaces_not_watched,
            ),
            (
                "path_late",
                "packets at interfaces not counted: they came after the last row of their connection",
                self.path_late,
            ),
        ]
    }
}

/// Everything that was lost, the kernel's and our own: name, sentence, count.
pub(crate) fn losses(
    kernel: &KernelLosses,
    own: &OwnLosses,
) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let kernel = *kernel;
    let kernel =
        Lost::ALL.into_iter().map(move |(which, name, message)| (name, message, kernel[which as usize]));
    kernel.chain(own.all())
}

/// Exchanges that have no row of their own, on purpose.
const EXCHANGE_ROWS_SHED: &str = "exchange_rows_shed";

/// `shed` if it was left out on purpose, to keep room for what matters more; else `lost`.
fn kind_of(counter: &str) -> &'static str {
    let is_shed = Lost::ALL.iter().any(|(which, name, _)| *name == counter && which.is_shed());
    if is_shed || counter == EXCHANGE_ROWS_SHED { "shed" } else { "lost" }
}

/// Turns counts since the start into counts since the last row.
#[derive(Default)]
pub(crate) struct Health {
    kernel: KernelLosses,
    own: OwnLosses,
}

impl Health {
    /// Goes on where an earlier run stopped telling.
    pub(crate) fn after(kernel: KernelLosses) -> Health {
        Health { kernel, own: OwnLosses::default() }
    }

    /// Everything that was told: name and count.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        losses(&self.kernel, &self.own).map(|(name, _, count)| (name, count)).collect()
    }

    /// What was told of the kernel's losses.
    pub(crate) fn told(&self) -> &KernelLosses {
        &self.kernel
    }

    /// Rows for this moment: one gauge, so that a silent probe can be told from an idle one, and one for each feature
    /// that is off and each loss.
    pub(crate) fn rows(
        &mut self,
        kernel: KernelLosses,
        own: OwnLosses,
        connections: usize,
        probes: Option<usize>,
        features: &[FeatureStatus],
        mut template: ProbeHealthRow,
    ) -> Vec<ProbeHealthRow> {
        template.component = Some(SmolStr::new_static("probe"));
        let mut rows = vec![ProbeHealthRow {
            counter: Some(SmolStr::new_static("connections")),
            value: connections as i64,
            kind: Some(SmolStr::new_static("gauge")),
            message: Some(SmolStr::new_static("connections and UDP flows that live on")),
            ..template.clone()
        }];
        rows.extend(probes.map(|probes| ProbeHealthRow {
            counter: Some(SmolStr::new_static("library_probes")),
            value: probes as i64,
            kind: Some(SmolStr::new_static("gauge")),
            message: Some(SmolStr::new_static("functions of TLS libraries and programs that are probed")),
            ..template.clone()
        }));
        for feature in features.iter().filter(|feature| feature.is_off()) {
            rows.push(ProbeHealthRow {
                counter: Some(SmolStr::new_static(feature.name)),
                value: 1,
                kind: Some(SmolStr::new_static("off")),
                message: Some(feature.to_string().into()),
                ..template.clone()
            });
        }
        let (now, before) = (losses(&kernel, &own), losses(&self.kernel, &self.own));
        for ((counter, message, now), (_, _, before)) in now.zip(before) {
            if now > before {
                rows.push(ProbeHealthRow {
                    counter: Some(SmolStr::new_static(counter)),
                    value: (now - before) as i64,
                    kind: Some(SmolStr::new_static(kind_of(counter))),
                    message: Some(SmolStr::new_static(message)),
                    ..template.clone()
                });
            }
        }
        (self.kernel, self.own) = (kernel, own);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureState;

    #[test]
    fn every_loss_is_told_once() {
        let mut health = Health::default();
        let mut kernel = [0; Lost::COUNT];
        kernel[Lost::UdpMapFull as usize] = 3;
        let own = OwnLosses { rows_dropped: 2, ..OwnLosses::default() };
        let told = |rows: Vec<ProbeHealthRow>| -> Vec<(String, i64)> {
            rows.into_iter().map(|row| (row.counter.unwrap_or_default().to_string(), row.value)).collect()
        };
        let first = told(health.rows(kernel, own, 5, None, &[], ProbeHealthRow::default()));
        let expected = [("connections", 5), ("udp_map_full", 3), ("rows_dropped", 2)];
        assert_eq!(first, expected.map(|(counter, value)| (counter.to_owned(), value)));
        kernel[Lost::UdpMapFull as usize] = 4;
        let second = told(health.rows(kernel, own, 0, None, &[], ProbeHealthRow::default()));
        assert_eq!(
            second,
            [("connections", 0), ("udp_map_full", 1)].map(|(counter, value)| (counter.to_owned(), value))
        );
    }

    #[test]
    fn a_feature_that_is_off_is_told_each_time_with_its_reason() {
        let off = FeatureState::Off { reason: "no such type".to_owned(), without: "rows lack it" };
        let features = [FeatureStatus { name: "drops", state: off }];
        for _ in 0..2 {
            let mut health = Health::default();
            let rows = health.rows(
                [0; Lost::COUNT],
                OwnLosses::default(),
                0,
                None,
                &features,
                ProbeHealthRow::default(),
            );
            let row = &rows[1];
            assert_eq!((row.counter.as_deref(), row.kind.as_deref()), (Some("drops"), Some("off")));
            assert_eq!(row.message.as_deref(), Some("drops: off, so rows lack it (no such type)"));
        }
    }
}
