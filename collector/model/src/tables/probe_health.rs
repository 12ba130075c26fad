//! `probe_health`.

use super::table;

table! {
    /// Everything that a probe, import or collector lost, shed or switched off, so that no answer looks more
    /// complete than it is.
    PROBE_HEALTH ProbeHealthRow = "probe_health" sorted by ["node", "counter"];

    /// When it was counted.
    time: Time ["ns"] {};
    /// Name of the node whose probe saw it, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// A new one each time that the sender starts.
    boot_id: Str [""] {};
    /// Who counts: `probe`, `collector`, `import`.
    component: Text [""] {};
    /// What was lost or happened, such as `ring_full`, `map_full`, `hello_too_long`, `spool_dropped`,
    /// `batch_refused`.
    counter: Text [""] {};
    /// How many since the previous row of this node and counter.
    value: Count [""] {};
    /// `lost` (against our will), `shed` (on purpose, short of room), `meant` (filter, sampling), `off` (a feature that
    /// this kernel can't have), or `gauge`.
    kind: Text [""] {};
    /// A sentence for a person: what is off or lost, and what to do.
    message: Str [""] {};
}
