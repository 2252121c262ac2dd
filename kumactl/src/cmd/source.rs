//! Where `apply` reads from: a file, a directory, a URL or standard input.

use std::{io::Read, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};

use crate::Streams;

/// Longest time for a URL.
const URL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes that are read, whatever the source.
const LIMIT: u64 = 64 << 20;

/// The text of a source.
pub(super) async fn read(source: &str, streams: &mut Streams<'_>) -> Result<String> {
    if source == "-" {
        let mut bytes = Vec::new();
        streams.input.take(LIMIT + 1).read_to_end(&mut bytes).context("error while reading standard input")?;
        return decode(bytes, "standard input");
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return fetch(source).await;
    }
    let path = Path::new(source);
    let failed = || "error while reading provided file".to_owned();
    if path.is_dir() {
        return directory(path).with_context(failed);
    }
    file(path).with_context(failed)
}

fn file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(LIMIT + 1).read_to_end(&mut bytes)).with_context(|| name.clone())?;
    decode(bytes, &name)
}

fn decode(bytes: Vec<u8>, name: &str) -> Result<String> {
    if bytes.len() as u64 > LIMIT {
        return Err(anyhow!("{name} is larger than {} MiB", LIMIT >> 20));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        anyhow!("{name} is not UTF-8 text: the byte at offset {at} is out of place")
    })
}

/// YAML and JSON files of a directory, by name, as one text.
fn directory(path: &Path) -> Result<String> {
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
    let texts = files.iter().map(|f| file(f)).collect::<Result<Vec<_>>>()?;
    Ok(texts.join("\n---\n"))
}

async fn fetch(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().timeout(URL_TIMEOUT).build()?;
    let response = client.get(url).send().await.map_err(|e| anyhow!("error with GET http request: {e}"))?;
    if !response.status().is_success() {
        return Err(anyhow!("error while retrieving URL: {url} answered {}", response.status()));
    }
    let bytes = response.bytes().await.map_err(|e| anyhow!("error with GET http request: {e}"))?;
    decode(bytes.to_vec(), url)
}
