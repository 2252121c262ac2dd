//! Hostnames of destinations: a generator's template applied to a service.

pub mod template;

use crate::{
    meta::{Labels, Meta},
    names,
};
use template::{Data, ExecError, LabelSource, ParseError, Template};

/// Why a generator gives a service no hostname. The texts are shown in conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// The template is none.
    #[error("failed compiling gotemplate error={:?}", .0.to_string())]
    Template(#[from] ParseError),
    /// The template asks for what the service does not have.
    #[error("pre evaluation of template with parameters failed with error={:?}", .0.to_string())]
    Evaluation(#[from] ExecError),
    /// The result is no DNS name.
    #[error("generated hostname {hostname:?} is not a valid DNS name: {reasons}")]
    Dns {
        /// What was generated.
        hostname: String,
        /// What is wrong with it.
        reasons: String,
    },
}

/// What a template cannot be used for, whatever the service. The texts are shown in violations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// There is no text.
    #[error("must not be empty")]
    Empty,
    /// It is no template.
    #[error("couldn't parse template: {0}")]
    Parse(#[from] ParseError),
    /// It asks for something that no service has.
    #[error("couldn't render template with stub values: {0}")]
    Render(#[from] ExecError),
    /// With simple values it does not become a DNS name.
    #[error("template renders to {hostname:?} which is not a valid DNS name: {reasons}")]
    Dns {
        /// What it becomes.
        hostname: String,
        /// What is wrong with it.
        reasons: String,
    },
}

/// A template ready to be applied to many services.
#[derive(Clone, Debug)]
pub struct Hostnames {
    template: Result<Template, ParseError>,
}

impl Hostnames {
    /// From the text of a template; a fault of it is told by each [`Self::of`].
    pub fn new(template: &str) -> Self {
        Self { template: Template::parse(template) }
    }

    /// The hostname of the service with this metadata, unchecked. `name` is the object's name, which on Kubernetes is
    /// not the storage name; `local_zone` stands in for a missing zone label.
    ///
    /// # Errors
    /// A fault of the template.
    pub fn unchecked(&self, meta: &Meta, name: &str, local_zone: &str) -> Result<String, HostnameError> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let labels: &Labels = &meta.labels;
        let label = |key| meta.label(key);
        let data = Data {
            name,
            display_name: label(crate::meta::label::DISPLAY_NAME).unwrap_or(name),
            namespace: meta.namespace(),
            mesh: &meta.mesh,
            zone: label(crate::meta::label::ZONE).unwrap_or(local_zone),
            labels: LabelSource::Labels(labels),
            type_name: "hostname.meshedName",
        };
        Ok(template.render(&data)?)
    }

    /// [`Self::unchecked`], if it is a DNS name.
    ///
    /// # Errors
    /// A fault of the template or of the result.
    pub fn of(&self, meta: &Meta, name: &str, local_zone: &str) -> Result<String, HostnameError> {
        let hostname = self.unchecked(meta, name, local_zone)?;
        match dns_faults(&hostname) {
            Some(reasons) => Err(HostnameError::Dns { hostname, reasons }),
            None => Ok(hostname),
        }
    }
}

/// What is wrong with a template, tried with simple values.
///
/// # Errors
/// The first fault.
pub fn check_template(text: &str) -> Result<(), TemplateFault> {
    if text.is_empty() {
        return Err(TemplateFault::Empty);
    }
    let stub = Data {
        name: "name",
        display_name: "displayname",
        namespace: "namespace",
        mesh: "mesh",
        zone: "zone",
        labels: LabelSource::Always("label"),
        type_name: "struct { Name string; DisplayName string; Namespace string; Mesh string; Zone string }",
    };
    let hostname = Template::parse(text)?.render(&stub)?;
    match dns_faults(&hostname) {
        Some(reasons) => Err(TemplateFault::Dns { hostname, reasons }),
        None => Ok(()),
    }
}

fn dns_faults(hostname: &str) -> Option<String> {
    let faults = names::dns1123_subdomain(hostname);
    (!faults.is_empty()).then(|| faults.join(", "))
}
