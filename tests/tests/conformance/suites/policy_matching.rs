//! `policy-matching`: policies that select one Dataplane, their order, and the rules that follow.

use std::sync::Arc;

use kuma_core::{
    json,
    plan::{DataplaneFacts, InboundRules, MatchedPolicies, MeshFacts, Names, PolicyView, ToRules},
    policies::{MeshHTTPRoute, policy::Policy},
    registry::{Kind, WithPolicy},
    resource::{AnyResource, Resource},
    resources::Dataplane,
    state::MeshState,
};
use serde_json::{Map, Value, json};

use crate::{
    case::{Case, Check},
    compare, documents,
    report::Outcome,
    rules,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case, &check))).collect()
}

fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let params = &check.doc["params"];
    let of_proxy = documents::names(&params["dataplaneMeta"]);
    let dataplane = documents::resources(&case.input("dataplane").ok_or("no Dataplane")?, |_| of_proxy.clone())?;
    let dataplane = documents::typed::<Dataplane>(&dataplane).pop().ok_or("no Dataplane")?;

    let of_policies = documents::names(&params["policyMeta"]);
    let text = case.input("policies").ok_or("no policies")?;
    let kind = matched_kind(&text)?;
    let transforms = |k: Kind| if k == kind { of_policies.clone() } else { Vec::new() };
    let policies: Vec<AnyResource> = documents::resources(&text, transforms)?.into_iter().map(|(r, _)| r).collect();
    let others = documents::resources(&case.input("mes").unwrap_or_default(), |_| Vec::new())?;

    let work = Work {
        output: check.doc["output"].as_str().unwrap_or_default(),
        golden: compare::yaml(&check.golden(case).ok_or("the check names no golden")?)?,
        dataplane: DataplaneFacts::of(&dataplane, &Names::default()).ok_or("the Dataplane has no address")?,
        policies,
        others: others.into_iter().map(|(r, _)| r).collect(),
    };
    Kind::with_policy(kind, work).ok_or_else(|| format!("{kind} is no policy"))?
}

/// The one type of the policies; routes may stand beside policies of another type.
fn matched_kind(text: &str) -> Result<Kind, String> {
    let mut found = None;
    for document in compare::yaml_documents(text)? {
        let name = document["type"].as_str().unwrap_or_default();
        let kind = Kind::by_name(name).ok_or_else(|| format!("there is no kind {name:?}"))?;
        if found.is_none() || kind != Kind::MeshHTTPRoute {
            found = Some(kind);
        }
    }
    found.ok_or_else(|| "there are no policies".to_owned())
}

struct Work<'a> {
    output: &'a str,
    golden: Value,
    dataplane: DataplaneFacts,
    policies: Vec<AnyResource>,
    others: Vec<AnyResource>,
}

impl WithPolicy for Work<'_> {
    type Out = Result<(), String>;

    fn run<P: Policy>(self) -> Self::Out {
        let resources: Vec<Resource<P>> = self.policies.iter().filter_map(AnyResource::typed).collect();
        let views: Vec<Arc<PolicyView<P>>> = resources.iter().map(|p| Arc::new(PolicyView::of(p))).collect();
        let routes: Vec<_> = self
            .policies
            .iter()
            .filter_map(AnyResource::typed::<MeshHTTPRoute>)
            .map(|route| PolicyView::of(&route).head)
            .collect();
        let matched = MatchedPolicies::find(&views, &self.dataplane, &routes, false);
        match self.output {
            "dataplanePolicies" => {
                let find = |view: &Arc<PolicyView<P>>| views.iter().position(|v| Arc::ptr_eq(v, view));
                let items: Vec<Value> = matched
                    .policies
                    .iter()
                    .filter_map(|m| find(&m.policy))
                    .filter_map(|i| resources.get(i))
                    .map(|policy| json::to_rest(&policy.erase()))
                    .collect();
                same_list(items, self.golden)
            }
            "fromRules" => {
                let mut found = Map::new();
                for at in matched.policies.iter().flat_map(|m| &m.selected.inbounds) {
                    let rules = rules::inbound(&InboundRules::build(matched.at(at)))?;
                    found.insert(at.to_string(), rules);
                }
                compare::values(&json!({"InboundRules": found}), &self.golden)
            }
            "toRules" => {
                let mesh = self.dataplane.key.mesh.clone();
                let state = MeshState::of(self.policies.into_iter().chain(self.others));
                let facts = MeshFacts::of(&state, &mesh, &Names::default());
                let rules = ToRules::build(&matched.views(), &facts.rule_context());
                rules::same_to_rules(&rules, &self.golden["ResourceRules"])
            }
            other => Err(format!("there is no output {other:?} in this suite")),
        }
    }
}

/// Names in order first, then the policies themselves.
fn same_list(items: Vec<Value>, mut golden: Value) -> Result<(), String> {
    let wanted = golden["items"].take();
    let names = |list: &[Value]| list.iter().map(|i| i["name"].clone()).collect::<Vec<_>>();
    let (found_names, wanted_names) = (names(&items), names(wanted.as_array().map_or(&[], Vec::as_slice)));
    if found_names != wanted_names {
        return Err(format!("matched {found_names:?}, expected {wanted_names:?}"));
    }
    let wanted = if wanted.is_null() { json!([]) } else { wanted };
    compare::values(&items.into(), &wanted)
}
