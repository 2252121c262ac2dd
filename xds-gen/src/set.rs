//! Rendered Envoy resources: bytes that any number of streams share, their versions, and the set that one proxy is to
//! have.
//!
//! A [`Rendered`] is made once per distinct resource and held by `Arc`; equal pointers are equal resources. Its
//! version is a hash of its bytes: the same after a restart, and on another instance. What differs only between
//! replicas (own address, paths) stays a [`Template`], shared as well, and is filled when it is sent.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use prost::{Message, Name};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

mod own;
pub use own::Own;

/// The types of resources that travel on ADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypeUrl {
    /// CDS.
    Cluster,
    /// EDS: `ClusterLoadAssignment`.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS: `RouteConfiguration`. Not produced: routes are inline.
    Route,
    /// SDS.
    Secret,
    /// RTDS. Not produced.
    Runtime,
    /// ECDS: `TypedExtensionConfig`. Not produced.
    Extension,
}

impl TypeUrl {
    /// All of them, in the order in which they are sent: what is referred to before what refers to it.
    pub const ALL: [Self; 7] =
        [Self::Cluster, Self::Endpoint, Self::Secret, Self::Extension, Self::Listener, Self::Route, Self::Runtime];

    /// The type URL on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        }
    }

    /// The type of a request; `None` for one that no resource here has.
    pub fn parse(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == url)
    }

    /// Whether an empty subscription means all of them. True for clusters and listeners only.
    pub const fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version: XXH3-128 of what it stands for. Printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// Equal to no version of a resource, for practical purposes.
    pub const UNKNOWN: Self = Self([0; 16]);
    /// Length of the printed form.
    pub const TEXT_LEN: usize = 32;

    /// The version of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }

    /// A version that changes when any of the parts does.
    pub fn mix(parts: &[Self]) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&part.0);
        }
        Self(hasher.digest128().to_be_bytes())
    }

    /// Reads what [`Display`](fmt::Display) wrote; `None` for text that no version prints as.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != Self::TEXT_LEN || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|v| Self(v.to_be_bytes()))
    }

    /// The printed form, without allocation.
    pub fn to_text(self) -> [u8; Self::TEXT_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; Self::TEXT_LEN];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource that is completed when it is sent: with facts of the proxy, or with material issued for it.
pub trait Template: Send + Sync {
    /// The encoded message for this proxy.
    fn fill(&self, own: &Own) -> Bytes;
    /// About how many bytes [`fill`](Self::fill) gives, for splitting responses.
    fn size_hint(&self) -> usize;
}

/// Where the bytes of a resource come from.
#[derive(Clone)]
pub enum Body {
    /// The encoded message, the same for every proxy.
    Shared(Bytes),
    /// Filled per proxy and per sending, and not kept.
    PerProxy(Arc<dyn Template>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(bytes) => write!(f, "Shared({} bytes)", bytes.len()),
            Self::PerProxy(t) => write!(f, "PerProxy(about {} bytes)", t.size_hint()),
        }
    }
}

/// One Envoy resource, ready to be sent to any number of proxies.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Name of the resource.
    pub name: Arc<str>,
    /// Its type.
    pub type_url: TypeUrl,
    /// Hash of the encoded message; for a template, of what it is made from.
    pub version: Version,
    /// The encoded message, or how to make it.
    pub body: Body,
    /// Of a listener: the clusters that it and its routes name. `None` is "not known", and counts as all of them.
    pub uses: Option<Arc<[Arc<str>]>>,
    /// Of a listener: it tells applications where other listeners are, so it comes no sooner than those.
    pub tells_of_others: bool,
}

impl Rendered {
    /// A resource from its encoded message.
    pub fn new(type_url: TypeUrl, name: impl Into<Arc<str>>, value: Bytes) -> Self {
        let version = Version::of(&value);
        Self { name: name.into(), type_url, version, body: Body::Shared(value), uses: None, tells_of_others: false }
    }

    /// A resource from its message.
    pub fn of<M: Message + Name>(type_url: TypeUrl, name: impl Into<Arc<str>>, message: &M) -> Self {
        debug_assert_eq!(M::type_url(), type_url.as_str(), "the message is of another type");
        Self::new(type_url, name, message.encode_to_vec().into())
    }

    /// A resource that is completed for each proxy. `version` stands for everything that it is made from apart from
    /// [`Own`]: template bytes, and for issued material the issuer, subject and epoch (not the material itself).
    pub fn per_proxy(
        type_url: TypeUrl,
        name: impl Into<Arc<str>>,
        version: Version,
        template: Arc<dyn Template>,
    ) -> Self {
        Self {
            name: name.into(),
            type_url,
            version,
            body: Body::PerProxy(template),
            uses: None,
            tells_of_others: false,
        }
    }

    /// The same, saying which clusters it names.
    pub fn using(mut self, clusters: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.uses = Some(clusters.into_iter().collect());
        self
    }

    /// The same, as a listener that tells of others.
    pub fn telling_of_others(mut self) -> Self {
        self.tells_of_others = true;
        self
    }

    /// The version of what this proxy gets: mixed with its own facts where they are filled in.
    pub fn version_for(&self, own: &Own) -> Version {
        match self.body {
            Body::Shared(_) => self.version,
            Body::PerProxy(_) => Version::mix(&[self.version, own.version()]),
        }
    }

    /// Whether every proxy gets the same bytes.
    pub fn is_shared(&self) -> bool {
        matches!(self.body, Body::Shared(_))
    }

    /// The encoded message for this proxy.
    pub fn value(&self, own: &Own) -> Bytes {
        match &self.body {
            Body::Shared(bytes) => bytes.clone(),
            Body::PerProxy(template) => template.fill(own),
        }
    }

    /// About how long [`value`](Self::value) is.
    pub fn size_hint(&self) -> usize {
        match &self.body {
            Body::Shared(bytes) => bytes.len(),
            Body::PerProxy(template) => template.size_hint(),
        }
    }
}

/// What one proxy is to have, as of now. The delta engine looks at it whenever it may send.
pub trait Source {
    /// Clusters or listeners, sorted by name, each name once.
    fn listed(&self, type_url: TypeUrl) -> &[Arc<Rendered>];
    /// One resource by name, of any type.
    fn named(&self, type_url: TypeUrl, name: &str) -> Option<Arc<Rendered>>;
    /// Facts that templates are filled with.
    fn own(&self) -> &Own;
}

/// A whole set in one value, for from-scratch generation, tests and dumps.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    lists: BTreeMap<TypeUrl, Vec<Arc<Rendered>>>,
    own: Arc<Own>,
}

impl ResourceSet {
    /// An empty set for the proxy with these facts.
    pub fn new(own: Arc<Own>) -> Self {
        Self { lists: BTreeMap::new(), own }
    }

    /// Adds a resource. One of the same type and name is replaced.
    pub fn insert(&mut self, rendered: impl Into<Arc<Rendered>>) {
        let rendered = rendered.into();
        let list = self.lists.entry(rendered.type_url).or_default();
        match list.binary_search_by(|r| r.name.cmp(&rendered.name)) {
            Ok(at) => list[at] = rendered,
            Err(at) => list.insert(at, rendered),
        }
    }

    /// Takes a resource out; returns it if it was there.
    pub fn remove(&mut self, type_url: TypeUrl, name: &str) -> Option<Arc<Rendered>> {
        let list = self.lists.get_mut(&type_url)?;
        let at = list.binary_search_by(|r| (*r.name).cmp(name)).ok()?;
        Some(list.remove(at))
    }

    /// All resources, by type and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rendered>> {
        self.lists.values().flatten()
    }
}

impl Source for ResourceSet {
    fn listed(&self, type_url: TypeUrl) -> &[Arc<Rendered>] {
        self.lists.get(&type_url).map_or(&[], Vec::as_slice)
    }

    fn named(&self, type_url: TypeUrl, name: &str) -> Option<Arc<Rendered>> {
        let list = self.listed(type_url);
        list.binary_search_by(|r| (*r.name).cmp(name)).ok().map(|at| list[at].clone())
    }

    fn own(&self) -> &Own {
        &self.own
    }
}

#[cfg(test)]
mod tests;
