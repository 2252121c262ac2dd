//! Merging confs, written on JSON: objects merge field by field, what is absent keeps the lower value, lists are
//! replaced, lists whose field begins with `append` are joined, and keyed lists merge item by item.

use serde_json::{Map, Value};

use crate::policies::policy::{Conf, KeyedList};

/// Merges confs, lowest precedence first. Nothing merges to the default.
pub fn merge_confs<'a, C: Conf>(confs: impl IntoIterator<Item = &'a C>) -> C {
    let mut confs = confs.into_iter();
    let Some(first) = confs.next() else { return C::default() };
    let mut values = vec![to_value(first)];
    values.extend(confs.map(to_value));
    if let ([_], None) = (&*values, C::MERGE.keyed) {
        return first.clone();
    }
    let merged = merge(values, C::MERGE.keyed);
    // Every field of the result stems from a conf that has just been written in this form.
    serde_json::from_value(merged).unwrap_or_else(|_| first.clone())
}

fn to_value<C: Conf>(conf: &C) -> Value {
    serde_json::to_value(conf).unwrap_or(Value::Null)
}

/// Merges values, lowest precedence first.
pub fn merge(values: Vec<Value>, keyed: Option<KeyedList>) -> Value {
    let mut out = Value::Object(Map::new());
    let mut items = Vec::new();
    for mut value in values {
        if let Some(list) = keyed
            && let Some(Value::Array(own)) = value.as_object_mut().and_then(|v| v.remove(list.list))
        {
            items.extend(own.into_iter().rev());
        }
        overlay(&mut out, value);
    }
    if let (Some(list), Value::Object(fields)) = (keyed, &mut out) {
        let mut merged = merge_items(items, list);
        merged.reverse();
        fields.insert(list.list.to_owned(), Value::Array(merged));
    }
    out
}

/// Lays one value over another.
fn overlay(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                match (below.get_mut(&key), value) {
                    (_, Value::Null) => {}
                    (Some(Value::Array(below)), Value::Array(above)) if key.starts_with("append") => {
                        below.extend(above);
                    }
                    (Some(below), value) => overlay(below, value),
                    (None, value) => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// Merges items with equal keys; each stands where its last part stood.
fn merge_items(items: Vec<Value>, list: KeyedList) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for mut item in items {
        if let Some(at) = out.iter().position(|o| o.get(list.key) == item.get(list.key)) {
            let mut merged = out.remove(at);
            if let (Some(below), Some(above)) = (merged.get_mut(list.value), item.get_mut(list.value)) {
                overlay(below, above.take());
                item = merged;
            }
        }
        out.push(item);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_merge_lists_are_replaced_and_appended_ones_join() {
        let merged = merge(
            vec![
                json!({"a": {"x": 1, "y": [1, 2]}, "appendMatch": [1], "kept": true}),
                json!({"a": {"y": [3], "z": {"appendProfiles": ["p"]}}, "appendMatch": [2]}),
                json!({"a": {"y": [], "z": {"appendProfiles": ["q"]}}}),
            ],
            None,
        );
        let wanted = json!({
            "a": {"x": 1, "y": [], "z": {"appendProfiles": ["p", "q"]}}, "appendMatch": [1, 2], "kept": true,
        });
        assert_eq!(merged, wanted);
    }

    #[test]
    fn items_of_one_key_merge_and_the_first_of_a_list_stays_first() {
        let keyed = KeyedList { list: "rules", key: "matches", value: "default" };
        let rule = |key: &str, value: Value| json!({"matches": key, "default": value});
        let merged = merge(
            vec![
                json!({"rules": [rule("a", json!({"x": 1, "y": 1})), rule("b", json!({"x": 1}))]}),
                json!({"rules": [rule("c", json!({})), rule("a", json!({"x": 2})), rule("a", json!({"x": 3}))]}),
            ],
            Some(keyed),
        );
        // Higher policies come first, each in its own order; of one list the earlier item wins.
        let wanted = json!([rule("c", json!({})), rule("a", json!({"x": 2, "y": 1})), rule("b", json!({"x": 1}))]);
        assert_eq!(merged["rules"], wanted);
    }

    /// Values of one form, as confs are: objects stay objects.
    fn conf() -> impl Strategy<Value = Value> {
        let number = || proptest::option::of(0..4_u8);
        (number(), number(), number(), proptest::option::of(proptest::collection::vec(0..3_u8, 0..3))).prop_map(
            |(a, b, c, list)| {
                let mut out = json!({});
                for (path, value) in [(&["a"][..], a), (&["o", "b"], b), (&["o", "p", "c"], c)] {
                    if let Some(value) = value {
                        let mut at = &mut out;
                        for key in path {
                            at = &mut at[*key];
                        }
                        *at = json!(value);
                    }
                }
                if let Some(list) = list {
                    out["appendMatch"] = json!(list);
                    out["list"] = json!(list);
                }
                out
            },
        )
    }

    proptest! {
        #[test]
        fn merging_is_associative_and_nothing_changes_nothing(a in conf(), b in conf(), c in conf()) {
            let two = |x: &Value, y: &Value| merge(vec![x.clone(), y.clone()], None);
            prop_assert_eq!(two(&two(&a, &b), &c), two(&a, &two(&b, &c)));
            prop_assert_eq!(two(&a, &json!({})), a.clone());
            prop_assert_eq!(two(&json!({}), &a), a);
        }
    }
}
