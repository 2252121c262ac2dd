//! Lists: what a query asks for, which resources match, and the page of them.

use kuma_core::{
    meta::Labels,
    registry::Kind,
    resource::AnyResource,
    resources::Dataplane,
    validate::{Path, Violations},
};
use serde_json::{Map, Value};

use super::{problem::Problem, query::Query};

/// Page size when none is asked for.
const DEFAULT_SIZE: usize = 100;
/// Largest page.
const MAX_SIZE: usize = 1000;

/// Title of problems with lists.
pub(super) const TITLE: &str = "Could not retrieve resources";

/// How many items a page has.
pub(super) fn page_size(query: &Query, title: &str) -> Result<usize, Problem> {
    let text = query.get("size");
    if text.is_empty() {
        return Ok(DEFAULT_SIZE);
    }
    let reason = match text.parse::<i64>() {
        Ok(size) if size <= 0 => "must be greater than 0".to_owned(),
        Ok(size) => match usize::try_from(size) {
            Ok(size) if size <= MAX_SIZE => return Ok(size),
            _ => format!("invalid page size of {size}. Maximum page size is {MAX_SIZE}"),
        },
        Err(_) => "invalid format".to_owned(),
    };
    let mut problem = Problem::invalid_field(title, "size", reason);
    "Invalid page size".clone_into(&mut problem.detail);
    Err(problem)
}

/// Where the page begins.
pub(super) fn page_offset(query: &Query, title: &str) -> Result<usize, Problem> {
    let text = query.get("offset");
    if text.is_empty() {
        return Ok(0);
    }
    let reason = match text.parse::<i64>() {
        Ok(offset) if offset < 0 => "must be non-negative".to_owned(),
        Ok(offset) if offset > i64::from(i32::MAX) => "exceeds maximum value".to_owned(),
        Ok(offset) => return Ok(offset as usize),
        Err(error) => {
            let range =
                matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
            let reason = if range { "value out of range" } else { "invalid syntax" };
            format!("strconv.Atoi: parsing {text:?}: {reason}")
        }
    };
    Err(Problem::bad(title, format!("invalid: invalid offset: {reason}")))
}

/// Which resources a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    name: String,
    labels: Labels,
    tags: Vec<(String, String)>,
    gateway: Option<bool>,
}

impl Filter {
    /// The filter of a query. `pattern` is the pattern of the path, which messages name.
    pub(super) fn parse(kind: Kind, query: &Query, pattern: &str) -> Result<Self, Problem> {
        let mut filter = Self { name: query.get("name").to_owned(), ..Self::default() };
        let mut violations = Violations::new();
        for (key, values) in query.iter() {
            let Some(inner) = key.strip_prefix("filter[") else { continue };
            let at = Path::root(&format!("{pattern}.{key}"));
            match inner.strip_suffix(']') {
                Some(inner) if inner.contains("][") => violations.add(&at, "advanced filters are not supported"),
                Some(inner) => match (inner.strip_prefix("labels."), values.last()) {
                    (Some(label), Some(value)) if !label.is_empty() => {
                        filter.labels.insert(label.to_owned(), value.clone());
                    }
                    _ => violations.add(&at, "filters are only supported on labels"),
                },
                None => violations.add(&at, "filters are only supported on labels"),
            }
        }
        if kind == Kind::Dataplane {
            filter.gateway = match query.get("gateway").to_ascii_lowercase().as_str() {
                "" => None,
                "true" | "delegated" => Some(true),
                "false" => Some(false),
                _ => {
                    let text = format!("should use `true`, `false` or `delegated` instead of {}", query.get("gateway"));
                    violations.add(&Path::root(&format!("{pattern}.gateway")), text);
                    None
                }
            };
            let tags = query.all("tag").iter().filter_map(|tag| tag.split_once(':'));
            filter.tags = tags.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        }
        violations.into_result().map_err(|v| Problem::invalid(TITLE, v))?;
        Ok(filter)
    }

    /// Only by a part of the name.
    pub(super) fn by_name(query: &Query) -> Self {
        Self { name: query.get("name").to_owned(), ..Self::default() }
    }

    /// Whether the list shows this resource.
    pub(super) fn shows(&self, resource: &AnyResource) -> bool {
        let meta = &resource.meta;
        meta.name.contains(&self.name)
            && self.labels.iter().all(|(key, value)| meta.label(key) == Some(value))
            && (self.tags.is_empty() && self.gateway.is_none() || self.shows_proxy(resource))
    }

    fn shows_proxy(&self, resource: &AnyResource) -> bool {
        let networking = resource.spec::<Dataplane>().and_then(|d| d.networking.as_ref());
        let gateway = networking.and_then(|n| n.gateway.as_ref());
        let all_in = |labels: &Labels| {
            self.tags.iter().all(|(key, part)| labels.get(key).is_some_and(|v| part == "*" || v.contains(part)))
        };
        self.gateway.is_none_or(|wanted| gateway.is_some() == wanted)
            && (gateway.is_some_and(|g| all_in(&g.tags)) || all_in(&resource.meta.labels))
    }
}

/// A page of a list.
pub(super) struct Page<T> {
    /// How many there are on all pages.
    pub(super) total: usize,
    /// What is on this one.
    pub(super) items: Vec<T>,
    /// Where the next one begins.
    pub(super) next: Option<usize>,
}

impl<T> Page<T> {
    /// Cuts a page out of everything that matches.
    pub(super) fn cut(all: impl Iterator<Item = T>, size: usize, offset: usize) -> Self {
        let mut total = 0;
        let mut items = Vec::new();
        for item in all {
            if total >= offset && items.len() < size {
                items.push(item);
            }
            total += 1;
        }
        let end = offset.saturating_add(items.len());
        let next = (end < total && !items.is_empty()).then_some(end);
        Self { total, items, next }
    }

    /// The same with other items.
    pub(super) fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { total: self.total, items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

impl Page<Value> {
    /// `total`, `items` and `next`, which is `null` on the last page.
    pub(super) fn into_json(self, link: impl Fn(usize) -> String) -> Value {
        let mut out = Map::new();
        out.insert("total".into(), self.total.into());
        out.insert("items".into(), self.items.into());
        out.insert("next".into(), self.next.map_or(Value::Null, |offset| link(offset).into()));
        Value::Object(out)
    }

    /// Keys in order of the alphabet; `next` only where there is one.
    pub(super) fn into_sorted_json(self, link: impl Fn(usize) -> String) -> Value {
        let mut out = Map::new();
        out.insert("items".into(), self.items.into());
        if let Some(offset) = self.next {
            out.insert("next".into(), link(offset).into());
        }
        out.insert("total".into(), self.total.into());
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use kuma_core::meta::Meta;
    use serde_json::json;

    use super::*;

    fn proxy(labels: &[(&str, &str)], networking: Value) -> AnyResource {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Kind::Dataplane.decode(Meta::new("m", "dp-1", labels), json!({"networking": networking}), None).unwrap()
    }

    fn shows(query: &str, resource: &AnyResource) -> bool {
        Filter::parse(Kind::Dataplane, &Query::parse(query), "/dataplanes").unwrap().shows(resource)
    }

    fn reasons(query: &str) -> Vec<(String, String)> {
        let problem = Filter::parse(Kind::Dataplane, &Query::parse(query), "/dataplanes").unwrap_err();
        problem.violations.into_iter().map(|v| (v.field, v.message)).collect()
    }

    #[test]
    fn sizes_and_offsets() {
        let size = |text: &str| page_size(&Query::parse(text), TITLE).map_err(|p| p.violations[0].message.clone());
        assert_eq!(size(""), Ok(100));
        assert_eq!(size("size=1000"), Ok(1000));
        assert_eq!(size("size=-1"), Err("must be greater than 0".into()));
        assert_eq!(size("size=1001"), Err("invalid page size of 1001. Maximum page size is 1000".into()));
        assert_eq!(size("size=1e3"), Err("invalid format".into()));
        let offset = |text: &str| page_offset(&Query::parse(text), TITLE).map_err(|p| p.detail);
        assert_eq!(offset("offset=7"), Ok(7));
        assert_eq!(offset("offset=-1"), Err("invalid: invalid offset: must be non-negative".into()));
        assert_eq!(
            offset("offset=a"),
            Err("invalid: invalid offset: strconv.Atoi: parsing \"a\": invalid syntax".into())
        );
    }

    #[test]
    fn pages() {
        let page = |size, offset| {
            let page = Page::cut(0..5, size, offset);
            (page.total, page.items, page.next)
        };
        assert_eq!(page(2, 0), (5, vec![0, 1], Some(2)));
        assert_eq!(page(2, 3), (5, vec![3, 4], None));
        assert_eq!(page(2, 9), (5, vec![], None));
        assert_eq!(page(5, 0), (5, vec![0, 1, 2, 3, 4], None));
    }

    #[test]
    fn proxies_by_label_tag_and_gateway() {
        let plain = proxy(&[("app", "web-1"), ("kuma.io/zone", "z")], json!({"address": "10.0.0.1"}));
        let kong = proxy(&[], json!({"address": "10.0.0.2", "gateway": {"tags": {"kuma.io/service": "kong"}}}));
        assert!(shows("filter[labels.app]=web-1&filter[labels.kuma.io/zone]=z", &plain));
        assert!(!shows("filter[labels.app]=web", &plain));
        assert!(shows("tag=app:web&tag=malformed", &plain) && shows("tag=app:*", &plain));
        assert!(!shows("tag=app:web&tag=other:x", &plain));
        assert!(shows("tag=kuma.io/service:kon", &kong));
        assert!(shows("gateway=FALSE", &plain) && !shows("gateway=delegated", &plain) && shows("gateway=true", &kong));
        assert!(shows("name=p-1", &plain) && !shows("name=P-1", &plain));
    }

    #[test]
    fn filters_that_are_refused() {
        let labels_only = "filters are only supported on labels".to_owned();
        assert_eq!(reasons("filter[name]=x"), [("/dataplanes.filter[name]".into(), labels_only)]);
        assert_eq!(reasons("filter[labels.a][eq]=x")[0].1, "advanced filters are not supported");
        assert_eq!(
            reasons("gateway=builtin"),
            [(
                "/dataplanes.gateway".to_owned(),
                "should use `true`, `false` or `delegated` instead of builtin".to_owned()
            )]
        );
    }
}
