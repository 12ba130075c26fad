//! Which columns of which table tell of an end. An empty name: the table has no such column.

/// A table's ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) ends: &'static [End],
    /// Whether it has `direction`.
    pub(super) has_direction: bool,
}

/// The columns of one end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) ip: &'static str,
    pub(super) port: &'static str,
    /// A pod's UID as its probe found it.
    pub(super) uid: &'static str,
    /// The name that the client asked for.
    pub(super) sni: &'static str,
    /// Identity, pod, namespace, workload, what that is, node, zone, name.
    pub(super) filled: [&'static str; 8],
}

/// Where each of [`End::filled`] is.
pub(super) const IDENTITY: usize = 0;
pub(super) const POD: usize = 1;
pub(super) const NODE: usize = 5;
pub(super) const NAME: usize = 7;

static FLOWS: Ends = Ends {
    ends: &[
        End {
            ip: "client_ip",
            port: "client_port",
            uid: "client_pod",
            sni: "",
            filled: [
                "client_identity",
                "client_pod",
                "client_namespace",
                "client_workload",
                "client_workload_kind",
                "client_node",
                "client_zone",
                "client_name",
            ],
        },
        End {
            ip: "server_ip",
            port: "server_port",
            uid: "server_pod",
            sni: "tls_sni",
            filled: [
                "server_identity",
                "server_pod",
                "server_namespace",
                "server_workload",
                "server_workload_kind",
                "server_node",
                "server_zone",
                "server_name",
            ],
        },
    ],
    has_direction: true,
};

static DNS: Ends = Ends {
    ends: &[
        End {
            ip: "client_ip",
            port: "client_port",
            uid: "client_pod",
            sni: "",
            filled: ["", "client_pod", "client_namespace", "", "", "", "", ""],
        },
        End {
            ip: "server_ip",
            port: "server_port",
            uid: "server_pod",
            sni: "",
            filled: ["", "server_pod", "server_namespace", "", "", "", "", ""],
        },
    ],
    has_direction: false,
};

static EXCHANGES: Ends = Ends {
    ends: &[End {
        ip: "",
        port: "",
        uid: "pod",
        sni: "",
        filled: ["", "pod", "namespace", "workload", "workload_kind", "", "", ""],
    }],
    has_direction: false,
};

/// `pod` stays the UID here: it is the key to `k8s_objects`.
static PROCESSES: Ends = Ends {
    ends: &[End {
        ip: "",
        port: "",
        uid: "pod",
        sni: "",
        filled: ["", "pod_name", "namespace", "workload", "", "", "", ""],
    }],
    has_direction: false,
};

/// The ends of a table's rows, if it tells of any.
pub(super) fn of(table: &str) -> Option<&'static Ends> {
    Some(match table {
        "flows" => &FLOWS,
        "dns" => &DNS,
        "exchanges" => &EXCHANGES,
        "processes" => &PROCESSES,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_one_of_its_table() {
        for name in ["flows", "dns", "exchanges", "processes"] {
            let (table, ends) =
                (weir_model::tables::by_name(name).expect("a table"), of(name).expect("has ends"));
            for end in ends.ends {
                let columns = [end.ip, end.port, end.uid, end.sni].into_iter().chain(end.filled);
                for column in columns.filter(|column| !column.is_empty()) {
                    assert!(table.column(column).is_some(), "{name} has no {column}");
                }
            }
            assert_eq!(ends.has_direction, table.column("direction").is_some());
        }
    }
}
