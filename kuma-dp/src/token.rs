//! The data plane token: read from a file and looked at (not verified: that is the control plane's part).

use std::path::Path;

use base64::Engine as _;

/// A token that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is not there or not readable.
    #[error("cannot read the data plane token from {path}: {cause}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Why; no source, since the text says it already.
        cause: std::io::Error,
    },
    /// The content is not a token.
    #[error(
        "the data plane token in {path} is invalid: {reason}. On Kubernetes a service account token must be mounted; \
         on Universal make one with `kumactl generate dataplane-token`"
    )]
    Invalid {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Reads the token in `path`, without surrounding white space.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let shown = || path.display().to_string();
    let content = std::fs::read(path).map_err(|cause| TokenError::Unreadable { path: shown(), cause })?;
    check(&content).map_err(|reason| TokenError::Invalid { path: shown(), reason })
}

fn check(content: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not text")?.trim();
    if text.is_empty() {
        return Err("the file is empty");
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err("it has more than one line, or a NUL in it");
    }
    let [header, _, _] = text.split('.').collect::<Vec<_>>()[..] else {
        return Err("it is not a JWT: three parts joined by dots are expected");
    };
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header.trim_end_matches('='))
        .map_err(|_| "it is not a JWT: the header is not base64")?;
    let header: serde_json::Value =
        serde_json::from_slice(&header).map_err(|_| "it is not a JWT: the header is not JSON")?;
    match header.get("alg").and_then(serde_json::Value::as_str) {
        Some(alg) if !alg.is_empty() => Ok(text.to_owned()),
        _ => Err("it is not a JWT: the header names no algorithm"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed() {
        assert_eq!(check(b"\n eyJhbGciOiJSUzI1NiJ9.e30.sig \n"), Ok("eyJhbGciOiJSUzI1NiJ9.e30.sig".to_owned()));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        for (content, part) in [
            (&b"  \n"[..], "empty"),
            (b"a.b.c\nd.e.f", "more than one line"),
            (b"abc", "three parts"),
            (b"!!.b.c", "not base64"),
            (b"YWJj.b.c", "not JSON"),
            (b"e30.b.c", "no algorithm"),
            (b"\xff\xfe", "not text"),
        ] {
            let reason = check(content).unwrap_err();
            assert!(reason.contains(part), "{content:?}: {reason}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/token")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the data plane token from /nowhere/token"), "{error}");
    }
}
