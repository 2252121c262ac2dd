//! `runtime`: what only one environment knows, Kubernetes or universal.

use kuma_core::duration::GoDuration;

use super::{Environment, check::Violations, kubernetes::Kubernetes, setting::section};

section! {
    /// What only one environment knows.
    Runtime {
        /// On Kubernetes.
        kubernetes "kubernetes": Kubernetes;
        /// Everywhere else.
        universal "universal": Universal;
    }
}

section! {
    /// Outside of Kubernetes.
    Universal {
        /// A Dataplane that has been offline for so long is deleted.
        dataplane_cleanup_age "dataplaneCleanupAge": GoDuration = GoDuration::from_hours(72), "KUMA_RUNTIME_UNIVERSAL_DATAPLANE_CLEANUP_AGE";
        /// SPIRE.
        spire "spire": UniversalSpire;
        /// Workloads that are generated from Dataplanes.
        workload "workload": WorkloadGeneration;
    }
}

section! {
    /// SPIRE outside of Kubernetes.
    UniversalSpire {
        /// Socket of its agent.
        socket_path "socketPath": String = "/tmp/spire-agent/public/api.sock".into(), "KUMA_RUNTIME_UNIVERSAL_SPIRE_SOCKET_PATH";
    }
}

section! {
    /// Workloads that are generated from Dataplanes.
    WorkloadGeneration {
        /// Upper bound between two looks; 0: none are generated.
        generation_interval "generationInterval": GoDuration = GoDuration::from_secs(2), "KUMA_RUNTIME_UNIVERSAL_WORKLOAD_GENERATION_INTERVAL";
    }
}

impl Runtime {
    pub(super) fn check(&self, environment: Environment) -> Violations {
        let mut out = Violations::default();
        match environment {
            Environment::Kubernetes => out.nest("Kubernetes validation failed", self.kubernetes.check()),
            Environment::Universal => {
                out.unless(self.universal.dataplane_cleanup_age.is_positive(), ".DataplaneCleanupAge must be positive");
            }
        }
        out
    }
}
