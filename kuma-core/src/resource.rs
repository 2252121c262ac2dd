//! Typed and erased resources: `Resource<S>` inside, [`AnyResource`] at the edges.
//!
//! Erasure is one object-safe trait, [`AnyBody`], implemented for every [`Spec`]; going back to the typed view is a
//! downcast without a copy.

use std::{any::Any, fmt::Debug, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    foreign::Foreign,
    kri::Kri,
    meta::Meta,
    registry::{Descriptor, Kind, Shape},
    schema::Schema,
    validate::{Path, Violations},
};

/// The status of kinds that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct NoStatus {}

/// The content of one kind of resource.
pub trait Spec: Serialize + DeserializeOwned + Clone + Debug + Default + PartialEq + Send + Sync + 'static {
    /// What the control plane computes about it; [`NoStatus`] for kinds without.
    type Status: Serialize + DeserializeOwned + Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// The row of this kind in the registry.
    const DESCRIPTOR: Descriptor;
    /// Schema of the spec. Documents of shape `SpecStatus` are defaulted and checked by it, documents of shape `Flat`
    /// are read by it with the leniency of protobuf JSON. `None`: any JSON that the decoder takes.
    fn schema() -> Option<Schema> {
        None
    }
    /// Schema of the status, for kinds that have one.
    fn status_schema() -> Option<Schema> {
        None
    }
    /// Semantic rules, checked after the schema. `at` is the path of the spec (`spec`, or empty for flat kinds).
    /// Rules of names are not here but in [`crate::names`].
    fn validate(&self, at: &Path, out: &mut Violations) {
        let _ = (at, out);
    }
    /// What is legal but deserves a word to its author. Faults of server names are added by
    /// [`AnyResource::warnings`].
    fn warnings(&self, meta: &Meta) -> Vec<String> {
        let _ = meta;
        Vec::new()
    }
}

/// Spec and status of one resource, shared by everyone who reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Body<S: Spec> {
    /// What the user asked for.
    pub spec: S,
    /// What the control plane found.
    pub status: S::Status,
}

/// [`Body`] without its type.
pub trait AnyBody: Any + Debug + Send + Sync {
    /// Kind of the spec.
    fn kind(&self) -> Kind;
    /// Spec as JSON, in the order of its fields.
    fn spec_json(&self) -> Value;
    /// Status as JSON; `None` for kinds without one.
    fn status_json(&self) -> Option<Value>;
    /// Equal specs (statuses are not compared).
    fn spec_eq(&self, other: &dyn AnyBody) -> bool;
    /// Equal statuses.
    fn status_eq(&self, other: &dyn AnyBody) -> bool;
    /// [`Spec::validate`].
    fn validate(&self, at: &Path, out: &mut Violations);
    /// [`Spec::warnings`].
    fn warnings(&self, meta: &Meta) -> Vec<String>;
    /// This spec with the status of another body of the same kind.
    fn with_status_of(&self, other: &dyn AnyBody) -> Arc<dyn AnyBody>;
    /// This spec with an empty status.
    fn without_status(&self) -> Arc<dyn AnyBody>;
    /// For the way back to the type.
    fn as_any(&self) -> &dyn Any;
}

impl<S: Spec> AnyBody for Body<S> {
    fn kind(&self) -> Kind {
        S::DESCRIPTOR.kind
    }
    fn spec_json(&self) -> Value {
        serde_json::to_value(&self.spec).unwrap_or(Value::Null)
    }
    fn status_json(&self) -> Option<Value> {
        S::DESCRIPTOR.has_status.then(|| serde_json::to_value(&self.status).unwrap_or(Value::Null))
    }
    fn spec_eq(&self, other: &dyn AnyBody) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|o| o.spec == self.spec)
    }
    fn status_eq(&self, other: &dyn AnyBody) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|o| o.status == self.status)
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        self.spec.validate(at, out);
    }
    fn warnings(&self, meta: &Meta) -> Vec<String> {
        self.spec.warnings(meta)
    }
    fn with_status_of(&self, other: &dyn AnyBody) -> Arc<dyn AnyBody> {
        let status = other.as_any().downcast_ref::<Self>().map_or_else(Default::default, |o| o.status.clone());
        Arc::new(Self { spec: self.spec.clone(), status })
    }
    fn without_status(&self) -> Arc<dyn AnyBody> {
        Arc::new(Self { spec: self.spec.clone(), status: Default::default() })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where an object lives: kind, mesh (empty for global kinds) and storage name. Sorts as lists are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Mesh; empty for global kinds.
    pub mesh: Arc<str>,
    /// Storage name.
    pub name: Arc<str>,
}

impl Key {
    /// Key from its parts.
    pub fn new(kind: Kind, mesh: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, mesh: mesh.into(), name: name.into() }
    }
}

/// A resource of any kind. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AnyResource {
    /// Identity and bookkeeping.
    pub meta: Meta,
    /// Spec and status.
    pub body: Arc<dyn AnyBody>,
    /// What was stored with exactly this body beside what it knows.
    pub(crate) foreign: Option<Arc<Foreign>>,
}

/// A resource whose kind is known. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Resource<S: Spec> {
    /// Identity and bookkeeping.
    pub meta: Meta,
    body: Arc<dyn AnyBody>,
    marker: std::marker::PhantomData<fn() -> S>,
}

impl<S: Spec> Resource<S> {
    /// A resource from its parts.
    pub fn new(meta: Meta, spec: S, status: S::Status) -> Self {
        Self { meta, body: Arc::new(Body { spec, status }), marker: std::marker::PhantomData }
    }
    #[expect(clippy::expect_used, reason = "the only constructors put a Body<S> here")]
    fn typed(&self) -> &Body<S> {
        self.body.as_any().downcast_ref().expect("a Resource<S> holds a Body<S>")
    }
    /// What the user asked for.
    pub fn spec(&self) -> &S {
        &self.typed().spec
    }
    /// What the control plane found.
    pub fn status(&self) -> &S::Status {
        &self.typed().status
    }
    /// The same with another status.
    pub fn with_status(&self, status: S::Status) -> Self {
        Self::new(self.meta.clone(), self.spec().clone(), status)
    }
    /// Without its type, for the edges.
    pub fn erase(&self) -> AnyResource {
        AnyResource { meta: self.meta.clone(), body: self.body.clone(), foreign: None }
    }
}

impl<S: Spec> From<Resource<S>> for AnyResource {
    fn from(resource: Resource<S>) -> Self {
        Self { meta: resource.meta, body: resource.body, foreign: None }
    }
}

impl AnyResource {
    /// A resource from its parts.
    pub fn of(meta: Meta, body: Arc<dyn AnyBody>) -> Self {
        Self { meta, body, foreign: None }
    }
    /// A resource from its typed parts.
    pub fn new<S: Spec>(meta: Meta, spec: S, status: S::Status) -> Self {
        Self::of(meta, Arc::new(Body { spec, status }))
    }
    /// Kind of the resource.
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }
    /// Where it lives.
    pub fn key(&self) -> Key {
        Key { kind: self.kind(), mesh: self.meta.mesh.clone(), name: self.meta.name.clone() }
    }
    /// Its KRI; `None` for kinds without a short name.
    pub fn kri(&self) -> Option<Kri> {
        Kri::of(self.kind(), &self.meta)
    }
    /// The typed view, if the kind is `S`.
    pub fn typed<S: Spec>(&self) -> Option<Resource<S>> {
        self.body.as_any().is::<Body<S>>().then(|| Resource {
            meta: self.meta.clone(),
            body: self.body.clone(),
            marker: std::marker::PhantomData,
        })
    }
    /// The spec, if the kind is `S`.
    pub fn spec<S: Spec>(&self) -> Option<&S> {
        self.body.as_any().downcast_ref::<Body<S>>().map(|b| &b.spec)
    }
    /// The status, if the kind is `S`.
    pub fn status<S: Spec>(&self) -> Option<&S::Status> {
        self.body.as_any().downcast_ref::<Body<S>>().map(|b| &b.status)
    }
    /// What is wrong with the spec, apart from names; paths as clients of the REST API see them.
    pub fn validate(&self) -> Violations {
        let at = match self.kind().descriptor().shape {
            Shape::Flat => Path::default(),
            Shape::SpecStatus => Path::root("spec"),
        };
        let mut out = Violations::new();
        self.body.validate(&at, &mut out);
        out
    }
    /// What is legal but deserves a word to its author.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.body.warnings(&self.meta);
        warnings.extend(crate::sni::warnings(self));
        warnings
    }
    /// The same spec under other metadata.
    pub fn with_meta(&self, meta: Meta) -> Self {
        Self { meta, body: self.body.clone(), foreign: self.foreign.clone() }
    }
    /// The same spec with the status of another object of the kind, or without one.
    pub fn with_status_of(&self, other: Option<&Self>) -> Self {
        let body = match other {
            Some(other) => self.body.with_status_of(&*other.body),
            None => self.body.without_status(),
        };
        Self::of(self.meta.clone(), body)
    }
    /// The spec as it is stored: with fields that this version does not know.
    pub fn stored_spec(&self) -> Value {
        let foreign = self.foreign.as_ref().and_then(|foreign| foreign.spec());
        foreign.cloned().unwrap_or_else(|| self.body.spec_json())
    }
    /// The status as it is stored: with fields that this version does not know. `None` if there is none.
    pub fn stored_status(&self) -> Option<Value> {
        let foreign = self.foreign.as_ref().and_then(|foreign| foreign.status());
        foreign.cloned().or_else(|| self.body.status_json())
    }
    /// Equal specs, fields that this version does not know included.
    pub fn same_stored_spec(&self, other: &Self) -> bool {
        let foreign = |resource: &Self| resource.foreign.as_ref().and_then(|foreign| foreign.spec().cloned());
        self.body.spec_eq(&*other.body) && foreign(self) == foreign(other)
    }
    /// This object, with fields that this version does not know taken over from what it was before.
    #[must_use]
    pub fn carrying(self, before: &Self) -> Self {
        let foreign = before.foreign.as_ref().and_then(|foreign| foreign.carried(before, &self));
        Self { foreign, ..self }
    }
    /// This object in the place of another one: unknown fields are those of its own spec and of the other's status.
    #[must_use]
    pub(crate) fn replacing(self, before: &Self) -> Self {
        let status = before.clone().foreign.and_then(|foreign| foreign.carried(before, &self));
        Self { foreign: Foreign::joined(self.foreign.as_deref(), status.as_deref()), ..self }
    }
    /// Same content: labels, spec and status (times and version are not compared).
    pub fn same_content(&self, other: &Self) -> bool {
        self.meta.labels == other.meta.labels && self.body.spec_eq(&*other.body) && self.body.status_eq(&*other.body)
    }
}
