//! Puts the sources together: defaults, then environment, then flags; and remembers what was said explicitly.

use super::{Config, env};
use crate::cli::RunFlags;

/// A configuration with the choices that somebody really made, as opposed to defaults that may be adapted.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The result of all sources.
    pub config: Config,
    /// `KUMA_READINESS_PORT` was set: that port or none.
    pub readiness_port_is_explicit: bool,
    /// The DNS port was set by flag or variable: that port or none.
    pub dns_port_is_explicit: bool,
    /// `--binary-path` or its variable was set: that Envoy or none.
    pub binary_path_is_explicit: bool,
}

/// Loads everything except the transparent proxy's files and the Dataplane resource.
///
/// `lookup` reads one environment variable.
pub fn load(flags: &RunFlags, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, env::InvalidVariable> {
    let mut config = Config::defaults();
    env::apply(&mut config, lookup)?;
    flags.apply(&mut config);
    if let (Some(pod), Some(namespace)) = (set(lookup, "POD_NAME"), set(lookup, "POD_NAMESPACE")) {
        // Kubernetes leaves `$(POD_NAME)` as it is when the variables are declared in another order.
        let name = &mut config.dataplane.name;
        if name.is_empty() || name.contains(['$', '(', ')', '{', '}']) {
            *name = format!("{pod}.{namespace}");
        }
    }
    Ok(Loaded {
        config,
        readiness_port_is_explicit: set(lookup, env::READINESS_PORT).is_some(),
        dns_port_is_explicit: flags.dns_proxy_port.is_some() || set(lookup, env::DNS_PORT).is_some(),
        binary_path_is_explicit: flags.binary_path.is_some() || set(lookup, env::BINARY_PATH).is_some(),
    })
}

fn set(lookup: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
    }

    #[test]
    fn flags_win_over_environment_over_defaults() {
        let env = environment(&[("KUMA_DATAPLANE_NAME", "from-env"), ("KUMA_DATAPLANE_MESH", "m")]);
        let flags = RunFlags { name: Some("from-flag".into()), ..RunFlags::default() };
        let loaded = load(&flags, &env).unwrap();
        assert_eq!(loaded.config.dataplane.name, "from-flag");
        assert_eq!(loaded.config.dataplane.mesh, "m");
        assert_eq!(loaded.config.control_plane.url, "https://localhost:5678");
    }

    #[test]
    fn unexpanded_kubernetes_names_are_completed() {
        let pod = [("POD_NAME", "web-0"), ("POD_NAMESPACE", "shop")];
        for given in ["", "$(POD_NAME).$(POD_NAMESPACE)", "${POD_NAME}"] {
            let mut pairs = pod.to_vec();
            pairs.push(("KUMA_DATAPLANE_NAME", given));
            let loaded = load(&RunFlags::default(), &environment(&pairs)).unwrap();
            assert_eq!(loaded.config.dataplane.name, "web-0.shop", "{given}");
        }
        let mut pairs = pod.to_vec();
        pairs.push(("KUMA_DATAPLANE_NAME", "mine"));
        assert_eq!(load(&RunFlags::default(), &environment(&pairs)).unwrap().config.dataplane.name, "mine");
    }

    #[test]
    fn only_what_was_said_is_explicit() {
        let loaded = load(&RunFlags::default(), &environment(&[])).unwrap();
        assert!(!loaded.readiness_port_is_explicit && !loaded.dns_port_is_explicit && !loaded.binary_path_is_explicit);
        let env = environment(&[("KUMA_READINESS_PORT", "9902")]);
        let flags = RunFlags { dns_proxy_port: Some(15053), binary_path: Some("envoy".into()), ..RunFlags::default() };
        let loaded = load(&flags, &env).unwrap();
        assert!(loaded.readiness_port_is_explicit && loaded.dns_port_is_explicit && loaded.binary_path_is_explicit);
    }
}
