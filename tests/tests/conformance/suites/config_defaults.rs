//! `config-defaults`: default configurations of kuma-cp and kuma-dp, and errors of a written one.

use serde_json::Value;

use crate::{
    case::{Case, Check},
    compare,
    report::Outcome,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case, &check))).collect()
}

fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let golden = check.golden(case).ok_or("the check has no golden")?;
    match check.name {
        "defaults" => {
            let found = defaults(case.param("section").as_str().unwrap_or_default())?;
            compare::values(&found, &compare::yaml(&golden)?)
        }
        "error" => {
            let file = case.doc["inputs"]["config"].as_str().ok_or("the case has no configuration")?;
            let path = case.dir.join(file).display().to_string();
            match kuma_dp::config::Config::from_file(&path) {
                Ok(_) => Err("the configuration is accepted".to_owned()),
                Err(error) => compare::texts(&error.to_string(), &golden.replace("{{file}}", &path)),
            }
        }
        other => Err(format!("there is no check {other:?} in this suite")),
    }
}

/// The default of `kuma-dp configuration`, or of `<path> section of kuma-cp`.
fn defaults(section: &str) -> Result<Value, String> {
    if section == "kuma-dp configuration" {
        return serde_json::to_value(kuma_dp::config::Config::defaults()).map_err(|e| e.to_string());
    }
    let path = section.strip_suffix(" section of kuma-cp").ok_or_else(|| format!("no program has {section:?}"))?;
    let loaded = kuma_cp::config::layer(None, []).map_err(|e| e.to_string())?;
    let shown = loaded.config.display();
    shown
        .pointer(&format!("/{}", path.replace('.', "/")))
        .cloned()
        .ok_or_else(|| format!("there is no section {path:?}"))
}
