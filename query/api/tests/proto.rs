//! What is compiled is what the .proto files say.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;
use sha2::{Digest, Sha256};

/// The digest is of all names and contents, as `proto/generate` writes it down beside what it makes.
#[test]
fn generated_code_is_of_the_proto_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut digest = Sha256::new();
    for source in sources(&root) {
        digest.update(source.to_string_lossy().as_bytes());
        digest.update([0]);
        digest.update(fs::read(root.join(&source)).expect("reads"));
        digest.update([0]);
    }
    let written = fs::read_to_string(root.join("generated/sources.sha256")).expect("reads");
    assert_eq!(written.trim(), hex::encode(digest.finalize()), "a .proto file was changed: run `make proto`");
}

#[test]
fn the_descriptors_have_every_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let set = FileDescriptorSet::decode(weir_api::jaeger::grpc::proto::DESCRIPTORS).expect("descriptors");
    let mut names: Vec<String> = set.file.into_iter().map(|file| file.name.unwrap_or_default()).collect();
    names.retain(|name| !name.starts_with("google/"));
    names.sort();
    let sources: Vec<String> =
        sources(&root).into_iter().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(names, sources);
    assert!(sources.len() >= 10, "{sources:?}");
}

/// Relative to `root`, sorted.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("jaeger"), root.join("opentelemetry")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "proto") {
                found.push(path.strip_prefix(root).expect("below it").to_owned());
            }
        }
    }
    found.sort();
    found
}
