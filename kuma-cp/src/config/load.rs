//! Puts the layers of the configuration together: defaults, then a file, then environment variables.
//!
//! [`layer`] is pure: it takes the text of the file and the variables as values. [`load`] reads the file first and
//! looks at what only the file system can tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use kuma_core::document::{self, Limits, Part};
use serde_json::{Map, Value};

use super::{Config, Key, Kind, StoreType, keys, pending};

/// A configuration that is valid, and what the user should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Paths of the keys that the file or a variable set, also where they were set to their default.
    pub set: BTreeSet<String>,
    /// What the user probably did not mean. Not errors: the control plane starts.
    pub warnings: Vec<Warning>,
}

/// Something in the configuration that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A key of the file that does not exist.
    UnknownKey {
        /// Its path as written.
        path: String,
        /// The key that was probably meant.
        meant: Option<String>,
    },
    /// A key of the file that is there twice: where, and which one counts.
    DuplicateKey(String),
    /// A variable that looks like one of ours and is none.
    UnknownVariable {
        /// Its name.
        name: String,
        /// The variable that was probably meant.
        meant: String,
    },
    /// A key that is accepted and does nothing yet.
    NoEffect {
        /// Its path.
        path: String,
        /// Why not.
        reason: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { path, meant: Some(meant) } => {
                write!(f, "unknown configuration key {path} is ignored, did you mean {meant}?")
            }
            Self::UnknownKey { path, meant: None } => write!(f, "unknown configuration key {path} is ignored"),
            Self::UnknownVariable { name, meant } => {
                write!(f, "unknown environment variable {name} is ignored, did you mean {meant}?")
            }
            Self::DuplicateKey(place) => write!(f, "configuration file: {place}"),
            Self::NoEffect { path, reason } => write!(f, "configuration key {path} has no effect: {reason}"),
        }
    }
}

/// Why there is no configuration. The texts are what users see after `Error: `.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or may not be read. The published text leaves out why.
    #[error(
        "unable to access configuration file '{}', please check if the file exists and has the correct permissions",
        .0.display()
    )]
    Inaccessible(PathBuf, std::io::Error),
    /// What is wrong within a file.
    #[error("parsing configuration from file '{}' failed: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in there.
        error: Box<ConfigError>,
    },
    /// Not YAML, or a value of the wrong type.
    #[error("unable to parse configuration: {0}")]
    Unparseable(String),
    /// A variable whose text is not of the type of its key.
    #[error(
        "processing environment variables failed: envconfig.Process: assigning {variable} to {field}: converting '{value}' to type {kind}. details: {details}"
    )]
    Variable {
        /// Name of the variable.
        variable: String,
        /// Published name of the field.
        field: String,
        /// Text of the variable.
        value: String,
        /// Published name of the type.
        kind: &'static str,
        /// What is wrong with the text.
        details: String,
    },
    /// Values that cannot be.
    #[error("configuration validation failed: {0}")]
    Invalid(String),
}

/// Reads the file, if there is one, and puts the layers together. `variables` is the environment of the process.
pub fn load(file: Option<&Path>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let Some(path) = file else {
        let loaded = layer(None, variables)?;
        check_files(&loaded.config)?;
        return Ok(loaded);
    };
    let bytes = fs::read(path).map_err(|e| ConfigError::Inaccessible(path.to_owned(), e))?;
    let within = |error| ConfigError::File { path: path.to_owned(), error: Box::new(error) };
    let unreadable = |fault: document::Fault| within(ConfigError::Unparseable(fault.to_string()));
    let text = document::text(&bytes, Limits::FILE).map_err(unreadable)?;
    let loaded = layer(Some(text), variables).map_err(within)?;
    check_files(&loaded.config).map_err(within)?;
    Ok(loaded)
}

/// Puts the layers together and checks the result. `file` is YAML or JSON text.
pub fn layer(file: Option<&str>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let keys = keys();
    let mut overlay = Overlay::default();
    if let Some(text) = file {
        overlay.file(text, &keys)?;
    }
    overlay.variables(&variables.into_iter().collect(), &keys)?;
    let Overlay { values, set, replaced, mut warnings } = overlay;

    // Sections have defaults that depend on where they stand, so the values are laid over a whole configuration. The
    // password is masked in there; its default comes back from the struct where nothing sets it.
    let mut whole = Config::default().display();
    remove(&mut whole, "store.postgres.password");
    for path in &replaced {
        remove(&mut whole, path);
    }
    merge(&mut whole, Value::Object(values));
    let mut config: Config = serde_path_to_error::deserialize(whole)
        .map_err(|e| ConfigError::Unparseable(format!("{}: {}", e.path(), e.inner())))?;

    if config.store.kind == StoreType::Kubernetes.as_str() {
        // Service account tokens are replaced while proxies run.
        config.dp_server.authn.enable_reloadable_tokens = true;
    }
    config.check().map_err(ConfigError::Invalid)?;
    warnings.extend(
        set.iter()
            .filter_map(|path| pending::reason(path).map(|reason| Warning::NoEffect { path: path.clone(), reason })),
    );
    Ok(Loaded { config, set, warnings })
}

/// The checks that need the file system.
fn check_files(config: &Config) -> Result<(), ConfigError> {
    if config.store.kind == StoreType::Postgres.as_str() {
        let postgres = &config.store.postgres;
        postgres.current_password().map_err(|error| {
            ConfigError::Invalid(format!("Store validation failed: Postgres validation failed: {error}"))
        })?;
    }
    let zone = &config.multizone.zone;
    let file = &zone.kds.root_ca_file;
    let needed = config.mode() == Some(super::Mode::Zone) && zone.global_address.starts_with("grpcs://");
    if !needed || file.is_empty() {
        return Ok(());
    }
    let invalid = |text: String| ConfigError::Invalid(format!("Multizone Zone validation failed: {text}"));
    let pem = fs::read(file).map_err(|e| invalid(format!("could not read certificate {file}: {e}")))?;
    match crate::tls::pem::certificates(&pem) {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err(invalid("failed to parse root certificate".to_owned())),
    }
}

/// What the file and the variables set.
#[derive(Default)]
struct Overlay {
    values: Map<String, Value>,
    set: BTreeSet<String>,
    /// Maps of variables: they replace the default, where a file adds to it.
    replaced: Vec<String>,
    warnings: Vec<Warning>,
}

impl Overlay {
    fn file(&mut self, text: &str, keys: &[Key]) -> Result<(), ConfigError> {
        let document: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            let parsed = Part::whole(text).parse(Limits::FILE);
            let parsed = parsed.map_err(|fault| ConfigError::Unparseable(fault.to_string()))?;
            self.warnings.extend(parsed.warning.map(Warning::DuplicateKey));
            parsed.value
        };
        match document {
            Value::Null => Ok(()),
            Value::Object(map) => {
                let values = self.section(map, &Tree::new(keys), "");
                self.values = values;
                Ok(())
            }
            other => Err(ConfigError::Unparseable(format!("a map of sections is expected, not {}", type_name(&other)))),
        }
    }

    /// The values of a section under their published keys.
    fn section(&mut self, map: Map<String, Value>, tree: &Tree<'_>, at: &str) -> Map<String, Value> {
        let mut out = Map::new();
        // An exact key counts more than one that differs in case only.
        let (exact, other): (Vec<_>, Vec<_>) =
            map.into_iter().partition(|(k, _)| tree.children.contains_key(k.as_str()));
        for (written, value) in exact.into_iter().chain(other) {
            let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
            let Some((key, child)) = tree.find(&written) else {
                let meant = nearest(&written, tree.children.keys().copied());
                self.warnings.push(Warning::UnknownKey { path: join(&written), meant: meant.map(&join) });
                continue;
            };
            if out.contains_key(key) {
                continue;
            }
            let path = join(key);
            let value = match (child.leaf, value) {
                (Some(leaf), value) => {
                    let value = self.leaf(leaf, value, &path);
                    // The members of a list are no keys.
                    if !path.contains('[') {
                        self.set.insert(path);
                    }
                    value
                }
                (None, Value::Object(map)) => Some(Value::Object(self.section(map, child, &path))),
                (None, Value::Null) => None,
                // Left as it is: the error names the path and the type that is expected there.
                (None, other) => Some(other),
            };
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        }
        out
    }

    /// A value of the file as the type of its key wants it; `None` keeps the default.
    fn leaf(&mut self, kind: Kind, value: Value, path: &str) -> Option<Value> {
        Some(match (kind, value) {
            (Kind::TextList | Kind::UintList | Kind::PublicKeys, Value::Null) => Value::Array(Vec::new()),
            (_, Value::Null) => return None,
            (Kind::Text | Kind::Secret, value) => as_text(value),
            (Kind::TextList, Value::Array(items)) => items.into_iter().map(as_text).collect(),
            (Kind::TextMap, Value::Object(map)) => map.into_iter().map(|(k, v)| (k, as_text(v))).collect(),
            (Kind::Duration, Value::Number(nanos)) => match nanos.as_i64() {
                Some(nanos) => kuma_core::duration::GoDuration::from_nanos(nanos).to_string().into(),
                None => Value::Number(nanos),
            },
            (Kind::PublicKeys, Value::Array(items)) => {
                let tree = Tree::public_key(path.ends_with("dpToken.validator.publicKeys"));
                items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| match item {
                        Value::Object(map) => Value::Object(self.section(map, &tree, &format!("{path}[{i}]"))),
                        other => other,
                    })
                    .collect()
            }
            (_, value) => value,
        })
    }

    fn variables(&mut self, variables: &BTreeMap<String, String>, keys: &[Key]) -> Result<(), ConfigError> {
        let mut known = BTreeSet::new();
        for key in keys {
            let Some(name) = &key.env else { continue };
            known.insert(name.as_str());
            let Some(text) = variables.get(name) else { continue };
            let value = key.kind.parse(text).map_err(|details| ConfigError::Variable {
                variable: name.clone(),
                field: published_field(key),
                value: text.clone(),
                kind: key.kind.published_name(),
                details,
            })?;
            if key.kind == Kind::TextMap {
                self.replaced.push(key.path.clone());
            }
            insert(&mut self.values, &key.path, value);
            self.set.insert(key.path.clone());
        }
        // Kubernetes sets variables that begin alike for every Service, so only a near miss is worth a word.
        for name in variables.keys().filter(|n| n.starts_with("KUMA_") && !known.contains(n.as_str())) {
            if let Some(meant) = known.iter().find(|k| distance(name, k) <= 2) {
                let meant = (*meant).to_owned();
                self.warnings.push(Warning::UnknownVariable { name: name.clone(), meant });
            }
        }
        Ok(())
    }
}

/// The published name of the field that a key sets. Only texts that fail need one, so texts are not listed.
fn published_field(key: &Key) -> String {
    let last = key.path.rsplit('.').next().unwrap_or_default();
    match key.path.as_str() {
        "xdsServer.nackBackoff" => return "NACKBackoff".to_owned(),
        "runtime.kubernetes.injector.cniEnabled" => return "CNIEnabled".to_owned(),
        "general.dnsCacheTTL" => return "DNSCacheTTL".to_owned(),
        _ => {}
    }
    match last {
        "uid" | "gid" => last.to_uppercase(),
        _ => last[..1].to_uppercase() + &last[1..],
    }
}

fn as_text(value: Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().into(),
        Value::Bool(value) => value.to_string().into(),
        other => other,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The keys as a tree of sections.
#[derive(Default)]
struct Tree<'a> {
    leaf: Option<Kind>,
    children: BTreeMap<&'a str, Tree<'a>>,
}

impl<'a> Tree<'a> {
    fn new(keys: &'a [Key]) -> Self {
        let mut root = Self::default();
        for key in keys {
            let mut node = &mut root;
            for segment in key.path.split('.') {
                node = node.children.entry(segment).or_default();
            }
            node.leaf = Some(key.kind);
        }
        // It has no keys of its own, and is no unknown key.
        root.children.entry("experimental").or_default();
        root
    }

    /// The members of a public key.
    fn public_key(meshed: bool) -> Self {
        let names = ["kid", "key", "keyFile"].into_iter().chain(meshed.then_some("mesh"));
        let text = || Self { leaf: Some(Kind::Text), children: BTreeMap::new() };
        Self { leaf: None, children: names.map(|n| (n, text())).collect() }
    }

    /// The child of that name, or else of that name in another case.
    fn find(&self, name: &str) -> Option<(&'a str, &Self)> {
        let exact = self.children.get_key_value(name);
        exact
            .or_else(|| self.children.iter().find(|(k, _)| k.to_lowercase() == name.to_lowercase()))
            .map(|(k, v)| (*k, v))
    }
}

/// Sets the value at a path, making the sections on the way.
fn insert(values: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            values.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let section = values.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if !section.is_object() {
                *section = Value::Object(Map::new());
            }
            if let Value::Object(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

fn remove(value: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    match (value, rest) {
        (Value::Object(map), None) => {
            map.remove(first);
        }
        (Value::Object(map), Some(rest)) => {
            if let Some(child) = map.get_mut(first) {
                remove(child, rest);
            }
        }
        _ => {}
    }
}

/// Lays `over` on `base`: maps are merged, everything else is replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The name that is near enough to be the one that was meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    known.map(|k| (distance(&name, &k.to_lowercase()), k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Levenshtein distance: how many characters are added, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
