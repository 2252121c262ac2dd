//! `_config` from the state alone: the configuration is planned and rendered on request, by the functions that streams
//! use.

use std::sync::Arc;

use async_trait::async_trait;
use kuma_core::{
    plan::{DataplaneFacts, MeshFacts, Names, NodeFacts, PlanSettings, ProxyFacts, plan_proxy},
    registry::Kind,
    resource::{Key, Resource},
    resources::{Dataplane, DataplaneInsight},
    state::MeshState,
};
use serde_json::{Map, Value};
use tokio::sync::watch;
use xds_gen::{
    json::bytes_to_json,
    render::{AdminTls, render_proxy},
    set::{Own, ResourceSet, Source as _},
};

use super::context::{AdminAnswer, AdminView, Inspect, InspectError};

/// Plans and renders on request; knows no Envoy.
#[derive(Clone)]
pub struct OfflineInspect {
    /// Settings of plans.
    pub settings: PlanSettings,
    /// Addresses of the names that Dataplanes carry instead of an IP, as streams are planned with.
    pub names: watch::Receiver<Arc<Names>>,
}

impl Default for OfflineInspect {
    /// Knows no names.
    fn default() -> Self {
        // What is in it can be read without its sender.
        let (_, names) = watch::channel(Arc::default());
        Self { settings: PlanSettings::default(), names }
    }
}

#[async_trait]
impl Inspect for OfflineInspect {
    fn config(&self, state: &MeshState, dataplane: &Resource<Dataplane>, shadow: bool) -> Result<Value, InspectError> {
        let meta = &dataplane.meta;
        let insight = Key::new(Kind::DataplaneInsight, meta.mesh.clone(), meta.name.clone());
        let insight = state.get(&insight).ok_or(InspectError::NotFound)?;
        let metadata = insight.spec::<DataplaneInsight>().and_then(|i| i.metadata.clone()).unwrap_or_default();
        let names = self.names.borrow().clone();
        let facts = DataplaneFacts::of(dataplane, &names).ok_or_else(|| {
            InspectError::Failed(format!("the address of Dataplane {} of mesh {} is not known", meta.name, meta.mesh))
        })?;
        let proxy = ProxyFacts::new(Arc::new(facts), &NodeFacts::from_metadata(&metadata));
        let ir = plan_proxy(&MeshFacts::of(state, &meta.mesh, &names), &self.settings, &proxy, shadow);
        // The admin listener is shown without its secrets.
        shown(&render_proxy(&ir, Arc::new(Own::new((*proxy.own).clone())), Some(&AdminTls::default())))
    }

    async fn admin(&self, _: &MeshState, _: &Resource<Dataplane>, _: AdminView) -> Result<AdminAnswer, InspectError> {
        Err(InspectError::Unreachable("Envoy's admin interface cannot be reached from this control plane".into()))
    }
}

/// Type URL to name to message.
fn shown(set: &ResourceSet) -> Result<Value, InspectError> {
    let mut types: Map<String, Value> = Map::new();
    for resource in set.iter() {
        let url = resource.type_url.as_str();
        let name = url.rsplit('/').next().unwrap_or(url);
        let message = bytes_to_json(name, &resource.value(set.own()))
            .map_err(|e| InspectError::Failed(format!("{} {}: {e}", url, resource.name)))?;
        let all = types.entry(url).or_insert_with(|| Map::new().into());
        if let Some(all) = all.as_object_mut() {
            all.insert(resource.name.to_string(), message);
        }
    }
    types.sort_keys();
    for all in types.values_mut().filter_map(Value::as_object_mut) {
        all.sort_keys();
    }
    Ok(types.into())
}
