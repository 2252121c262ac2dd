//! Rules of MeshTCPRoute.

use super::MeshTCPRoute;
use crate::{
    policies::target::validate as target,
    validate::{Path, Violations, text},
};

pub(super) fn spec(spec: &MeshTCPRoute, at: &Path, out: &mut Violations) {
    target::top(spec.target_ref.as_ref(), at, false, out);
    for (i, item) in spec.to.iter().flatten().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, target::SERVICES, out);
        for (j, rule) in item.rules.iter().enumerate() {
            let at = at.field("rules").index(j).field("default").field("backendRefs");
            let backends = rule.conf.backend_refs.as_deref().unwrap_or_default();
            if backends.is_empty() {
                out.add(&at, text::DEFINED);
            }
            for (k, backend) in backends.iter().enumerate() {
                target::backend_ref(backend, &at.index(k), out);
            }
        }
    }
}
