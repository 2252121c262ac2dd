//! Units that were planned, each kept once with its rendered form, whoever uses it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use crate::ir::Name;

/// A planned unit with its rendered form.
#[derive(Debug)]
pub struct Planned<T, U> {
    /// What it was planned from.
    pub inputs: T,
    /// What it became.
    pub rendered: U,
}

/// Fewest names before looking for unused ones is worth it.
const FLOOR: usize = 64;

/// Planned units of one type by name: as many per name as there are distinct plans of it.
#[derive(Debug)]
pub struct Units<T, U> {
    by_name: HashMap<Name, Vec<Weak<Planned<T, U>>>>,
    sweep_at: usize,
}

impl<T, U> Default for Units<T, U> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), sweep_at: FLOOR }
    }
}

impl<T: PartialEq, U> Units<T, U> {
    /// The unit planned from these inputs, made by `render` if nobody has it yet.
    pub fn intern(&mut self, name: &Name, inputs: T, render: impl FnOnce(&T) -> U) -> Arc<Planned<T, U>> {
        if self.by_name.len() >= self.sweep_at {
            self.sweep();
        }
        let known = self.by_name.entry(name.clone()).or_default();
        known.retain(|w| w.strong_count() > 0);
        if let Some(found) = known.iter().filter_map(Weak::upgrade).find(|p| p.inputs == inputs) {
            return found;
        }
        let rendered = render(&inputs);
        let planned = Arc::new(Planned { inputs, rendered });
        known.push(Arc::downgrade(&planned));
        planned
    }

    /// Forgets names that nobody uses any more.
    pub fn sweep(&mut self) {
        self.by_name.retain(|_, known| known.iter().any(|w| w.strong_count() > 0));
        self.sweep_at = (2 * self.by_name.len()).max(FLOOR);
    }
}

/// Units sorted by name; of several with one name the last one.
pub fn sorted<U>(mut units: Vec<U>, name: impl Fn(&U) -> &Name) -> Vec<U> {
    units.reverse();
    units.sort_by(|a, b| name(a).cmp(name(b)));
    units.dedup_by(|later, kept| name(later) == name(kept));
    units
}

/// Sorted units together with further ones, which take the place of those with their names.
pub fn with<U: Clone>(units: &[U], more: Vec<U>, name: impl Fn(&U) -> &Name) -> Vec<U> {
    let mut out = Vec::with_capacity(units.len() + more.len());
    out.extend_from_slice(units);
    for unit in more {
        match out.binary_search_by(|u| name(u).cmp(name(&unit))) {
            Ok(at) => out[at] = unit,
            Err(at) => out.insert(at, unit),
        }
    }
    out
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
        let unit = |name: &str, value: u8| (Name::from(name), value);
        let list = sorted(vec![unit("b", 1), unit("a", 2), unit("b", 3)], |u| &u.0);
        assert_eq!(list, [unit("a", 2), unit("b", 3)]);
        let more = with(&list, vec![unit("c", 4), unit("a", 5), unit("c", 6)], |u| &u.0);
        assert_eq!(more, [unit("a", 5), unit("b", 3), unit("c", 6)]);
    }
}
