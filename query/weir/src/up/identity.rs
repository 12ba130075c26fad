//! Where names of ends come from, as `weir up` is told; and joins the API's view of Kubernetes to the collector's.

use std::path::PathBuf;

use weir_api::KubernetesSource;
use weir_collector::{IdentityConfig, Kubernetes, KubernetesView};
use weir_model::kubernetes::KubernetesState;

/// Who addresses are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Watch Kubernetes, so that flows have pods, workloads and services: by this kubeconfig, or without one as the pod's own
    /// account, or by KUBECONFIG or ~/.kube/config. In a pod with an account's token this is the default.
    #[arg(long, env = "WEIR_KUBERNETES", value_name = "KUBECONFIG", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    kubernetes: Option<PathBuf>,
    /// Don't watch Kubernetes, not even in a pod.
    #[arg(long, env = "WEIR_NO_KUBERNETES", conflicts_with = "kubernetes")]
    no_kubernetes: bool,
    /// A file that names addresses and networks, one a line: `10.1.0.0/16 name=warehouse identity=external zone=eu-1`.
    #[arg(long, env = "WEIR_IDENTITY_MAP", value_name = "FILE")]
    identity_map: Option<PathBuf>,
    /// The hosts file, for names of addresses that nothing else knows.
    #[arg(long, env = "WEIR_HOSTS_FILE", default_value = "/etc/hosts", value_name = "FILE")]
    hosts_file: PathBuf,
}

impl Args {
    /// As the collector wants it.
    pub(crate) fn config(&self) -> IdentityConfig {
        IdentityConfig {
            kubernetes: self.kubernetes(),
            hosts: Some(self.hosts_file.clone()),
            map: self.identity_map.clone(),
            ..IdentityConfig::default()
        }
    }

    fn kubernetes(&self) -> Option<Kubernetes> {
        if self.no_kubernetes {
            return None;
        }
        let Some(path) = &self.kubernetes else { return Kubernetes::around_us() };
        if !path.as_os_str().is_empty() {
            return Some(Kubernetes::Kubeconfig(path.clone()));
        }
        Some(Kubernetes::around_us().unwrap_or_else(|| Kubernetes::Kubeconfig(usual_kubeconfig())))
    }
}

/// Where kubectl looks.
fn usual_kubeconfig() -> PathBuf {
    let named = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube/config"))
}

/// The collector's view as the API wants it.
#[derive(Debug)]
pub(super) struct View(pub(super) KubernetesView);

impl KubernetesSource for View {
    fn state(&self) -> KubernetesState {
        self.0.state()
    }
}
