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
