//! The page at the path of the GUI. This build has none, so the page says where everything else is.

use axum::{http::StatusCode, response::Response};

use super::{context::ApiContext, print};

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>Kuma</title></head>
<body>
<h1>Kuma</h1>
<p>This control plane is served without a GUI. Use <code>kumactl</code>, or the REST API on this port:
<code>/meshes</code>, <code>/dataplanes/_overview</code>, <code>/_resources</code>.</p>
</body>
</html>
";

/// The answer to any path at or below the path of the GUI.
pub(super) fn page(context: &ApiContext, path: &str) -> Option<Response> {
    let base = context.settings.gui_path.trim_end_matches('/');
    if base.is_empty() {
        return None;
    }
    let rest = path.strip_prefix(base)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| print::typed(StatusCode::OK, "text/html; charset=utf-8", PAGE))
}
