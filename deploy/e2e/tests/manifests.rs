//! The manifests and Dockerfiles agree with each other and with the binaries that they run.
//!
//! No cluster is needed: each test holds one thing true that a cluster would only show when somebody is paged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_norway::Deserializer;
use weir_e2e::{beside_weir, run};

#[test]
fn kustomize_applies_every_file_and_each_document_names_itself() {
    let listed = strings(&only("kustomization.yaml")["resources"]);
    let present: BTreeSet<String> = fs::read_dir(manifests())
        .unwrap_or_else(|err| panic!("{}: {err}", manifests().display()))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !["kustomization.yaml", "components"].contains(&name.as_str()))
        .collect();
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), present);

    let mut seen = BTreeSet::new();
    for document in all() {
        for field in ["/apiVersion", "/kind", "/metadata/name"] {
            assert!(document.pointer(field).is_some_and(Value::is_string), "{field} of {document}");
        }
        let key = (
            text(&document, "/kind"),
            text(&document, "/metadata/namespace"),
            text(&document, "/metadata/name"),
        );
        let kind = key.0.clone();
        let is_wide = ["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&kind.as_str());
        assert_eq!(key.1.is_empty(), is_wide, "{kind}: all others live in a namespace");
        assert!(seen.insert(key), "twice: {document}");
    }
    let namespaces: BTreeSet<String> =
        of_kind("Namespace").iter().map(|each| text(each, "/metadata/name")).collect();
    for (_, namespace, name) in seen.iter().filter(|(_, namespace, _)| !namespace.is_empty()) {
        assert!(namespaces.contains(namespace), "{name} is in {namespace}, which nobody makes");
    }
}

#[test]
fn selectors_volumes_and_accounts_point_at_something() {
    for workload in workloads() {
        let name = text(&workload, "/metadata/name");
        let pod = &workload["spec"]["template"];
        assert!(matches(&workload["spec"]["selector"]["matchLabels"], pod), "{name}: selects its own pods");
        let account = text(pod, "/spec/serviceAccountName");
        let accounts = of_kind("ServiceAccount");
        let own = accounts.iter().find(|each| {
            text(each, "/metadata/name") == account
                && text(each, "/metadata/namespace") == text(&workload, "/metadata/namespace")
        });
        assert!(own.is_some(), "{name}: account {account}");
        let claims: Vec<String> =
            of_kind("PersistentVolumeClaim").iter().map(|each| text(each, "/metadata/name")).collect();
        let volumes: BTreeSet<String> =
            list(&pod["spec"]["volumes"]).iter().map(|v| text(v, "/name")).collect();
        for volume in list(&pod["spec"]["volumes"]) {
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            assert!(claim.is_empty() || claims.contains(&claim), "{name}: claim {claim}");
        }
        let mounted: BTreeSet<String> =
            list(&container(&workload)["volumeMounts"]).iter().map(|mount| text(mount, "/name")).collect();
        assert_eq!(mounted, volumes, "{name}: every volume is mounted, and every mount has a volume");
    }
    for service in of_kind("Service") {
        let behind: Vec<Value> = workloads()
            .into_iter()
            .filter(|workload| matches(&service["spec"]["selector"], &workload["spec"]["template"]))
            .collect();
        assert_eq!(behind.len(), 1, "{service}");
        for port in list(&service["spec"]["ports"]) {
            let number = ports(&behind[0]).get(&text(port, "/targetPort")).copied();
            assert_eq!(number, port["port"].as_u64(), "{port}");
        }
    }
}

/// A flag that the binary doesn't know is a pod that never starts.
#[test]
fn every_argument_is_one_that_the_binary_knows() {
    for workload in workloads() {
        let name = text(&workload, "/metadata/name");
        let arguments = strings(&container(&workload)["args"]);
        let (flags, commands): (Vec<&String>, Vec<&String>) =
            arguments.iter().partition(|text| text.starts_with("--"));
        let mut question: Vec<&str> = commands.iter().map(|command| command.as_str()).collect();
        question.push("--help");
        let help = run(beside_weir(&name), question).unwrap_or_else(|err| panic!("{err:#}"));
        for flag in flags {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(help.split_whitespace().any(|word| word == flag), "{name} has no {flag}:\n{help}");
        }
    }
}

/// Only what must leave the pod does, and it is what Service, containerPort and health checks say.
#[test]
fn what_listens_beyond_the_pods_loopback_is_declared() {
    let weir = workloads().into_iter().find(|each| text(each, "/metadata/name") == "weir");
    let weir = weir.unwrap_or_else(|| panic!("no weir"));
    let bound: BTreeSet<u64> = strings(&container(&weir)["args"])
        .iter()
        .filter_map(|argument| argument.split_once('=')?.1.parse::<std::net::SocketAddr>().ok())
        .filter(|address| !address.ip().is_loopback())
        .map(|address| u64::from(address.port()))
        .collect();
    let declared: BTreeSet<u64> = ports(&weir).into_values().collect();
    assert_eq!(bound, declared);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container(&weir)[probe]["httpGet"];
        assert!(ports(&weir).contains_key(&text(get, "/port")), "{probe}: {get}");
        let path = text(get, "/path");
        assert_eq!(path, if probe == "livenessProbe" { "/healthz" } else { "/readyz" }, "{probe}");
    }
    let url = strings(&container(&probe())["args"])
        .iter()
        .find_map(|argument| argument.split_once("http://").map(|(_, url)| url.to_owned()));
    let url = url.unwrap_or_else(|| panic!("the probe isn't told where the collector is"));
    let services = of_kind("Service");
    let reached = services.iter().any(|service| {
        let host =
            format!("{}.{}.svc", text(service, "/metadata/name"), text(service, "/metadata/namespace"));
        list(&service["spec"]["ports"])
            .iter()
            .any(|port| text(port, "/name") == "flight" && url == format!("{host}:{}", port["port"]))
    });
    assert!(reached, "no flight port of a Service is {url}");
}

/// Nobody is authenticated yet, so each port needs a policy that says who may come, and none may say "anyone".
#[test]
fn only_probes_reach_ingest_and_nobody_is_let_in_from_everywhere() {
    let policies = of_kind("NetworkPolicy");
    for workload in workloads() {
        let name = text(&workload, "/metadata/name");
        let own: Vec<&Value> = policies
            .iter()
            .filter(|policy| {
                text(policy, "/metadata/namespace") == text(&workload, "/metadata/namespace")
                    && matches(&policy["spec"]["podSelector"]["matchLabels"], &workload["spec"]["template"])
            })
            .collect();
        assert_eq!(own.len(), 1, "{name}: one policy");
        let types = strings(&own[0]["spec"]["policyTypes"]);
        assert_eq!(types, ["Ingress", "Egress"], "{name}");
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in list(&own[0]["spec"][rules]) {
                assert!(!list(&rule[peers]).is_empty(), "{name}: {rules} open to all: {rule}");
                assert!(!list(&rule["ports"]).is_empty(), "{name}: {rules} on all ports: {rule}");
                // The API server is no pod: one port or the other, and only of weir's calls.
                let open: Vec<Option<u64>> =
                    list(&rule["ports"]).iter().map(|port| port["port"].as_u64()).collect();
                let is_api = name == "weir" && rules == "egress" && open == [Some(443), Some(6443)];
                for peer in list(&rule[peers]).iter().filter(|_| !is_api) {
                    assert!(
                        peer["ipBlock"].is_null() && peer["podSelector"].is_object(),
                        "{name}: too wide: {peer}"
                    );
                }
            }
        }
        let admitted: Vec<&Value> = list(&own[0]["spec"]["ingress"]).iter().collect();
        if name != "weir" {
            assert!(admitted.is_empty(), "{name}: nobody calls it");
            continue;
        }
        assert_eq!(admitted.len(), 1);
        let peer = &admitted[0]["from"][0];
        assert!(matches(&peer["podSelector"]["matchLabels"], &probe()["spec"]["template"]), "{peer}");
        let namespace = text(peer, "/namespaceSelector/matchLabels/kubernetes.io~1metadata.name");
        assert_eq!(namespace, text(&probe(), "/metadata/namespace"));
        let open: Vec<Option<u64>> =
            list(&admitted[0]["ports"]).iter().map(|port| port["port"].as_u64()).collect();
        assert_eq!(open, [ports(&workload).get("flight").copied()]);
    }
}

#[test]
fn containers_have_the_least_that_they_need() {
    for workload in workloads() {
        let name = text(&workload, "/metadata/name");
        let (pod, container) = (&workload["spec"]["template"]["spec"], container(&workload));
        let rights = &container["securityContext"];
        assert_eq!(rights["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(rights["readOnlyRootFilesystem"], true, "{name}");
        assert_ne!(rights["privileged"], true, "{name}");
        assert_eq!(strings(&rights["capabilities"]["drop"]), ["ALL"], "{name}");
        assert_eq!(pod["automountServiceAccountToken"], name == "weir", "{name}: who watches the cluster");
        assert!(
            pod["hostNetwork"].is_null(),
            "{name}: a NetworkPolicy can't hold a pod in the node's network"
        );
        assert!(!container["resources"]["limits"]["memory"].is_null(), "{name}");
        let added: BTreeSet<String> = strings(&rights["capabilities"]["add"]).into_iter().collect();
        if name == "weir-probe" {
            assert_eq!(added, ["BPF", "NET_ADMIN", "PERFMON", "SYS_RESOURCE"].map(String::from).into());
            // No writes to the host but its own state, and programs that outlive a crash.
            for mount in list(&container["volumeMounts"]) {
                let is_own = ["state", "bpf"].contains(&text(mount, "/name").as_str());
                assert_eq!(mount["readOnly"] == true, !is_own, "{mount}");
            }
        } else {
            assert!(added.is_empty(), "{name}: {added:?}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert!(pod["hostPID"].is_null(), "{name}");
        }
    }
    // Roles grant named verbs only, and cluster-wide only looking.
    assert!(of_kind("RoleBinding").is_empty());
    for role in of_kind("Role").iter().chain(&of_kind("ClusterRole")) {
        assert!(!role["rules"].to_string().contains('*'), "{role}");
    }
    for rule in of_kind("ClusterRole").iter().flat_map(|role| list(&role["rules"])) {
        assert_eq!(strings(&rule["verbs"]), ["list", "watch"], "{rule}");
    }
    for binding in of_kind("ClusterRoleBinding") {
        let subjects = list(&binding["subjects"]);
        assert!(subjects.len() == 1 && text(&subjects[0], "/name") == "weir", "{binding}");
    }
}

/// The role grants what is watched, no more and no less.
#[test]
fn the_watch_may_see_exactly_the_kinds_that_it_asks_for() {
    let granted: BTreeSet<(String, String)> = of_kind("ClusterRole")
        .iter()
        .flat_map(|role| list(&role["rules"]))
        .flat_map(|rule| {
            let group = strings(&rule["apiGroups"]).swap_remove(0);
            strings(&rule["resources"]).into_iter().map(move |plural| (group.clone(), plural))
        })
        .collect();
    let source = deploy().join("../collector/identity/src/kinds.rs");
    let source = fs::read_to_string(&source).unwrap_or_else(|err| panic!("{}: {err}", source.display()));
    // Kind::built_in("group", "Kind", "plural")
    let asked: BTreeSet<(String, String)> = source
        .lines()
        .filter(|line| line.trim_start().starts_with("Kind::") && line.contains('"'))
        .map(|line| {
            let texts: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            (texts[0].to_owned(), texts[2].to_owned())
        })
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    assert_eq!(granted, asked);
}

/// Each says what it is for in one file, and changes what is there: kustomize refuses a patch that finds nothing.
#[test]
fn components_patch_what_there_is() {
    let mut seen = BTreeSet::new();
    for directory in fs::read_dir(manifests().join("components")).expect("components") {
        let name = directory.expect("a component").file_name().into_string().expect("its name");
        let component = only(&format!("components/{name}/kustomization.yaml"));
        assert_eq!(component["kind"], "Component", "{name}");
        for patch in list(&component["patches"]) {
            let targets: Vec<Value> = of_kind(&text(patch, "/target/kind"))
                .into_iter()
                .filter(|each| text(each, "/metadata/name") == text(patch, "/target/name"))
                .collect();
            assert_eq!(targets.len(), 1, "{name}: {patch}");
            let steps: Vec<Value> = serde_norway::from_str(&text(patch, "/patch")).expect("a JSON patch");
            for step in steps {
                // What is added lies in something that is there.
                let path = text(&step, "/path");
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                assert!(targets[0].pointer(parent).is_some(), "{name}: {path}");
                assert_eq!(step["op"], "add", "{name}: {path}");
                seen.insert((name.clone(), step["value"].to_string()));
            }
        }
    }
    assert!(seen.contains(&("library-probes".to_owned(), "\"SYS_PTRACE\"".to_owned())), "{seen:?}");
}

#[test]
fn images_start_the_binary_they_copy_as_the_user_that_the_manifest_names() {
    for workload in workloads() {
        let name = text(&workload, "/metadata/name");
        assert_eq!(text(container(&workload), "/image"), name, "kustomize sets registry and tag");
        let images = only("kustomization.yaml")["images"].clone();
        assert!(list(&images).iter().any(|image| text(image, "/name") == name), "{name} in {images}");

        let file = deploy().join("images").join(format!("Dockerfile.{name}"));
        let dockerfile = fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        let lines: Vec<&str> = dockerfile.lines().collect();
        let runtime = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap_or_default();
        let last =
            |word: &str| lines[runtime..].iter().find_map(|line| line.strip_prefix(word)).unwrap_or_default();
        assert_eq!(last("ENTRYPOINT "), format!("[\"/usr/local/bin/{name}\"]"));
        assert!(
            lines[runtime..].contains(&format!("COPY --from=build /{name} /usr/local/bin/{name}").as_str())
        );
        assert!(dockerfile.contains(&format!("cargo build --release --locked -p {name} ")), "{name}");
        let rights = [&workload["spec"]["template"]["spec"], container(&workload)]
            .map(|of| &of["securityContext"]["runAsUser"]);
        let user = rights.into_iter().find_map(Value::as_u64).unwrap_or_else(|| panic!("{name}: no user"));
        assert_eq!(last("USER ").split(':').next(), Some(user.to_string().as_str()), "{name}");
        for line in lines.iter().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            for source in &words[..words.len() - 1] {
                assert!(deploy().join("..").join(source).exists(), "{name}: {line}");
            }
        }
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn manifests() -> PathBuf {
    deploy().join("kubernetes")
}

fn documents(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    let read = Deserializer::from_str(&text).map(|document| {
        serde::Deserialize::deserialize(document).unwrap_or_else(|err| panic!("{}: {err}", file.display()))
    });
    read.collect()
}

fn only(name: &str) -> Value {
    documents(&manifests().join(name)).swap_remove(0)
}

/// Everything that kustomize would apply.
fn all() -> Vec<Value> {
    let files = strings(&only("kustomization.yaml")["resources"]);
    files.iter().flat_map(|name| documents(&manifests().join(name))).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    all().into_iter().filter(|document| document["kind"] == kind).collect()
}

fn workloads() -> Vec<Value> {
    let workloads: Vec<Value> = ["Deployment", "DaemonSet"].into_iter().flat_map(of_kind).collect();
    assert_eq!(workloads.len(), 2);
    workloads
}

fn probe() -> Value {
    of_kind("DaemonSet").swap_remove(0)
}

fn container(workload: &Value) -> &Value {
    let containers = list(&workload["spec"]["template"]["spec"]["containers"]);
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// Container ports by name.
fn ports(workload: &Value) -> BTreeMap<String, u64> {
    let named = list(&container(workload)["ports"]).iter();
    named.filter_map(|port| Some((text(port, "/name"), port["containerPort"].as_u64()?))).collect()
}

/// Whether a pod template carries all of these labels; no labels at all match nothing here.
fn matches(labels: &Value, pod: &Value) -> bool {
    let own = &pod["metadata"]["labels"];
    labels
        .as_object()
        .is_some_and(|labels| !labels.is_empty() && labels.iter().all(|(key, value)| own[key] == *value))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
