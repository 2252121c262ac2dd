//! What policies about telemetry share: references to collectors, and what is told about them in the status.

use serde::{Deserialize, Serialize};

use crate::{
    meta::Labels,
    resources::{Condition, schemas},
    schema::{Schema, object, one_of, opt, req},
    validate::{Path, Violations, text},
};

/// The one kind of collector that can be referred to.
const BACKEND: &str = "MeshOpenTelemetryBackend";

/// A reference to a collector of telemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendResourceRef {
    /// `MeshOpenTelemetryBackend`.
    pub kind: String,
    /// Labels that it must have; none select nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Status of policies about telemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservabilityStatus {
    /// `BackendRefsResolved`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl ObservabilityStatus {
    /// Tells whether the collectors that a policy refers to exist. No control plane of this release offers
    /// MeshOpenTelemetryBackends, so none does.
    pub fn of<'a>(refs: impl IntoIterator<Item = &'a BackendResourceRef>) -> Self {
        let mut missing: Vec<String> = refs.into_iter().map(described).collect();
        missing.sort();
        missing.dedup();
        let (status, reason, message) = if missing.is_empty() {
            ("True", "AllBackendRefsResolved", format!("No {BACKEND} references configured"))
        } else {
            ("False", "UnresolvedBackendRefs", format!("Unresolved {BACKEND} references: {}", missing.join(", ")))
        };
        let condition = Condition {
            kind: "BackendRefsResolved".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
        };
        Self { conditions: vec![condition] }
    }
}

/// A reference in one line.
fn described(reference: &BackendResourceRef) -> String {
    let labels = reference.labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    format!("labels:{}", labels.collect::<Vec<_>>().join(","))
}

/// Schema of a reference to a collector.
pub(super) fn backend_ref_schema() -> Schema {
    object([req("kind", one_of([BACKEND])), opt("labels", Schema::Labels)])
}

/// Schema of a status.
pub(super) fn status_schema() -> Schema {
    object([opt("conditions", schemas::conditions())])
}

/// Checks a reference to a collector.
pub(super) fn backend_ref(reference: Option<&BackendResourceRef>, at: &Path, out: &mut Violations) {
    let Some(reference) = reference else { return out.add(at, text::DEFINED) };
    if reference.kind != BACKEND {
        out.add(&at.field("kind"), format!(r#""kind" must be one of ["{BACKEND}"]"#));
    }
    if reference.labels.as_ref().is_none_or(Labels::is_empty) {
        out.add(at, "backendRef must have exactly one defined: labels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(labels: &[(&str, &str)]) -> BackendResourceRef {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        BackendResourceRef { kind: BACKEND.to_owned(), labels: Some(labels) }
    }

    #[test]
    fn what_is_referred_to_is_told_once_and_in_order() {
        let told = |refs: &[BackendResourceRef]| {
            let [condition] = &ObservabilityStatus::of(refs).conditions[..] else { panic!("one condition") };
            (condition.status.clone(), condition.message.clone())
        };
        assert_eq!(told(&[]), ("True".to_owned(), format!("No {BACKEND} references configured")));
        let refs = [reference(&[("b", "2")]), reference(&[("z", "1"), ("a", "1")]), reference(&[("b", "2")])];
        let message = format!("Unresolved {BACKEND} references: labels:a=1,z=1, labels:b=2");
        assert_eq!(told(&refs), ("False".to_owned(), message));
    }
}
