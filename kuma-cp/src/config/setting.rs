//! How a configuration section is declared: one row per key gives its field, published key, type, default and
//! environment variable; the serde form, the list of keys and the reference of variables all come from that row.

use std::collections::BTreeMap;

use kuma_core::duration::GoDuration;
use serde_json::{Map, Value};

use super::{
    key::{MeshedPublicKey, PublicKey},
    number,
    password::Password,
};

/// One settable key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Path from the root, segments joined by dots: `apiServer.http.port`.
    pub path: String,
    /// Environment variable that sets it, if any does.
    pub env: Option<String>,
    /// What values it takes.
    pub kind: Kind,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
}

/// The type of a key, and so how text from the environment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// True or false.
    Bool,
    /// A signed number of this many bits.
    Int(u32),
    /// An unsigned number of this many bits.
    Uint(u32),
    /// A duration such as `1h30m`.
    Duration,
    /// A list of texts, comma separated in the environment.
    TextList,
    /// A list of unsigned 32-bit numbers, comma separated in the environment.
    UintList,
    /// A map of texts, `k:v,k:v` in the environment.
    TextMap,
    /// A list of public keys; a file can set it, the environment cannot.
    PublicKeys,
}

impl Kind {
    /// Reads the text of an environment variable into the value that a file would hold. The error is the detail only,
    /// without the name of the variable.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        // A blank text is an empty list or map, not one empty element.
        let items = || text.split(',').take_while(|_| !text.trim().is_empty());
        Ok(match self {
            Self::Text | Self::Secret => Value::from(text),
            Self::Bool => Value::from(number::boolean(text)?),
            Self::Int(bits) => Value::from(number::signed(text, bits)?),
            Self::Uint(bits) => Value::from(number::unsigned(text, bits)?),
            Self::Duration => Value::from(text.parse::<GoDuration>().map_err(|e| e.to_string())?.to_string()),
            Self::TextList => items().map(Value::from).collect(),
            Self::UintList => items().map(|i| number::unsigned(i, 32).map(Value::from)).collect::<Result<_, _>>()?,
            Self::TextMap => {
                let mut map = Map::new();
                for item in items() {
                    let mut parts = item.split(':');
                    let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                        return Err(format!("invalid map item: {item:?}"));
                    };
                    map.insert(key.to_owned(), value.into());
                }
                map.into()
            }
            Self::PublicKeys => return Err("a list of public keys can only be set in a file".to_owned()),
        })
    }

    /// The name of the type in the words of the published error texts.
    pub fn published_name(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "string",
            Self::Bool => "bool",
            Self::Int(32) => "int32",
            Self::Int(_) => "int",
            Self::Uint(16) => "uint16",
            Self::Uint(32) => "uint32",
            Self::Uint(_) => "uint",
            Self::Duration => "types.Duration",
            Self::TextList => "[]string",
            Self::UintList => "[]uint32",
            Self::TextMap => "map[string]string",
            Self::PublicKeys => "[]types.PublicKey",
        }
    }
}

/// Where in the tree a setting sits while the tree is being described.
#[derive(Clone, Debug, Default)]
pub(crate) struct At {
    path: String,
    env: Option<String>,
    doc: &'static str,
}

impl At {
    /// The place of a child. A variable that begins with `_` continues the name of its parent.
    pub(crate) fn child(&self, key: &str, env: Option<&str>, doc: &'static str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let env = env.map(|name| match &self.env {
            Some(parent) if name.starts_with('_') => format!("{parent}{name}"),
            _ => name.to_owned(),
        });
        Self { path, env, doc: doc.trim() }
    }
}

/// A node of the configuration: a section, or a leaf that holds a value.
pub(crate) trait Setting {
    /// Appends the keys at and below this place, in the order in which they are declared.
    fn describe(at: At, out: &mut Vec<Key>);
}

macro_rules! leaf {
    ($($type:ty => $kind:expr),* $(,)?) => {$(
        impl Setting for $type {
            fn describe(at: At, out: &mut Vec<Key>) {
                out.push(Key { path: at.path, env: at.env, kind: $kind, doc: at.doc });
            }
        }
    )*};
}

leaf! {
    String => Kind::Text,
    Password => Kind::Secret,
    bool => Kind::Bool,
    i32 => Kind::Int(32),
    i64 => Kind::Int(64),
    u16 => Kind::Uint(16),
    u32 => Kind::Uint(32),
    u64 => Kind::Uint(64),
    GoDuration => Kind::Duration,
    Vec<String> => Kind::TextList,
    Vec<u32> => Kind::UintList,
    BTreeMap<String, String> => Kind::TextMap,
    Vec<PublicKey> => Kind::PublicKeys,
    Vec<MeshedPublicKey> => Kind::PublicKeys,
}

/// Is it the zero value of its type? Optional keys that are so are left out when the configuration is shown.
pub(super) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares a section. A row is `/// doc`, then `field "key": Type = default, "VARIABLE";` where
/// `skip "is_zero"` after the key hides an empty value, the default may be left out (the type's own), and so may the
/// variable. A nested section is a row whose type is a section.
macro_rules! section {
    (@default) => { ::std::default::Default::default() };
    (@default $value:expr) => { $value };
    (@env) => { None };
    (@env $value:literal) => { Some($value) };
    (
        $(#[doc = $title:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident $key:literal $(skip $skip:literal)? : $type:ty $(= $default:expr)? $(, $env:literal)? ; )*
        }
    ) => {
        $(#[doc = $title])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[doc = $doc])* #[serde(rename = $key $(, skip_serializing_if = $skip)?)] pub $field: $type, )*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::config::setting::section!(@default $($default)?), )* }
            }
        }

        impl $crate::config::setting::Setting for $name {
            #[allow(unused_variables, reason = "a section may have no rows")]
            fn describe(at: $crate::config::setting::At, out: &mut Vec<$crate::config::setting::Key>) {
                $(
                    let child = at.child($key, $crate::config::setting::section!(@env $($env)?), concat!($($doc,)*));
                    <$type as $crate::config::setting::Setting>::describe(child, out);
                )*
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn environment_text_follows_the_published_rules() {
        for (kind, text, value) in [
            (Kind::TextList, "", json!([])),
            (Kind::TextList, "a,b", json!(["a", "b"])),
            (Kind::UintList, "80,443", json!([80, 443])),
            (Kind::TextMap, "a:b,c:d", json!({"a": "b", "c": "d"})),
            (Kind::TextMap, " ", json!({})),
            (Kind::Duration, "90m", json!("1h30m0s")),
            (Kind::Text, "", json!("")),
            (Kind::Bool, "T", json!(true)),
        ] {
            assert_eq!(kind.parse(text), Ok(value), "{kind:?} {text:?}");
        }
        for (kind, text, error) in [
            (Kind::Duration, "10", r#"time: missing unit in duration "10""#),
            (Kind::Duration, "", r#"time: invalid duration """#),
            (Kind::Bool, "", r#"strconv.ParseBool: parsing "": invalid syntax"#),
            (Kind::UintList, "80,x", r#"strconv.ParseUint: parsing "x": invalid syntax"#),
            (Kind::TextMap, "a:b:c", r#"invalid map item: "a:b:c""#),
        ] {
            assert_eq!(kind.parse(text), Err(error.to_owned()), "{kind:?} {text:?}");
        }
    }

    #[test]
    fn a_suffix_continues_the_name_of_the_parent() {
        let parent = At::default().child("static", Some("KUMA_X"), "");
        assert_eq!(parent.child("users", Some("_USERS"), "").env.as_deref(), Some("KUMA_X_USERS"));
        assert_eq!(parent.child("users", Some("KUMA_Y"), "").env.as_deref(), Some("KUMA_Y"));
        assert_eq!(parent.child("users", None, "").path, "static.users");
    }
}
