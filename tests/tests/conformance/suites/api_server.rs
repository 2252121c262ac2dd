//! `api-server`: requests to the REST API over a store that holds known resources. The API is asked in the process.

use kuma_core::{json, registry::Kind, resource::AnyResource};
use kuma_cp::api::{self, Scheme, Site};
use serde_json::Value;

use crate::{
    case::{Case, Check},
    compare,
    report::Outcome,
    rest::{self, ADDRESS},
    store,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(ask_all(case)),
        Err(error) => vec![Outcome::fail("setup", error.to_string())],
    }
}

async fn ask_all(case: &Case) -> Vec<Outcome> {
    let router = match router(case).await {
        Ok(router) => router,
        Err(reason) => {
            return case.checks().into_iter().map(|check| Outcome::fail(check.name, &reason)).collect();
        }
    };
    let mut outcomes = Vec::new();
    for check in case.checks() {
        let result = ask(case, &check, router.clone()).await;
        outcomes.push(Outcome::new(check.name, result));
    }
    outcomes
}

async fn router(case: &Case) -> Result<axum::Router, String> {
    let site = if case.param("mode") == "global" { Site::global() } else { Site::zone("default") };
    let resources = resources(&case.input("resources").unwrap_or_default())?;
    let mut context = api::over(store::open().await?, site, resources).await.map_err(|e| e.to_string())?;
    // The suite has no rules about what is in use.
    context.settings.unsafe_delete = true;
    Ok(api::router(context.into(), Scheme::Http))
}

fn resources(text: &str) -> Result<Vec<AnyResource>, String> {
    let mut out = Vec::new();
    for document in compare::yaml_documents(text)? {
        let name = document["type"].as_str().unwrap_or_default();
        let kind = Kind::by_name(name).ok_or_else(|| format!("input.yaml: the kind {name:?} is not known"))?;
        let received = json::from_rest(kind, &document).map_err(|e| format!("input.yaml: {name}: {e}"))?;
        out.push(received.resource);
    }
    Ok(out)
}

async fn ask(case: &Case, check: &Check<'_>, router: axum::Router) -> Result<(), String> {
    let asked = &check.doc["request"];
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let body = asked["body"].as_str().map(|file| case.file(file));
    // A client sends what is not allowed in a target as escapes.
    let path = text("path").replace('[', "%5B").replace(']', "%5D").replace('"', "%22");
    let (status, body) = rest::ask(router, text("method"), &path, body).await?;
    let wanted = asked["status"].as_u64().unwrap_or_default();
    if u64::from(status.as_u16()) != wanted {
        return Err(format!("status {status}, expected {wanted}: {body}"));
    }
    if check.doc["compare"] == "empty-body" {
        return if body.is_empty() { Ok(()) } else { Err(format!("a body where none is expected: {body}")) };
    }
    let golden = check.golden(case).ok_or("the check has no golden")?;
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("{e}: {text}"));
    compare::values(&parse(&normalised(&body))?, &parse(&golden)?)
}

/// The address and the times of the answer, replaced as in the goldens.
fn normalised(body: &str) -> String {
    let body = body.replace(ADDRESS, "{{address}}");
    let mut out = String::new();
    let mut rest = body.as_str();
    while !rest.is_empty() {
        if let Some(length) = time_length(rest) {
            out.push_str("0001-01-01T00:00:00Z");
            rest = &rest[length..];
        } else {
            let step = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    out
}

/// Length of the time that the text begins with: `dddd-dd-ddTdd:dd:d` and everything up to the next quote.
fn time_length(text: &str) -> Option<usize> {
    let pattern = b"0000-00-00T00:00:0";
    let front = text.as_bytes().get(..pattern.len())?;
    let alike = front.iter().zip(pattern).all(|(b, p)| if *p == b'0' { b.is_ascii_digit() } else { b == p });
    let rest = text.get(pattern.len()..)?;
    let end = rest.find('"').unwrap_or(rest.len());
    (alike && end > 0).then_some(pattern.len() + end)
}
