//! HTTP routes: match, action, changes of headers.

use std::sync::Arc;

use kuma_core::ir::{
    Forward, HeaderChanges, Mirror, PathCondition, Redirect, RedirectPath, Route, RouteAction, RouteMatch, Split,
};

use super::{
    duration, matcher,
    proto::{
        core::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        route::{
            self as message, DirectResponseAction, RedirectAction, WeightedCluster,
            redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
            route::Action,
            route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
            route_match::PathSpecifier,
            weighted_cluster::ClusterWeight,
        },
    },
    retry,
};

/// A route as it stands in a route configuration.
pub(super) fn route(route: &Route) -> message::Route {
    let action = match &route.action {
        RouteAction::Forward(to) => Action::Route(Box::new(forward(to))),
        RouteAction::Redirect(to) => Action::Redirect(redirect(to)),
        RouteAction::Respond { status } => respond(*status),
    };
    message::Route {
        name: route.name.as_deref().unwrap_or_default().to_owned(),
        r#match: Some(matches(&route.matches)),
        action: Some(action),
        request_headers_to_add: additions(&route.request_headers),
        request_headers_to_remove: owned(&route.request_headers.remove),
        response_headers_to_add: additions(&route.response_headers),
        response_headers_to_remove: owned(&route.response_headers.remove),
        ..Default::default()
    }
}

/// The match of a route.
pub(super) fn matches(matches: &RouteMatch) -> message::RouteMatch {
    let path = match &matches.path {
        PathCondition::Prefix(text) => PathSpecifier::Prefix(text.as_ref().to_owned()),
        PathCondition::Exact(text) => PathSpecifier::Path(text.as_ref().to_owned()),
        PathCondition::Regex(text) => PathSpecifier::SafeRegex(matcher::regex(text)),
    };
    message::RouteMatch {
        path_specifier: Some(path),
        headers: matches.headers.iter().map(matcher::header).collect(),
        query_parameters: matches.query.iter().map(matcher::query).collect(),
        runtime_fraction: matches.fraction.map(matcher::fraction),
        ..Default::default()
    }
}

/// The action of a route that sends requests on. Without splits there is no cluster, which Envoy refuses.
pub(super) fn forward(forward: &Forward) -> message::RouteAction {
    let by_backend = forward.splits.iter().any(|split| split.auto_host_rewrite);
    let host = match &forward.host_rewrite {
        Some(host) => Some(HostRewriteSpecifier::HostRewriteLiteral(host.as_ref().to_owned())),
        None => by_backend.then_some(HostRewriteSpecifier::AutoHostRewrite(true)),
    };
    message::RouteAction {
        cluster_specifier: clusters(&forward.splits),
        timeout: forward.timeout.map(duration),
        idle_timeout: forward.idle.map(duration),
        retry_policy: forward.retry.as_deref().map(retry::policy),
        prefix_rewrite: forward.prefix_rewrite.as_deref().unwrap_or_default().to_owned(),
        regex_rewrite: forward.regex_rewrite.as_ref().map(matcher::substitution),
        host_rewrite_specifier: host,
        request_mirror_policies: forward.mirrors.iter().map(mirror).collect(),
        ..Default::default()
    }
}

/// A route with a path or prefix and an action, for the listeners of the system.
pub(super) fn simple(path: PathSpecifier, action: Action) -> message::Route {
    message::Route {
        r#match: Some(message::RouteMatch { path_specifier: Some(path), ..Default::default() }),
        action: Some(action),
        ..Default::default()
    }
}

/// A header that is added to what is there.
pub(super) fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

fn clusters(splits: &[Split]) -> Option<ClusterSpecifier> {
    Some(match splits {
        [] => return None,
        [split] => ClusterSpecifier::Cluster(split.cluster.as_ref().to_owned()),
        several => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several
                .iter()
                .map(|split| ClusterWeight {
                    name: split.cluster.as_ref().to_owned(),
                    weight: Some(split.weight),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
    })
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.as_ref().to_owned(),
        runtime_fraction: mirror.fraction.map(matcher::fraction),
        ..Default::default()
    }
}

fn redirect(redirect: &Redirect) -> RedirectAction {
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    let path = redirect.path.as_ref().map(|path| match path {
        RedirectPath::Full(text) => PathRewriteSpecifier::PathRedirect(text.as_ref().to_owned()),
        RedirectPath::Prefix(text) => PathRewriteSpecifier::PrefixRewrite(text.as_ref().to_owned()),
        RedirectPath::Regex(rewrite) => PathRewriteSpecifier::RegexRewrite(matcher::substitution(rewrite)),
    });
    RedirectAction {
        host_redirect: redirect.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: redirect.port.unwrap_or_default(),
        response_code: code.into(),
        scheme_rewrite_specifier: redirect
            .scheme
            .as_ref()
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.as_ref().to_owned())),
        path_rewrite_specifier: path,
        ..Default::default()
    }
}

fn respond(status: u16) -> Action {
    Action::DirectResponse(DirectResponseAction { status: status.into(), ..Default::default() })
}

fn additions(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    changes
        .add
        .iter()
        .map(|addition| {
            let action = if addition.overwrite {
                HeaderAppendAction::OverwriteIfExistsOrAdd
            } else {
                HeaderAppendAction::AppendIfExistsOrAdd
            };
            HeaderValueOption { append_action: action.into(), ..header(&addition.name, &addition.value) }
        })
        .collect()
}

fn owned(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}
