//! The configuration file in the release archive says what it claims: known keys, default values, right variables.

use std::collections::BTreeMap;

use kuma_cp::config::{self, Config};

const SAMPLE: &str = include_str!("../../release/assets/kuma-cp.conf.yml");

#[test]
fn the_sample_has_known_keys_and_their_defaults() {
    let loaded = config::load::layer(Some(SAMPLE), []).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(loaded.set.len() > 10, "{:?}", loaded.set);
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn the_sample_names_the_variable_of_each_key() {
    let variables: BTreeMap<_, _> = config::keys().into_iter().filter_map(|key| Some((key.path, key.env?))).collect();
    let loaded = config::load::layer(Some(SAMPLE), []).unwrap();
    for path in &loaded.set {
        let variable = variables.get(path.as_str()).unwrap_or_else(|| panic!("{path} has no variable"));
        let leaf = path.rsplit('.').next().unwrap_or_default();
        let named = SAMPLE
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("{leaf}:")) && line.contains(&format!("# {variable}")));
        assert!(named, "{path} should be followed by {variable}");
    }
}
