//! What this build is, and `kuma-dp version`.

/// The product.
pub const PRODUCT: &str = "Kuma";
/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Tag in the repository; release builds set it.
pub const GIT_TAG: &str = or_unknown(option_env!("KUMA_GIT_TAG"));
/// Commit in the repository; release builds set it.
pub const GIT_COMMIT: &str = or_unknown(option_env!("KUMA_GIT_COMMIT"));
/// When it was built; release builds set it to the time of the commit.
pub const BUILD_DATE: &str = or_unknown(option_env!("KUMA_BUILD_DATE"));

/// Envoys that this kuma-dp is tested with, by major and minor version.
pub const ENVOYS: [&str; 2] = ["1.39", "1.40"];

const fn or_unknown(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "unknown",
    }
}

/// The text of `kuma-dp version`.
pub fn text(detailed: bool) -> String {
    if detailed {
        format!(
            "Product:       {PRODUCT}\nVersion:       {VERSION}\nGit Tag:       {GIT_TAG}\n\
             Git Commit:    {GIT_COMMIT}\nBuild Date:    {BUILD_DATE}\nEnvoy:         {}\n",
            ENVOYS.join(", ")
        )
    } else {
        format!("{PRODUCT}: {VERSION}\n")
    }
}

/// Whether Envoy `version` (`1.40.2`) is one that this kuma-dp is tested with.
pub fn is_tested_with(version: &str) -> bool {
    let minor = version.match_indices('.').nth(1).map(|(at, _)| &version[..at]);
    minor.is_some_and(|minor| ENVOYS.contains(&minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_are_compared_by_minor_version() {
        assert!(is_tested_with("1.39.0") && is_tested_with("1.40.3") && is_tested_with("1.40.0-dev"));
        assert!(
            !is_tested_with("1.41.0") && !is_tested_with("1.4.0") && !is_tested_with("1.40") && !is_tested_with("")
        );
    }

    #[test]
    fn details_on_request() {
        assert_eq!(text(false), format!("Kuma: {VERSION}\n"));
        assert!(text(true).contains("\nGit Commit:    "));
    }
}
