//! Where `apply` reads from: a file, a directory, a URL or standard input.

use std::{io::Read, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use kuma_core::document::{self, Limits};

use crate::Streams;

/// Longest time for a URL.
const URL_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of one source.
const LIMITS: Limits = Limits { bytes: 64 << 20, ..Limits::FILE };

/// One text of a source.
#[derive(Debug)]
pub(super) struct Source {
    /// Which file of a directory it is; nothing where the source is one text.
    pub(super) file: Option<String>,
    /// The text.
    pub(super) text: String,
}

/// The texts of a source.
pub(super) async fn read(source: &str, streams: &mut Streams<'_>) -> Result<Vec<Source>> {
    let path = Path::new(source);
    let failed = || "error while reading provided file".to_owned();
    let text = if source == "-" {
        stream(&mut *streams.input, "standard input")?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        fetch(source).await?
    } else if path.is_dir() {
        return directory(path).with_context(failed);
    } else {
        file(path).with_context(failed)?
    };
    Ok(vec![Source { file: None, text }])
}

fn file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).with_context(|| name.clone())?;
    stream(file, &name)
}

fn stream(from: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    // One byte more than what is accepted: enough to tell that it is too much.
    from.take(LIMITS.bytes as u64 + 1).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
    decode(&bytes, name)
}

fn decode(bytes: &[u8], name: &str) -> Result<String> {
    if bytes.len() > LIMITS.bytes {
        return Err(anyhow!("{name} is larger than {} MiB", LIMITS.bytes >> 20));
    }
    Ok(document::text(bytes, LIMITS).with_context(|| name.to_owned())?.to_owned())
}

/// YAML and JSON files of a directory, by name.
fn directory(path: &Path) -> Result<Vec<Source>> {
    let mut files: Vec<_> = std::fs::read_dir(path)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.is_file())
        .filter(|p| {
            let extension = p.extension().map(std::ffi::OsStr::to_ascii_lowercase);
            extension.is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        })
        .collect();
    files.sort();
    files.iter().map(|path| Ok(Source { file: Some(path.display().to_string()), text: file(path)? })).collect()
}

async fn fetch(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().timeout(URL_TIMEOUT).build()?;
    let response = client.get(url).send().await.map_err(|e| anyhow!("error with GET http request: {e}"))?;
    if !response.status().is_success() {
        return Err(anyhow!("error while retrieving URL: {url} answered {}", response.status()));
    }
    let bytes = response.bytes().await.map_err(|e| anyhow!("error with GET http request: {e}"))?;
    decode(&bytes, url)
}
