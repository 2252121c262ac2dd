//! Trust without flags on one machine: a control plane that runs as the same user leaves its CA and a token in a private
//! folder, and a kuma-dp that was told neither uses them for an address on loopback.
//!
//! The folder is the first of `$KUMA_LOCAL_DIR`, `$XDG_RUNTIME_DIR/kuma`, `~/.kuma/local`; the files are [`CA_FILE`] and
//! [`TOKEN_FILE`]. Files count only if they belong to this user (or root) and nobody else may write them; the token, if nobody
//! else may read it either.

use std::{
    fs::{self, Metadata},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// PEM certificate of the CA that signed the control plane's certificate.
pub const CA_FILE: &str = "ca.crt";
/// A data plane token.
pub const TOKEN_FILE: &str = "dataplane-token";

/// Where to look, in this order; `lookup` reads one environment variable.
pub fn folders(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| lookup(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(chosen) = set("KUMA_LOCAL_DIR") {
        return vec![chosen];
    }
    let runtime = set("XDG_RUNTIME_DIR").map(|dir| dir.join("kuma"));
    let home = set("HOME").map(|dir| dir.join(".kuma/local"));
    runtime.into_iter().chain(home).collect()
}

/// Whether `host` (of a URL, without port) can only be this machine.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The CA left by a control plane: its path and PEM text.
pub fn ca(folders: &[PathBuf]) -> Option<(PathBuf, String)> {
    let path = folders.iter().map(|folder| folder.join(CA_FILE)).find(|path| is_trustworthy(path, 0o022))?;
    Some((path.clone(), fs::read_to_string(path).ok()?))
}

/// The token left by a control plane.
pub fn token(folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(TOKEN_FILE)).find(|path| is_trustworthy(path, 0o077))
}

/// A regular file of ours (no link) with none of the `forbidden` permission bits, in a folder of ours.
fn is_trustworthy(path: &Path, forbidden: u32) -> bool {
    let me = nix::unistd::geteuid().as_raw();
    let owned = |meta: &Metadata| meta.uid() == me || meta.uid() == 0;
    let file = fs::symlink_metadata(path);
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    file.is_ok_and(|meta| meta.is_file() && owned(&meta) && meta.mode() & forbidden == 0)
        && folder.is_some_and(|meta| owned(&meta) && meta.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_loopback_is_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.evil.example", "cp", "0.0.0.0", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn folders_are_asked_in_order() {
        let env = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/7".to_owned()),
            "HOME" => Some("/home/me".to_owned()),
            _ => None,
        };
        assert_eq!(folders(&env), [Path::new("/run/user/7/kuma"), Path::new("/home/me/.kuma/local")]);
        assert_eq!(folders(&|_| Some("/chosen".to_owned())), [Path::new("/chosen")]);
    }

    #[test]
    fn files_that_others_could_have_written_or_read_do_not_count() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("local");
        fs::create_dir(&dir).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&dir, 0o700);
        let here = [dir.clone()];
        assert_eq!((ca(&here), token(&here)), (None, None));

        fs::write(dir.join(CA_FILE), "PEM").unwrap();
        fs::write(dir.join(TOKEN_FILE), "jwt").unwrap();
        mode(&dir.join(CA_FILE), 0o644);
        mode(&dir.join(TOKEN_FILE), 0o600);
        assert_eq!(ca(&here), Some((dir.join(CA_FILE), "PEM".to_owned())));
        assert_eq!(token(&here), Some(dir.join(TOKEN_FILE)));

        mode(&dir.join(CA_FILE), 0o666);
        mode(&dir.join(TOKEN_FILE), 0o644);
        assert_eq!((ca(&here), token(&here)), (None, None));

        mode(&dir.join(TOKEN_FILE), 0o600);
        mode(&dir, 0o777);
        assert_eq!(token(&here), None);
    }
}
