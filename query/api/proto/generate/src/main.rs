//! `query/api/proto/**.proto` → `query/api/proto/generated`: what ordinary builds compile, so that they need neither
//! `protoc` nor this program. Run it by `make proto` after a change to a .proto file, and commit what it makes.
//!
//! - one Rust file a package of Jaeger's: messages and servers; OpenTelemetry's messages are `weir_otlp`'s
//! - `descriptors.bin`: all files and what they import, for gRPC's reflection
//! - `sources.sha256`: of which .proto files the rest was made, for the test that asks whether it still is

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prost::Message;
use protox::Compiler;
use protox::file::{ChainFileResolver, GoogleFileResolver, IncludeFileResolver};
use sha2::{Digest, Sha256};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let to = root.join("generated");
    let sources = sources(&root)?;

    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(root.clone()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    for source in &sources {
        compiler.open_file(source)?;
    }
    let with_comments = compiler.file_descriptor_set();
    compiler.include_source_info(false);
    let descriptors = compiler.file_descriptor_set();

    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    fs::create_dir_all(&to)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".opentelemetry.proto", "::weir_otlp::proto")
        .out_dir(&to)
        .compile_fds(with_comments)?;
    for made in fs::read_dir(&to)? {
        let made = made?.path();
        if !made.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jaeger.")) {
            fs::remove_file(made)?;
        }
    }
    fs::write(to.join("descriptors.bin"), descriptors.encode_to_vec())?;
    fs::write(to.join("sources.sha256"), digest(&root, &sources)? + "\n")?;
    Ok(())
}

/// Every .proto file, relative to `root`, sorted.
fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("jaeger"), root.join("opentelemetry")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "proto") {
                found.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Of all names and contents; `query/api/tests/proto.rs` does the same.
fn digest(root: &Path, sources: &[PathBuf]) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for source in sources {
        digest.update(source.to_string_lossy().as_bytes());
        digest.update([0]);
        digest.update(fs::read(root.join(source))?);
        digest.update([0]);
    }
    Ok(hex::encode(digest.finalize()))
}
