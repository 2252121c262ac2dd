//! Which endpoint a path names. The collections come from the registry of kinds.

use axum::http::Method;
use kuma_core::{registry::Kind, resource::Key, store::history::is_recorded};

/// Something that the API offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// What this instance is.
    Index,
    /// Configuration of the control plane.
    Config,
    /// Who the caller is.
    WhoAmI,
    /// Kinds of policies.
    Policies,
    /// Kinds of resources.
    Resources,
    /// Counts over all meshes.
    GlobalInsight,
    /// Counts of global kinds.
    GlobalInsights,
    /// A resource by its identifier.
    Kri(String),
    /// Issue a token.
    Token(Token),
    /// A collection, of one mesh or of all.
    List(Kind, Option<String>),
    /// One resource.
    Item(Key),
    /// Revisions of one resource.
    History(Key),
    /// A collection with insights.
    Overviews(Kind, Option<String>),
    /// One resource with its insight.
    Overview(Key),
    /// Services as earlier releases counted them, of one mesh or of all.
    ServiceInsights(Option<String>),
    /// One such service: mesh, name.
    ServiceInsight(String, String),
    /// Hostnames of a destination: collection (any text), mesh, name.
    Hostnames(String, String, String),
    /// Proxies of a MeshService: mesh, name.
    ServiceProxies(String, String),
    /// Proxies that a policy selects.
    PolicyProxies(Key),
    /// The same in the form of earlier releases.
    PolicyAttachments(Key),
    /// What concerns one proxy: mesh, name.
    Proxy(String, String, View),
}

/// Whose token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A user of the API.
    User,
    /// A dataplane proxy.
    Dataplane,
    /// A zone.
    Zone,
}

/// A view of one proxy. Identifiers are as written in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// `_rules`
    Rules,
    /// `_config`
    Config,
    /// `_layout`
    Layout,
    /// `_policies`
    Policies,
    /// `_inbounds/{kri}/_policies`
    InboundPolicies(String),
    /// `_outbounds/{kri}/_policies`
    OutboundPolicies(String),
    /// `_outbounds/{kri}/_routes`
    OutboundRoutes(String),
    /// `_outbounds/{kri}/_routes/{kri}/_policies`
    RoutePolicies(String, String),
    /// `policies`, of earlier releases
    Matched,
    /// `xds`, `stats`, `clusters` or any other text
    Admin(String),
}

/// An endpoint and the pattern of its path, as messages and metrics name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    pub(super) pattern: String,
}

impl Endpoint {
    /// Methods of the endpoint, as `Allow` lists them.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Item(_) | Self::ServiceInsight(..) => &[Method::GET, Method::PUT, Method::DELETE],
            Self::Token(_) => &[Method::POST],
            _ => &[Method::GET],
        }
    }
}

/// Kinds that can be shown together with an insight.
pub(super) fn has_overview(kind: Kind) -> bool {
    kind == Kind::Zone || kind.descriptor().insight.is_some()
}

/// The segments of a path, percent-decoded; a slash at the end is ignored. `None` if it is not valid text.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(decode).collect()
}

fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push((digit()? * 16 + digit()?) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A path without empty, `.` and `..` segments, if that is another one.
pub(super) fn cleaned(path: &str) -> Option<String> {
    if !path.contains("//") && !path.split('/').any(|s| s == "." || s == "..") {
        return None;
    }
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            segment => out.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !out.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", out.join("/")))
}

/// The endpoint at these segments below the base path.
pub(super) fn find(segments: &[String]) -> Option<Route> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let route = |endpoint, pattern: &str| Some(Route { endpoint, pattern: pattern.to_owned() });
    match *parts.as_slice() {
        [] => route(Endpoint::Index, "/"),
        ["config"] => route(Endpoint::Config, "/config"),
        ["who-am-i"] => route(Endpoint::WhoAmI, "/who-am-i"),
        ["policies"] => route(Endpoint::Policies, "/policies"),
        ["_resources"] => route(Endpoint::Resources, "/_resources"),
        ["global-insight"] => route(Endpoint::GlobalInsight, "/global-insight"),
        ["global-insights"] => route(Endpoint::GlobalInsights, "/global-insights"),
        ["_kri", kri] => route(Endpoint::Kri(kri.to_owned()), "/_kri/{kri}"),
        ["tokens", "user"] => route(Endpoint::Token(Token::User), "/tokens/user"),
        ["tokens", "dataplane"] => route(Endpoint::Token(Token::Dataplane), "/tokens/dataplane"),
        ["tokens", "zone"] => route(Endpoint::Token(Token::Zone), "/tokens/zone"),
        ["service-insights"] => route(Endpoint::ServiceInsights(None), "/service-insights"),
        ["meshes", mesh, "service-insights"] => {
            route(Endpoint::ServiceInsights(Some(mesh.to_owned())), "/meshes/{mesh}/service-insights")
        }
        ["meshes", mesh, "service-insights", name] => {
            let endpoint = Endpoint::ServiceInsight(mesh.to_owned(), name.to_owned());
            route(endpoint, "/meshes/{mesh}/service-insights/{service}")
        }
        ["meshes", mesh, "_history"] => {
            route(Endpoint::History(Key::new(Kind::Mesh, "", mesh)), "/meshes/{name}/_history")
        }
        ["meshes", mesh, ref rest @ ..] if !rest.is_empty() => in_mesh(mesh, rest),
        [collection, ref rest @ ..] => global(collection, rest),
    }
}

/// `/{collection}...`: global kinds, and lists over all meshes.
fn global(collection: &str, rest: &[&str]) -> Option<Route> {
    let (kind, legacy) = collection_of(collection)?;
    let all = format!("/{collection}");
    let (endpoint, pattern) = match (rest, legacy) {
        ([], true) | (["_overview"], false) if has_overview(kind) => {
            (Endpoint::Overviews(kind, None), if legacy { all } else { format!("{all}/_overview") })
        }
        ([], false) => (Endpoint::List(kind, None), all),
        _ if kind.descriptor().mesh_scoped() => return None,
        ([name], false) => (Endpoint::Item(Key::new(kind, "", *name)), format!("{all}/{{name}}")),
        ([name], true) => (Endpoint::Overview(Key::new(kind, "", *name)), format!("{all}/{{name}}")),
        ([name, "_history"], false) if is_recorded(kind) => {
            (Endpoint::History(Key::new(kind, "", *name)), format!("{all}/{{name}}/_history"))
        }
        ([name, "_overview"], false) if has_overview(kind) => {
            (Endpoint::Overview(Key::new(kind, "", *name)), format!("{all}/{{name}}/_overview"))
        }
        _ => return None,
    };
    Some(Route { endpoint, pattern })
}

/// `/meshes/{mesh}/{collection}...`
fn in_mesh(mesh: &str, parts: &[&str]) -> Option<Route> {
    let [collection, rest @ ..] = parts else { return None };
    if let [name, "_hostnames"] = rest {
        let endpoint = Endpoint::Hostnames((*collection).to_owned(), mesh.to_owned(), (*name).to_owned());
        return Some(Route { endpoint, pattern: "/meshes/{mesh}/{serviceType}/{serviceName}/_hostnames".to_owned() });
    }
    let (kind, legacy) = collection_of(collection)?;
    let descriptor = kind.descriptor();
    if !descriptor.mesh_scoped() {
        return None;
    }
    let mesh_name = || Some(mesh.to_owned());
    let key = |name: &str| Key::new(kind, mesh, name);
    let all = format!("/meshes/{{mesh}}/{collection}");
    let one = format!("{all}/{{name}}");
    let (endpoint, pattern) = match (rest, legacy) {
        ([], true) => (Endpoint::Overviews(kind, mesh_name()), all),
        ([name], true) => (Endpoint::Overview(key(name)), one),
        (_, true) => return None,
        ([], _) => (Endpoint::List(kind, mesh_name()), all),
        (["_overview"], _) if has_overview(kind) => {
            (Endpoint::Overviews(kind, mesh_name()), format!("{all}/_overview"))
        }
        ([name], _) => (Endpoint::Item(key(name)), one),
        ([name, "_history"], _) if is_recorded(kind) => (Endpoint::History(key(name)), format!("{one}/_history")),
        ([name, "_overview"], _) if has_overview(kind) => (Endpoint::Overview(key(name)), format!("{one}/_overview")),
        // Released clients ask for the spelling with a hyphen.
        ([name, "_resources" | "-resources", "dataplanes"], _) if descriptor.is_policy() => {
            (Endpoint::PolicyProxies(key(name)), format!("{one}/_resources/dataplanes"))
        }
        ([name, "dataplanes"], _) if descriptor.is_policy() => {
            (Endpoint::PolicyAttachments(key(name)), format!("{one}/dataplanes"))
        }
        ([name, "_dataplanes"], _) if kind == Kind::MeshService => {
            (Endpoint::ServiceProxies(mesh.to_owned(), (*name).to_owned()), format!("{one}/_dataplanes"))
        }
        ([name, view @ ..], _) if kind == Kind::Dataplane => {
            let (view, below) = proxy_view(view)?;
            (Endpoint::Proxy(mesh.to_owned(), (*name).to_owned(), view), format!("{one}/{below}"))
        }
        _ => return None,
    };
    Some(Route { endpoint, pattern })
}

fn proxy_view(parts: &[&str]) -> Option<(View, &'static str)> {
    Some(match parts {
        ["_rules"] => (View::Rules, "_rules"),
        ["_config"] => (View::Config, "_config"),
        ["_layout"] => (View::Layout, "_layout"),
        ["_policies"] => (View::Policies, "_policies"),
        ["policies"] => (View::Matched, "policies"),
        ["_inbounds", kri, "_policies"] => (View::InboundPolicies((*kri).to_owned()), "_inbounds/{kri}/_policies"),
        ["_outbounds", kri, "_policies"] => (View::OutboundPolicies((*kri).to_owned()), "_outbounds/{kri}/_policies"),
        ["_outbounds", kri, "_routes"] => (View::OutboundRoutes((*kri).to_owned()), "_outbounds/{kri}/_routes"),
        ["_outbounds", kri, "_routes", route, "_policies"] => (
            View::RoutePolicies((*kri).to_owned(), (*route).to_owned()),
            "_outbounds/{kri}/_routes/{route_kri}/_policies",
        ),
        [view] => (View::Admin((*view).to_owned()), "{type}"),
        _ => return None,
    })
}

/// Kind of a collection, and whether it is the legacy name of its overviews.
fn collection_of(text: &str) -> Option<(Kind, bool)> {
    match text.strip_suffix("+insights") {
        Some(plain) => Kind::by_path(plain).filter(|k| has_overview(*k)).map(|k| (k, true)),
        None => Kind::by_path(text).map(|k| (k, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(path: &str) -> Option<Endpoint> {
        find(&segments(path)?).map(|r| r.endpoint)
    }

    fn item(kind: Kind, mesh: &str, name: &str) -> Option<Endpoint> {
        Some(Endpoint::Item(Key::new(kind, mesh, name)))
    }

    #[test]
    fn paths_and_endpoints() {
        let m = || Some("m".to_owned());
        for (path, wanted) in [
            ("/", Some(Endpoint::Index)),
            ("/meshes", Some(Endpoint::List(Kind::Mesh, None))),
            ("/meshes/m/", item(Kind::Mesh, "", "m")),
            ("/meshes/m/dataplanes", Some(Endpoint::List(Kind::Dataplane, m()))),
            ("/dataplanes", Some(Endpoint::List(Kind::Dataplane, None))),
            ("/dataplanes/x", None),
            ("/meshes/m/zones", None),
            ("/zones/z", item(Kind::Zone, "", "z")),
            ("/zones/_overview", Some(Endpoint::Overviews(Kind::Zone, None))),
            ("/zones+insights/z", Some(Endpoint::Overview(Key::new(Kind::Zone, "", "z")))),
            ("/meshes/m/dataplanes+insights", Some(Endpoint::Overviews(Kind::Dataplane, m()))),
            ("/meshes/m/meshtimeouts+insights", None),
            ("/global-secrets/a%2Fb", item(Kind::GlobalSecret, "", "a/b")),
            ("/meshes/m/_history", Some(Endpoint::History(Key::new(Kind::Mesh, "", "m")))),
            ("/zones/z/_history", Some(Endpoint::History(Key::new(Kind::Zone, "", "z")))),
            ("/meshes/m/dataplanes/d/_history", Some(Endpoint::History(Key::new(Kind::Dataplane, "m", "d")))),
            ("/meshes/m/dataplane-insights/d/_history", None),
            ("/meshes/m/dataplanes/_history", item(Kind::Dataplane, "m", "_history")),
            ("/meshes/m/nonsense", None),
            ("/meshes/m/nonsense/x/_hostnames", Some(Endpoint::Hostnames("nonsense".into(), "m".into(), "x".into()))),
            ("/meshes/m/dataplanes/d/xds", Some(Endpoint::Proxy("m".into(), "d".into(), View::Admin("xds".into())))),
            ("/meshes/m/meshtimeouts/t/xds", None),
        ] {
            assert_eq!(endpoint(path), wanted, "{path}");
        }
    }

    #[test]
    fn every_collection_has_its_endpoints() {
        for kind in Kind::ALL {
            let descriptor = kind.descriptor();
            for path in [Some(descriptor.path), descriptor.alias].into_iter().flatten() {
                assert_eq!(endpoint(&format!("/{path}")), Some(Endpoint::List(*kind, None)));
                if descriptor.mesh_scoped() {
                    assert_eq!(endpoint(&format!("/meshes/m/{path}/n")), item(*kind, "m", "n"));
                } else {
                    assert_eq!(endpoint(&format!("/{path}/n")), item(*kind, "", "n"));
                }
            }
        }
    }

    #[test]
    fn unclean_paths_are_cleaned() {
        for (path, wanted) in [("/meshes", None), ("//meshes//m/", Some("/meshes/m/")), ("/a/../b/./c", Some("/b/c"))] {
            assert_eq!(cleaned(path).as_deref(), wanted);
        }
        assert_eq!(segments("/a%zz"), None);
        assert_eq!(segments("/%C3%BC"), Some(vec!["ü".to_owned()]));
    }
}
