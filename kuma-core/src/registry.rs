//! The one list of kinds. REST collections, CLI names, parsing, schemas and documentation derive from it.
//!
//! Adding a kind is a line in `registry!` and a file with its spec (see `docs/architecture.md`).

use std::sync::Arc;

use serde::de::Error as _;
use serde_json::Value;

use crate::{
    foreign::Foreign,
    meta::Meta,
    policies::policy::Policy,
    resource::{AnyBody, AnyResource, Body, Spec},
};

/// Whether objects of a kind belong to a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/meshes/{mesh}/{plural}/{name}`.
    Mesh,
    /// `/{plural}/{name}`.
    Global,
}

/// Where the spec sits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Fields of the spec are siblings of `type` and `name` (protobuf JSON rules).
    Flat,
    /// Under `spec`, with an optional `status` beside it.
    SpecStatus,
}

/// Between which control planes objects of a kind travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Stays where it is.
    None,
    /// Written on Global, copied to zones.
    GlobalToZone,
    /// Written in a zone, copied to Global.
    ZoneToGlobal,
    /// Either way.
    Both,
}

/// What a policy may address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Position in the documented order of policies; lower comes first.
    pub order: u16,
    /// Has `spec.to`.
    pub to: bool,
    /// Has inbound `spec.rules`.
    pub rules: bool,
    /// Has a single `spec.default`.
    pub own: bool,
}

/// What a kind is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A targetRef policy.
    Policy(Targets),
    /// Something that traffic can be sent to.
    Destination,
    /// A proxy.
    Proxy,
    /// Written by control planes about others; read-only for users.
    Insight,
    /// Secret material; readable by admins only.
    Secret,
    /// Everything else.
    System,
}

/// A row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// The kind itself.
    pub kind: Kind,
    /// Type name as in `type:`, such as `MeshTimeout`.
    pub name: &'static str,
    /// REST collection, such as `meshtimeouts`; also the CLI's plural.
    pub path: &'static str,
    /// Another path of the same collection.
    pub alias: Option<&'static str>,
    /// Name in the CLI, such as `meshtimeout`; `None` if the CLI does not offer it.
    pub cli: Option<&'static str>,
    /// Name for people, singular, such as `Mesh Timeout`.
    pub display: &'static str,
    /// Name for people, plural.
    pub display_plural: &'static str,
    /// Short name in KRIs.
    pub short: Option<&'static str>,
    /// Mesh-scoped or global.
    pub scope: Scope,
    /// JSON shape.
    pub shape: Shape,
    /// Direction of synchronisation.
    pub sync: Sync,
    /// What it is for.
    pub role: Role,
    /// Has a `status`.
    pub has_status: bool,
    /// Kind of its insight, for kinds with an overview.
    pub insight: Option<Kind>,
}

impl Descriptor {
    /// Users cannot write it.
    pub const fn read_only(&self) -> bool {
        matches!(self.role, Role::Insight)
    }
    /// Only admins may read or write it.
    pub const fn admin_only(&self) -> bool {
        matches!(self.role, Role::Secret)
    }
    /// It is a targetRef policy.
    pub const fn is_policy(&self) -> bool {
        matches!(self.role, Role::Policy(_))
    }
    /// A zone control plane may be the origin of objects of this kind.
    pub const fn provided_by_zone(&self) -> bool {
        matches!(self.sync, Sync::ZoneToGlobal | Sync::Both)
    }
    /// On Kubernetes, objects of this kind live in a namespace.
    pub const fn namespaced(&self) -> bool {
        matches!(self.shape, Shape::SpecStatus) || matches!(self.role, Role::Secret) || self.provided_by_zone()
    }
    /// Objects belong to a mesh.
    pub const fn mesh_scoped(&self) -> bool {
        matches!(self.scope, Scope::Mesh)
    }
}

type Parse = fn(Meta, Value, Option<Value>) -> Result<AnyResource, serde_json::Error>;

fn parse<S: Spec>(meta: Meta, spec: Value, status: Option<Value>) -> Result<AnyResource, serde_json::Error> {
    let spec: S = serde_path_to_error::deserialize(spec).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        if path == "." { inner } else { serde_json::Error::custom(format!("{path}: {inner}")) }
    })?;
    let status = match status {
        Some(value) if S::DESCRIPTOR.has_status => serde_json::from_value(value)?,
        _ => S::Status::default(),
    };
    let body: Arc<dyn AnyBody> = Arc::new(Body { spec, status });
    Ok(AnyResource::of(meta, body))
}

macro_rules! registry {
    (resources: [$($resource:ident),* $(,)?], policies: [$($policy:ident),* $(,)?] $(,)?) => {
        kinds! { $(resources::$resource,)* $(policies::$policy,)* }

        impl Kind {
            /// Does something that needs the type of a policy kind; `None` for kinds that are none.
            pub fn with_policy<W: WithPolicy>(self, work: W) -> Option<W::Out> {
                match self {
                    $(Kind::$policy => Some(work.run::<crate::policies::$policy>()),)*
                    $(Kind::$resource)|* => None,
                }
            }
        }
    };
}

macro_rules! kinds {
    ($($module:ident :: $spec:ident,)*) => {
        /// A kind of resource that this build knows. The order is the order of the registry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(
                #[doc = concat!("See [`", stringify!($module), "`](crate::", stringify!($module), ").")]
                $spec,
            )*
        }

        impl Kind {
            /// Every kind, in registry order.
            pub const ALL: &'static [Kind] = &[$(Kind::$spec),*];

            /// The row of this kind.
            pub const fn descriptor(self) -> &'static Descriptor {
                match self {
                    $(Kind::$spec => &<crate::$module::$spec as Spec>::DESCRIPTOR,)*
                }
            }

            const fn parser(self) -> Parse {
                match self {
                    $(Kind::$spec => parse::<crate::$module::$spec>,)*
                }
            }

            /// Schema of the spec; see [`Spec::schema`].
            pub fn schema(self) -> Option<crate::schema::Schema> {
                match self {
                    $(Kind::$spec => <crate::$module::$spec as Spec>::schema(),)*
                }
            }

            /// Schema of the status; see [`Spec::status_schema`].
            pub fn status_schema(self) -> Option<crate::schema::Schema> {
                match self {
                    $(Kind::$spec => <crate::$module::$spec as Spec>::status_schema(),)*
                }
            }
        }
    };
}

registry! {
    resources: [
        Mesh,
        MeshInsight,
        Dataplane,
        DataplaneInsight,
        Zone,
        MeshService,
        HostnameGenerator,
        Workload,
        Secret,
        GlobalSecret,
    ],
    policies: [
        MeshHTTPRoute,
        MeshTCPRoute,
        MeshAccessLog,
        MeshTimeout,
        MeshCircuitBreaker,
        MeshRetry,
    ],
}

/// Work on policies of one kind, written once for all kinds; see [`Kind::with_policy`].
pub trait WithPolicy {
    /// What comes of it.
    type Out;

    /// Does it for the kind `P`.
    fn run<P: Policy>(self) -> Self::Out;
}

impl Kind {
    /// Kind with this type name (`MeshTimeout`), exact case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.descriptor().name == name)
    }
    /// Kind with this REST collection or its alias.
    pub fn by_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.descriptor().path == path || k.descriptor().alias == Some(path))
    }
    /// Kind with this short name.
    pub fn by_short(short: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.descriptor().short == Some(short))
    }
    /// Type name.
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }
    /// Decodes spec and status (JSON) of this kind; unknown fields are dropped.
    ///
    /// # Errors
    /// The decoder's text with the path of the field.
    pub fn decode(self, meta: Meta, spec: Value, status: Option<Value>) -> Result<AnyResource, serde_json::Error> {
        (self.parser())(meta, spec, status)
    }
    /// Decodes spec and status as they are stored; unknown fields are kept, see [`crate::foreign`].
    ///
    /// # Errors
    /// The decoder's text with the path of the field.
    pub fn decode_stored(
        self,
        meta: Meta,
        spec: Value,
        status: Option<Value>,
    ) -> Result<AnyResource, serde_json::Error> {
        let read = self.decode(meta, spec.clone(), status.clone())?;
        let foreign = Foreign::of(&*read.body, spec, status);
        Ok(AnyResource { foreign, ..read })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
