//! Makes `../descriptors.binpb.gz`: the descriptor set that the envoy-types package carries, without comments,
//! plus the few messages under `../extra`.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, GzBuilder};
use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = here.parent().ok_or("the folder of the bindings is missing")?;

    let mut set = FileDescriptorSet::decode(&fs::read(types_bin(here)?)?[..])?;
    for file in &mut set.file {
        file.source_code_info = None;
    }

    let extra = crate_dir.join("extra");
    let known: BTreeSet<String> = set.file.iter().map(|f| f.name().to_owned()).collect();
    let mut sources = Vec::new();
    protos(&extra, &mut sources)?;
    sources.sort();
    let more = protox::compile(&sources, [&extra])?;
    set.file.extend(more.file.into_iter().filter(|f| !known.contains(f.name())));

    let bytes = set.encode_to_vec();
    let target = crate_dir.join("descriptors.binpb.gz");
    // A fixed time stamp: the same input gives the same file.
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gz.write_all(&bytes)?;
    fs::write(&target, gz.finish()?)?;
    println!("{} files, {} bytes before compression, in {}", set.file.len(), bytes.len(), target.display());
    Ok(())
}

/// Where cargo keeps the descriptor set of envoy-types.
fn types_bin(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(here.join("Cargo.toml"))
        .output()?;
    if !out.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|p| p["name"] == "envoy-types")
        .and_then(|p| p["manifest_path"].as_str())
        .ok_or("envoy-types is not among the packages")?;
    Ok(Path::new(manifest).with_file_name("src").join("generated/types.bin"))
}

fn protos(dir: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            out.push(path);
        }
    }
    Ok(())
}
