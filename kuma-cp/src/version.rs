//! What this build is.

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

const fn or_unknown(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "unknown",
    }
}

/// The text of `kuma-cp version`.
pub fn text(detailed: bool) -> String {
    if detailed {
        format!(
            "Product:       {PRODUCT}\nVersion:       {VERSION}\nGit Tag:       {GIT_TAG}\n\
             Git Commit:    {GIT_COMMIT}\nBuild Date:    {BUILD_DATE}\n"
        )
    } else {
        format!("{PRODUCT}: {VERSION}\n")
    }
}
