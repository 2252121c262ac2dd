//! `label-validation`: one resource with one label, written to a control plane of each kind.

use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, NoStatus},
    resources::Mesh,
};
use kuma_cp::api::{self, Scheme, Site};
use serde_json::Value;

use crate::{
    case::{Case, Check},
    compare,
    report::Outcome,
    rest, store,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case, &check))).collect()
}

fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let golden = check.golden(case).ok_or("the check names no golden")?;
    let document = case.input("resource").ok_or("no resource")?;
    let site = match case.param("target").as_str().unwrap_or_default() {
        "global" => Site::global(),
        "zone-uni" => {
            let mut site = Site::zone("kuma-4");
            site.labels.federated = true;
            site
        }
        other => return Err(format!("nothing answers like a control plane of kind {other:?} yet")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (status, body) = runtime.block_on(put(site, &compare::yaml(&document)?))?;
    same(&status, &body, &golden)
}

async fn put(site: Site, document: &Value) -> Result<(String, String), String> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let kind = Kind::by_name(text("type")).ok_or_else(|| format!("there is no kind {:?}", text("type")))?;
    let mesh = AnyResource::new(Meta::new("", text("mesh"), Labels::new()), Mesh::default(), NoStatus {});
    let context = api::over(store::open().await?, site, [mesh]).await.map_err(|e| e.to_string())?;
    let router = api::router(context.into(), Scheme::Http);
    let path = format!("/meshes/{}/{}/{}", text("mesh"), kind.descriptor().path, text("name"));
    let (status, body) = rest::ask(router, "PUT", &path, Some(document.to_string())).await?;
    Ok((status.to_string(), body))
}

/// The golden: a status line, an empty line, the body.
fn same(status: &str, body: &str, golden: &str) -> Result<(), String> {
    let (line, wanted) = golden.split_once("\n\n").ok_or("the golden has no body")?;
    let line = line.trim().strip_prefix("HTTP/1.1 ").ok_or("the golden has no status")?;
    if status != line {
        return Err(format!("status {status}, expected {line}: {body}"));
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("{e}: {text}"));
    compare::values(&parse(body)?, &parse(wanted)?)
}
