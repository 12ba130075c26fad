//! A container's image and names, out of what its runtime keeps on disk: no runtime is asked, no socket opened, nothing
//! written.
//!
//! | runtime      | file below its directory                                    | tells                          |
//! |--------------|-------------------------------------------------------------|--------------------------------|
//! | containerd   | `io.containerd.runtime.v2.task/NAMESPACE/ID/config.json`     | annotations of the CRI plugin  |
//! | CRI-O, podman | `overlay-containers/ID/userdata/config.json`                 | annotations of CRI-O           |
//! | CRI-O, podman | `overlay-containers/containers.json`                        | image and name of each         |
//! | Docker       | `containers/ID/config.v2.json`                               | image, name, labels            |
//!
//! Rootless runtimes keep their state in their users' homes: not looked at.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

/// Longest file that describes one container.
const MAX_FILE: u64 = 1 << 20;
/// Longest file that describes them all.
const MAX_LIST: u64 = 4 << 20;
/// Containers that are remembered.
const MAX_KNOWN: usize = 1_024;
/// containerd's namespaces that are looked through: Kubernetes', Docker's, the default one.
const MAX_NAMESPACES: usize = 16;
/// Longest name that is taken over.
const MAX_NAME: usize = 512;

const CONTAINERD: &[&str] = &["run/containerd", "run/k3s/containerd"];
const STORAGE: &[&str] = &["var/lib/containers/storage", "run/containers/storage"];
const DOCKER: &str = "var/lib/docker";

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) image: Option<SmolStr>,
    pub(super) name: Option<SmolStr>,
    /// UID of its pod.
    pub(super) pod: Option<SmolStr>,
    pub(super) pod_name: Option<SmolStr>,
    pub(super) namespace: Option<SmolStr>,
}

/// All runtimes of this machine.
pub(super) struct Runtimes {
    /// Where the host's files are; the first that has a container counts.
    roots: Vec<PathBuf>,
    known: HashMap<SmolStr, Container>,
    /// Files that are too long, or no JSON of the known form.
    pub(super) unreadable: u64,
}

/// `config.json` of the OCI.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// `config.v2.json` of Docker.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    name: Option<String>,
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    image: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// An element of `containers.json`.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON once more.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct StoredMetadata {
    image_name: Option<String>,
    /// CRI-O's.
    container_name: Option<String>,
    /// podman's.
    name: Option<String>,
}

impl Runtimes {
    /// With the host's files below any of `roots`.
    pub(super) fn new(roots: Vec<PathBuf>) -> Runtimes {
        Runtimes { roots, known: HashMap::new(), unreadable: 0 }
    }

    /// What is known of that container.
    pub(super) fn container(&mut self, id: &SmolStr) -> Option<Container> {
        if let Some(known) = self.known.get(id) {
            return Some(known.clone());
        }
        // The id becomes part of a path.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let roots = self.roots.clone();
        let found = roots.iter().find_map(|root| self.look_below(root, id))?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(id.clone(), found.clone());
        Some(found)
    }

    fn look_below(&mut self, root: &Path, id: &str) -> Option<Container> {
        CONTAINERD
            .iter()
            .find_map(|place| self.containerd(&root.join(place), id))
            .or_else(|| STORAGE.iter().find_map(|place| self.storage(&root.join(place), id)))
            .or_else(|| self.docker(&root.join(DOCKER), id))
    }

    fn containerd(&mut self, place: &Path, id: &str) -> Option<Container> {
        let tasks = fs::read_dir(place.join("io.containerd.runtime.v2.task")).ok()?;
        let namespaces = tasks.flatten().take(MAX_NAMESPACES);
        namespaces.map(|entry| entry.path().join(id).join("config.json")).find_map(|path| self.bundle(&path))
    }

    fn storage(&mut self, place: &Path, id: &str) -> Option<Container> {
        let containers = place.join("overlay-containers");
        // Half of what it may tell is in the list only, for podman all.
        self.bundle(&containers.join(id).join("userdata/config.json")).or_else(|| {
            let listed: Vec<Stored> = self.json(&containers.join("containers.json"), MAX_LIST)?;
            let stored = listed.into_iter().find(|stored| stored.id == id)?;
            let metadata: StoredMetadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
            let name = metadata.container_name.or(metadata.name).or(stored.names.into_iter().next());
            some(Container {
                image: metadata.image_name.as_deref().and_then(text),
                name: name.as_deref().and_then(text),
                ..Container::default()
            })
        })
    }

    fn docker(&mut self, place: &Path, id: &str) -> Option<Container> {
        let docker: Docker =
            self.json(&place.join("containers").join(id).join("config.v2.json"), MAX_FILE)?;
        let (image, labels) = docker.config.map_or((None, None), |config| (config.image, config.labels));
        let mut found = of_annotations(&labels.unwrap_or_default());
        found.image = found.image.or(image.as_deref().and_then(text));
        found.name =
            found.name.or(docker.name.as_deref().and_then(|name| text(name.trim_start_matches('/'))));
        some(found)
    }

    fn bundle(&mut self, path: &Path) -> Option<Container> {
        let bundle: Bundle = self.json(path, MAX_FILE)?;
        some(of_annotations(&bundle.annotations))
    }

    fn json<T: DeserializeOwned>(&mut self, path: &Path, most: u64) -> Option<T> {
        let bytes = match read(path, most) {
            Ok(bytes) => bytes?,
            // It's not there: another runtime's container, or none's any more.
            Err(_) => return None,
        };
        let parsed = (bytes.len() as u64 <= most).then(|| serde_json::from_slice(&bytes).ok()).flatten();
        self.unreadable += u64::from(parsed.is_none());
        parsed
    }
}

/// At most one byte more than `most`; `None` of what is no file. A link in a file's place is not followed.
fn read(path: &Path, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Annotations of containerd's CRI plugin and of CRI-O, and labels that Kubernetes gives to Docker's containers.
fn of_annotations(annotations: &BTreeMap<String, String>) -> Container {
    let first =
        |names: &[&str]| names.iter().find_map(|name| annotations.get(*name)).and_then(|value| text(value));
    Container {
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "io.kubernetes.cri-o.Image",
        ]),
        name: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]),
        pod: first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        pod_name: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
    }
}

fn some(found: Container) -> Option<Container> {
    (found != Container::default()).then_some(found)
}

fn text(value: &str) -> Option<SmolStr> {
    let value = &value[..value.floor_char_boundary(MAX_NAME)];
    (!value.is_empty()).then(|| SmolStr::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f0c9a2b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a";

    /// A host with one file, whose `ID` is replaced in its path.
    fn check(path: &str, contents: &str, expected: Option<[Option<&str>; 5]>) -> u64 {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path.replace("ID", ID));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, contents.replace("$ID", ID)).unwrap();
        let mut runtimes = Runtimes::new(vec![root.path().join("absent"), root.path().to_owned()]);
        let expected = expected.map(|fields| {
            let [image, name, pod, pod_name, namespace] = fields.map(|field| field.map(SmolStr::new));
            Container { image, name, pod, pod_name, namespace }
        });
        assert_eq!(runtimes.container(&ID.into()), expected, "{path}");
        // From memory the second time, where there was something.
        fs::remove_file(&file).unwrap();
        assert_eq!(runtimes.container(&ID.into()), expected, "{path}");
        assert_eq!(runtimes.container(&"../../etc".into()), None);
        runtimes.unreadable
    }

    const CONTAINERD: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";

    #[test]
    fn containerd_s_bundle_tells_image_and_pod() {
        let contents = r#"{"ociVersion":"1.2.0","process":{"args":["nginx"]},"annotations":{
            "io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.image-name":"docker.io/library/nginx:1.27","io.kubernetes.cri.sandbox-id":"77",
            "io.kubernetes.cri.sandbox-name":"web-7d4b9-x2x","io.kubernetes.cri.sandbox-namespace":"shop",
            "io.kubernetes.cri.sandbox-uid":"123e4567-e89b-12d3-a456-426614174000"},"linux":{}}"#;
        let uid = "123e4567-e89b-12d3-a456-426614174000";
        let expected = ["docker.io/library/nginx:1.27", "web", uid, "web-7d4b9-x2x", "shop"].map(Some);
        for path in [CONTAINERD, "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json"] {
            check(path, contents, Some(expected));
        }
    }

    #[test]
    fn cri_o_s_bundle_tells_image_and_pod() {
        let contents = r#"{"annotations":{"io.kubernetes.cri-o.ImageName":"quay.io/shop/cart:3",
            "io.kubernetes.container.name":"cart","io.kubernetes.pod.name":"cart-0",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u-1"}}"#;
        let expected = ["quay.io/shop/cart:3", "cart", "u-1", "cart-0", "shop"].map(Some);
        for place in ["var/lib", "run"] {
            check(
                &format!("{place}/containers/storage/overlay-containers/ID/userdata/config.json"),
                contents,
                Some(expected),
            );
        }
    }

    #[test]
    fn podman_s_list_tells_image_and_name() {
        let contents = r#"[{"id":"00","names":["other"],"metadata":"{}"},
            {"id":"$ID","names":["web"],"image":"ab","metadata":"{\"image-name\":\"quay.io/a/b:1\",\"name\":\"web\"}"}]"#;
        let expected = [Some("quay.io/a/b:1"), Some("web"), None, None, None];
        check("var/lib/containers/storage/overlay-containers/containers.json", contents, Some(expected));
    }

    #[test]
    fn docker_s_config_tells_image_name_and_labels() {
        let path = "var/lib/docker/containers/ID/config.v2.json";
        let contents =
            r#"{"ID":"$ID","Name":"/web","Config":{"Image":"nginx:1.27","Env":["A=b"],"Labels":null}}"#;
        check(path, contents, Some([Some("nginx:1.27"), Some("web"), None, None, None]));
        let contents = r#"{"Name":"/k8s_cart","Config":{"Image":"sha256:ab","Labels":{
            "io.kubernetes.container.name":"cart","io.kubernetes.pod.name":"cart-0",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u-1"}}}"#;
        let expected = ["sha256:ab", "cart", "u-1", "cart-0", "shop"].map(Some);
        check(path, contents, Some(expected));
    }

    #[test]
    fn what_can_t_be_read_is_counted_and_never_taken_whole() {
        assert_eq!(check(CONTAINERD, "{\"annotations\":", None), 1);
        assert_eq!(check(CONTAINERD, &" ".repeat(MAX_FILE as usize + 1), None), 1);
        assert_eq!(check(CONTAINERD, r#"{"annotations":{"a":"b"}}"#, None), 0, "another's annotations");
        let long =
            format!(r#"{{"annotations":{{"io.kubernetes.cri.image-name":"{}"}}}}"#, "ä".repeat(MAX_NAME));
        let short = "ä".repeat(MAX_NAME / 2);
        check(CONTAINERD, &long, Some([Some(&short), None, None, None, None]));
    }

    /// A container may write into its bundle's directory, by a mount; what lies there is not what it says.
    #[test]
    fn links_and_pipes_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(CONTAINERD.replace("ID", ID));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let elsewhere = root.path().join("config.json");
        fs::write(&elsewhere, r#"{"annotations":{"io.kubernetes.cri.image-name":"x"}}"#).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        let mut runtimes = Runtimes::new(vec![root.path().to_owned()]);
        assert_eq!(runtimes.container(&ID.into()), None);
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(runtimes.container(&ID.into()), None);
    }
}
