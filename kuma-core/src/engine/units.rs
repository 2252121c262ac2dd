//! Units that were planned, each kept once with its rendered form, whoever uses it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use crate::ir::Name;

/// A planned unit with its rendered form.
#[derive(Debug)]
pub struct Planned<T, U> {
    /// What was planned.
    pub ir: T,
    /// What it became.
    pub rendered: U,
}

/// Planned units of one type by name: as many per name as there are distinct plans of it.
#[derive(Debug)]
pub struct Units<T, U> {
    by_name: HashMap<Name, Vec<Weak<Planned<T, U>>>>,
}

impl<T, U> Default for Units<T, U> {
    fn default() -> Self {
        Self { by_name: HashMap::new() }
    }
}

impl<T: PartialEq, U> Units<T, U> {
    /// The unit equal to `ir`, rendered by `render` if nobody has it yet.
    pub fn intern(&mut self, name: &Name, ir: T, render: impl FnOnce(&T) -> U) -> Arc<Planned<T, U>> {
        let known = self.by_name.entry(name.clone()).or_default();
        known.retain(|w| w.strong_count() > 0);
        if let Some(found) = known.iter().filter_map(Weak::upgrade).find(|p| p.ir == ir) {
            return found;
        }
        let rendered = render(&ir);
        let planned = Arc::new(Planned { ir, rendered });
        known.push(Arc::downgrade(&planned));
        planned
    }

    /// Forgets names that nobody uses any more.
    pub fn sweep(&mut self) {
        self.by_name.retain(|_, known| known.iter().any(|w| w.strong_count() > 0));
    }
}

/// Sorted resources of one type, the later of two with one name winning.
pub fn sorted<U>(units: impl Iterator<Item = U>, name: impl Fn(&U) -> Name) -> Arc<[U]> {
    let mut map: BTreeMap<Name, U> = BTreeMap::new();
    for unit in units {
        map.insert(name(&unit), unit);
    }
    map.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_units_are_rendered_once_and_forgotten_when_unused() {
        let mut units: Units<u32, String> = Units::default();
        let name: Name = "a".into();
        let first = units.intern(&name, 1, |n| format!("r{n}"));
        let same = units.intern(&name, 1, |_| unreachable!("it is there"));
        assert!(Arc::ptr_eq(&first, &same));
        let other = units.intern(&name, 2, |n| format!("r{n}"));
        assert_eq!(other.rendered, "r2");
        drop((first, same, other));
        units.sweep();
        assert!(units.by_name.is_empty());
        assert_eq!(units.intern(&name, 1, |_| "again".into()).rendered, "again");
    }

    #[test]
    fn the_later_of_two_with_one_name_wins() {
        let list = sorted([("b", 1), ("a", 2), ("b", 3)].into_iter(), |u| u.0.into());
        assert_eq!(&*list, [("a", 2), ("b", 3)]);
    }
}
