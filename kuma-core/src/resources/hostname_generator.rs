//! HostnameGenerator: gives destinations their hostnames by a template.

use serde::{Deserialize, Serialize};

use crate::{
    hostname,
    meta::Labels,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
    resources::schemas::label_selector,
    schema::{self, Schema, object, opt, req},
    validate::{Path, Violations, text},
};

/// Spec of a HostnameGenerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameGenerator {
    /// Which destinations get a hostname; exactly one kind is set.
    pub selector: HostnameSelector,
    /// Template, such as `{{ .DisplayName }}.svc.mesh.local`.
    pub template: String,
    /// Hook for implementations beyond the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
}

/// A typed hook with free configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extension {
    /// Which extension.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its configuration, any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

/// Selector of destinations, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameSelector {
    /// Selects MeshServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_service: Option<LabelSelector>,
    /// Selects MeshExternalServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_external_service: Option<LabelSelector>,
    /// Selects MeshMultiZoneServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_multi_zone_service: Option<LabelSelector>,
}

/// All labels must be equal; none selects everything. Whether there is an empty list or none is kept as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Wanted labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<Labels>,
}

impl LabelSelector {
    /// Selects what has all of `labels`.
    pub fn of(labels: Labels) -> Self {
        Self { match_labels: Some(labels) }
    }

    /// Wanted labels.
    pub fn labels(&self) -> &Labels {
        static NONE: Labels = Labels::new();
        self.match_labels.as_ref().unwrap_or(&NONE)
    }

    /// True if `labels` has every wanted label.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels().iter().all(|(k, v)| labels.get(k) == Some(v))
    }
}

impl Spec for HostnameGenerator {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::HostnameGenerator,
        name: "HostnameGenerator",
        path: "hostnamegenerators",
        alias: None,
        cli: Some("hostnamegenerator"),
        display: "Hostname Generator",
        display_plural: "Hostname Generators",
        short: Some("hg"),
        scope: Scope::Global,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::System,
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([
            req("template", schema::text()),
            opt(
                "selector",
                object([
                    opt("meshService", label_selector()),
                    opt("meshExternalService", label_selector()),
                    opt("meshMultiZoneService", label_selector()),
                ]),
            ),
            opt("extension", object([req("type", schema::text()), opt("config", Schema::Any)])),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        let HostnameSelector { mesh_service, mesh_external_service, mesh_multi_zone_service } = &self.selector;
        let selectors = [mesh_service, mesh_external_service, mesh_multi_zone_service];
        if selectors.iter().filter(|s| s.is_some()).count() != 1 {
            // The text is published so, though there are three.
            out.add(&at.field("selector"), "exact one selector (meshService, meshExternalService) must be defined");
        }
        if let Err(fault) = hostname::check_template(&self.template) {
            out.add(&at.field("template"), fault.to_string());
        }
        if self.extension.as_ref().is_some_and(|e| e.kind.is_empty()) {
            out.add(&at.field("extension").field("type"), text::NOT_EMPTY);
        }
    }
}
