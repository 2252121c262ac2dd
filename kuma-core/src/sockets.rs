//! Paths of the Unix sockets that kuma-dp, its Envoy and the control plane must agree on: each side computes them
//! from the work directory of kuma-dp, so they are written down once.

/// Longest path without the ending. With `.sock` behind it a path stays within the limit of the kernel (108 bytes).
const LIMIT: usize = 98;

/// Socket on which Envoy serves the configuration that kuma-dp polls.
pub fn dynamic_config(work_dir: &str) -> String {
    path(work_dir, "kuma-mesh-metric-config")
}

/// Socket of Envoy's admin API.
pub fn envoy_admin(work_dir: &str) -> String {
    path(work_dir, "kuma-envoy-admin")
}

/// Socket of the readiness reporter of old versions of kuma-dp.
pub fn readiness_reporter(work_dir: &str) -> String {
    path(work_dir, "kuma-readiness-reporter")
}

/// Named pipe to which Envoy writes access logs that kuma-dp sends on.
pub fn access_log(work_dir: &str, name: &str, mesh: &str) -> String {
    path(work_dir, &format!("kuma-al-{name}-{mesh}"))
}

/// Socket of kuma-dp's metrics server.
pub fn metrics(work_dir: &str, name: &str, mesh: &str) -> String {
    path(work_dir, &format!("kuma-mh-{name}-{mesh}"))
}

/// Directory and file name, cut to the limit, with the ending. An empty directory gives the bare file name.
fn path(work_dir: &str, stem: &str) -> String {
    let dir = work_dir.trim_end_matches('/');
    let mut path = match (work_dir.is_empty(), dir.is_empty()) {
        (true, _) => stem.to_owned(),
        (false, true) => format!("/{stem}"),
        (false, false) => format!("{dir}/{stem}"),
    };
    // Both sides cut bytes; a path that is cut within a character cannot be spoken of in protobuf, so it ends before.
    path.truncate(path.floor_char_boundary(LIMIT));
    path.push_str(".sock");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_work_directory() {
        assert_eq!(dynamic_config(""), "kuma-mesh-metric-config.sock");
        assert_eq!(envoy_admin("/run/kuma-dp"), "/run/kuma-dp/kuma-envoy-admin.sock");
        assert_eq!(readiness_reporter("/run/kuma-dp/"), "/run/kuma-dp/kuma-readiness-reporter.sock");
        assert_eq!(access_log("/w", "web-1", "default"), "/w/kuma-al-web-1-default.sock");
        assert_eq!(metrics("/", "web-1", "default"), "/kuma-mh-web-1-default.sock");
    }

    #[test]
    fn long_paths_are_cut_before_the_ending() {
        let path = access_log("/run/kuma-dp", &"n".repeat(200), "default");
        assert_eq!(path.len(), LIMIT + ".sock".len());
        assert!(path.starts_with("/run/kuma-dp/kuma-al-nnn") && path.ends_with("nn.sock"));
        assert!(envoy_admin(&"é".repeat(60)).len() <= LIMIT + ".sock".len());
    }
}
