//! What the host offers: IPv6, the system's CA bundle, the memory limit.

use std::path::{Path, PathBuf};

/// Where distributions keep their CA bundle, most common first.
const CA_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// cgroup v1, then v2.
const MEMORY_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"];

/// The CA bundle of this system, if it has one.
pub fn system_ca() -> Option<&'static str> {
    CA_BUNDLES.into_iter().find(|path| Path::new(path).is_file())
}

/// The memory limit of this cgroup in bytes; 0 if there is none.
pub fn memory_limit() -> u64 {
    MEMORY_LIMITS.into_iter().find_map(|path| limit_in(&std::fs::read_to_string(path).ok()?)).unwrap_or(0)
}

fn limit_in(text: &str) -> Option<u64> {
    // "max" in v2; v1 writes the largest page-aligned number, which is no limit either.
    text.trim().parse().ok().filter(|bytes| *bytes < i64::MAX as u64 / 4096 * 4096)
}

/// Whether an interface other than loopback has an IPv6 address.
pub fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|table| any_real_ipv6(&table))
}

fn any_real_ipv6(table: &str) -> bool {
    // address ifindex prefix scope flags name; loopback's scope is 10 (host).
    table.lines().filter_map(|line| line.split_whitespace().nth(3)).any(|scope| scope != "10")
}

/// The folder of the running executable.
pub fn own_folder() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?;
    // A link in /usr/local/bin leads to the folder that the archive was unpacked to.
    let path = path.canonicalize().unwrap_or(path);
    path.parent().map(Path::to_owned)
}

/// Finds an executable file called `name` in the folders of `search_path`.
pub fn in_path(name: &str, search_path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search_path?).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// Whether `path` is a file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_limit_memory() {
        assert_eq!(limit_in("536870912\n"), Some(536_870_912));
        assert_eq!(limit_in("max\n"), None);
        assert_eq!(limit_in("9223372036854771712\n"), None);
    }

    #[test]
    fn loopback_is_not_ipv6() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(!any_real_ipv6(loopback));
        assert!(!any_real_ipv6(""));
        assert!(any_real_ipv6(&format!("{loopback}fd000000000000000000000000000002 04 40 00 82     eth0\n")));
    }

    #[test]
    fn executables_are_found_in_order() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for folder in [&a, &b] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("envoy"), "").unwrap();
        }
        std::fs::set_permissions(b.join("envoy"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([&a, &b]).unwrap();
        assert_eq!(in_path("envoy", Some(&path)), Some(b.join("envoy")));
        assert_eq!(in_path("other", Some(&path)), None);
        assert_eq!(in_path("envoy", None), None);
    }
}
