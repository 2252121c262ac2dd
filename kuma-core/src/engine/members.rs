//! Which Dataplanes a service selects, both ways, without walking all of either.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    meta::Labels,
    resources::{LabelSelector, MeshServiceSelector},
};

type Name = Arc<str>;

/// Index of one mesh: label term -> Dataplanes, and label term -> services whose selector holds it.
#[derive(Debug, Default)]
pub struct Members {
    labels: BTreeMap<Name, Arc<Labels>>,
    with_term: HashMap<String, BTreeSet<Name>>,
    selectors: BTreeMap<Name, MeshServiceSelector>,
    by_term: HashMap<String, BTreeSet<Name>>,
    by_ref: HashMap<Name, BTreeSet<Name>>,
    everything: BTreeSet<Name>,
}

fn term(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The term under which a selector is indexed: its last one, since common keys such as `app` sort before `kuma.io/...`
/// no better than others and any one is correct.
fn key_term(selector: &LabelSelector) -> Option<String> {
    selector.labels().iter().next_back().map(|(k, v)| term(k, v))
}

impl Members {
    /// Notes the labels of a Dataplane, or that it is gone. Returns the services that selected it before or do now.
    pub fn dataplane(&mut self, name: &Name, labels: Option<Arc<Labels>>) -> BTreeSet<Name> {
        let mut services = BTreeSet::new();
        if let Some(old) = self.labels.remove(name) {
            self.selecting(name, &old, &mut services);
            for (k, v) in &*old {
                if let Some(names) = self.with_term.get_mut(&term(k, v)) {
                    names.remove(name);
                    if names.is_empty() {
                        self.with_term.remove(&term(k, v));
                    }
                }
            }
        }
        if let Some(new) = labels {
            self.selecting(name, &new, &mut services);
            for (k, v) in &*new {
                self.with_term.entry(term(k, v)).or_default().insert(name.clone());
            }
            self.labels.insert(name.clone(), new);
        }
        services
    }

    /// Notes the selector of a service, or that it is gone. True if it differs from before.
    pub fn service(&mut self, name: &Name, selector: Option<&MeshServiceSelector>) -> bool {
        if self.selectors.get(name) == selector {
            return false;
        }
        if let Some(old) = self.selectors.remove(name) {
            self.index(name, &old, |names, service| {
                names.remove(service);
            });
        }
        if let Some(new) = selector {
            self.index(name, new, |names, service| {
                names.insert(service.clone());
            });
            self.selectors.insert(name.clone(), new.clone());
        }
        true
    }

    fn index(&mut self, service: &Name, selector: &MeshServiceSelector, change: impl Fn(&mut BTreeSet<Name>, &Name)) {
        if let Some(labels) = &selector.dataplane_labels {
            match key_term(labels) {
                Some(term) => change(self.by_term.entry(term).or_default(), service),
                None => change(&mut self.everything, service),
            }
        }
        if let Some(reference) = &selector.dataplane_ref {
            change(self.by_ref.entry(reference.name.as_str().into()).or_default(), service);
        }
    }

    fn selecting(&self, name: &Name, labels: &Labels, out: &mut BTreeSet<Name>) {
        let candidates = labels
            .iter()
            .filter_map(|(k, v)| self.by_term.get(&term(k, v)))
            .flatten()
            .filter(|s| self.selectors.get(*s).is_some_and(|sel| matches(sel, name, labels)));
        out.extend(candidates.cloned());
        out.extend(self.everything.iter().cloned());
        out.extend(self.by_ref.get(name).into_iter().flatten().cloned());
    }

    /// The Dataplanes that a service selects, by name.
    pub fn of(&self, service: &str) -> BTreeSet<Name> {
        let Some(selector) = self.selectors.get(service) else { return BTreeSet::new() };
        let mut names = BTreeSet::new();
        if let Some(wanted) = &selector.dataplane_labels {
            // A term that nobody has selects nobody.
            let sets = wanted.labels().iter().map(|(k, v)| self.with_term.get(&term(k, v)));
            if let Some(sets) = sets.collect::<Option<Vec<_>>>() {
                match sets.iter().min_by_key(|s| s.len()) {
                    Some(smallest) => names.extend(
                        smallest.iter().filter(|n| self.labels.get(*n).is_some_and(|l| wanted.matches(l))).cloned(),
                    ),
                    None => names.extend(self.labels.keys().cloned()),
                }
            }
        }
        if let Some(reference) = &selector.dataplane_ref
            && let Some((name, _)) = self.labels.get_key_value(reference.name.as_str())
        {
            names.insert(name.clone());
        }
        names
    }
}

fn matches(selector: &MeshServiceSelector, name: &str, labels: &Labels) -> bool {
    selector.dataplane_labels.as_ref().is_some_and(|l| l.matches(labels))
        || selector.dataplane_ref.as_ref().is_some_and(|r| r.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::DataplaneRef;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn by_labels(pairs: &[(&str, &str)]) -> MeshServiceSelector {
        MeshServiceSelector { dataplane_labels: Some(LabelSelector::of(labels(pairs))), dataplane_ref: None }
    }

    fn names(set: &BTreeSet<Name>) -> Vec<&str> {
        set.iter().map(|n| &**n).collect()
    }

    #[test]
    fn both_directions_agree_after_every_change() {
        let mut members = Members::default();
        members.service(&"api".into(), Some(&by_labels(&[("app", "api"), ("v", "1")])));
        members.service(&"all".into(), Some(&by_labels(&[])));
        let one = MeshServiceSelector {
            dataplane_ref: Some(DataplaneRef { name: "a-1".into() }),
            ..MeshServiceSelector::default()
        };
        members.service(&"one".into(), Some(&one));
        members.service(&"none".into(), Some(&MeshServiceSelector::default()));

        let touched = members.dataplane(&"a-1".into(), Some(Arc::new(labels(&[("app", "api"), ("v", "1")]))));
        assert_eq!(names(&touched), ["all", "api", "one"]);
        assert_eq!(names(&members.of("api")), ["a-1"]);
        let touched = members.dataplane(&"a-1".into(), Some(Arc::new(labels(&[("app", "api"), ("v", "2")]))));
        assert_eq!(names(&touched), ["all", "api", "one"], "it left api");
        assert!(members.of("api").is_empty() && members.of("none").is_empty());
        assert_eq!(names(&members.of("all")), ["a-1"]);
        members.dataplane(&"a-1".into(), None);
        assert!(members.of("all").is_empty() && members.of("one").is_empty());
    }

    #[test]
    fn an_equal_selector_is_no_change() {
        let mut members = Members::default();
        assert!(members.service(&"api".into(), Some(&by_labels(&[("app", "api")]))));
        assert!(!members.service(&"api".into(), Some(&by_labels(&[("app", "api")]))));
        assert!(members.service(&"api".into(), None));
    }
}
