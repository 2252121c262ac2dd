//! `store`: where resources are kept.

use std::path::Path;

use kuma_core::duration::GoDuration;

use crate::stores::postgres::lock::Absence;

use super::{
    check::Violations,
    password::Password,
    password_file::{self, PasswordFileError},
    setting::{is_zero, section},
};

section! {
    /// The store of resources.
    Store {
        /// `sqlite`, `memory`, `postgres` or `kubernetes`; empty: `sqlite`, or `kubernetes` in that environment.
        kind "type": String = String::new(), "KUMA_STORE_TYPE";
        /// The file of a single control plane.
        sqlite "sqlite": Sqlite;
        /// PostgreSQL.
        postgres "postgres": Postgres;
        /// The Kubernetes API.
        kubernetes "kubernetes": KubernetesStore;
        /// The read cache.
        cache "cache": Cache;
        /// Retries of writes that lost a race.
        upsert "upsert": Upsert;
        /// Skip the checks that keep a Mesh with Dataplanes, or a Zone that is online, from being deleted.
        unsafe_delete "unsafeDelete": bool = false, "KUMA_STORE_UNSAFE_DELETE";
    }
}

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreType {
    /// A file in the work directory.
    Sqlite,
    /// In this process only; gone when it ends.
    Memory,
    /// A PostgreSQL database.
    Postgres,
    /// The Kubernetes API.
    Kubernetes,
}

impl StoreType {
    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
            Self::Postgres => "postgres",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// The kind that a name stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sqlite, Self::Memory, Self::Postgres, Self::Kubernetes].into_iter().find(|t| t.as_str() == name)
    }
}

section! {
    /// The file of a single control plane.
    Sqlite {
        /// Folder of the file `kuma.db`; empty: the work directory.
        dir "dir": String = String::new(), "KUMA_STORE_SQLITE_DIR";
    }
}

section! {
    /// PostgreSQL.
    Postgres {
        /// Host of the database.
        host "host": String = "127.0.0.1".into(), "KUMA_STORE_POSTGRES_HOST";
        /// Port of the database.
        port "port": i64 = 15432, "KUMA_STORE_POSTGRES_PORT";
        /// User of the database.
        user "user": String = "kuma".into(), "KUMA_STORE_POSTGRES_USER";
        /// Password of the user.
        password "password": Password = "kuma".into(), "KUMA_STORE_POSTGRES_PASSWORD";
        /// File with the password, instead of `password`; read at every connect, so that a new one counts from then on. Kuma 3.0 does not know this key.
        password_file "passwordFile" skip "is_zero": String = String::new(), "KUMA_STORE_POSTGRES_PASSWORD_FILE";
        /// Name of the database.
        db_name "dbName": String = "kuma".into(), "KUMA_STORE_POSTGRES_DB_NAME";
        /// Only `pgx` works.
        driver_name "driverName": String = "pgx".into(), "KUMA_STORE_POSTGRES_DRIVER_NAME";
        /// Seconds to wait for a connection.
        connection_timeout "connectionTimeout": i64 = 5, "KUMA_STORE_POSTGRES_CONNECTION_TIMEOUT";
        /// After this long without use a connection is closed.
        max_connection_idle_time "maxConnectionIdleTime": GoDuration = GoDuration::from_mins(30), "KUMA_STORE_POSTGRES_MAX_CONNECTION_IDLE_TIME";
        /// Longest life of a connection.
        max_connection_lifetime "maxConnectionLifetime": GoDuration = GoDuration::from_hours(1), "KUMA_STORE_POSTGRES_MAX_CONNECTION_LIFETIME";
        /// Random addition to the life of a connection.
        max_connection_lifetime_jitter "maxConnectionLifetimeJitter": GoDuration = GoDuration::from_mins(1), "KUMA_STORE_POSTGRES_MAX_CONNECTION_LIFETIME_JITTER";
        /// How often idle connections are tried.
        health_check_interval "healthCheckInterval": GoDuration = GoDuration::from_secs(30), "KUMA_STORE_POSTGRES_HEALTH_CHECK_INTERVAL";
        /// Fewest open connections.
        min_open_connections "minOpenConnections": i64 = 0, "KUMA_STORE_POSTGRES_MIN_OPEN_CONNECTIONS";
        /// Most open connections; 0: no limit.
        max_open_connections "maxOpenConnections": i64 = 50, "KUMA_STORE_POSTGRES_MAX_OPEN_CONNECTIONS";
        /// Most idle connections.
        max_idle_connections "maxIdleConnections": i64 = 50, "KUMA_STORE_POSTGRES_MAX_IDLE_CONNECTIONS";
        /// An instance that has been without the database for so long sends its proxies to others; 0: 30 s. Kuma 3.0 does not know this key.
        hand_over_after "handOverAfter" skip "is_zero": GoDuration, "KUMA_STORE_POSTGRES_HAND_OVER_AFTER";
        /// One that the database has not heard of for so long counts as gone; 0: 60 s. Kuma 3.0 does not know this key.
        gone_after "goneAfter" skip "is_zero": GoDuration, "KUMA_STORE_POSTGRES_GONE_AFTER";
        /// So long after that, Dataplanes that its proxies had brought are removed; 0: 60 s. Kuma 3.0 does not know this key.
        remove_after "removeAfter" skip "is_zero": GoDuration, "KUMA_STORE_POSTGRES_REMOVE_AFTER";
        /// TLS towards the database.
        tls "tls": PostgresTls;
        /// A list restricted to fewer keys than this asks the database for those keys only; 0: never.
        max_list_query_elements "maxListQueryElements": u32 = 0, "KUMA_STORE_POSTGRES_MAX_LIST_QUERY_ELEMENTS";
        /// A second database that only reads go to.
        read_replica "readReplica": ReadReplica;
        /// Start on a schema that is newer than this program.
        tolerate_newer_db_versions "tolerateNewerDBVersions": bool = false, "KUMA_STORE_POSTGRES_TOLERATE_NEWER_DB_VERSIONS";
    }
}

section! {
    /// TLS towards the database.
    PostgresTls {
        /// `disable`, `verifyNone`, `verifyCa` or `verifyFull`.
        mode "mode": String = "disable".into(), "KUMA_STORE_POSTGRES_TLS_MODE";
        /// Client certificate; needs `keyPath`.
        cert_path "certPath": String = String::new(), "KUMA_STORE_POSTGRES_TLS_CERT_PATH";
        /// Client key; needs `certPath`.
        key_path "keyPath": String = String::new(), "KUMA_STORE_POSTGRES_TLS_KEY_PATH";
        /// CA of the database; required for `verifyCa` and `verifyFull`.
        ca_path "caPath": String = String::new(), "KUMA_STORE_POSTGRES_TLS_CA_PATH";
        /// Do not send the name of the host in the TLS handshake.
        disable_sslsni "disableSSLSNI": bool = false, "KUMA_STORE_POSTGRES_TLS_DISABLE_SSLSNI";
    }
}

section! {
    /// A second database that only reads go to.
    ReadReplica {
        /// Its host; empty: none.
        host "host": String = String::new(), "KUMA_STORE_POSTGRES_READ_REPLICA_HOST";
        /// Its port.
        port "port": u64 = 5432, "KUMA_STORE_POSTGRES_READ_REPLICA_PORT";
        /// Share of the reads that it gets, 0 to 100.
        ratio "ratio": u64 = 100, "KUMA_STORE_POSTGRES_READ_REPLICA_RATIO";
    }
}

section! {
    /// The Kubernetes API as a store.
    KubernetesStore {
        /// Namespace of the control plane; also the one that resources are shown in with `format=k8s`.
        system_namespace "systemNamespace": String = "kuma-system".into(), "KUMA_STORE_KUBERNETES_SYSTEM_NAMESPACE";
    }
}

section! {
    /// The read cache.
    Cache {
        /// Use it.
        enabled "enabled": bool = true, "KUMA_STORE_CACHE_ENABLED";
        /// How long an entry counts.
        expiration_time "expirationTime": GoDuration = GoDuration::from_secs(1), "KUMA_STORE_CACHE_EXPIRATION_TIME";
    }
}

section! {
    /// Retries of writes that lost a race.
    Upsert {
        /// First wait; doubles every time.
        conflict_retry_base_backoff "conflictRetryBaseBackoff": GoDuration = GoDuration::from_millis(200), "KUMA_STORE_UPSERT_CONFLICT_RETRY_BASE_BACKOFF";
        /// How often it is tried again.
        conflict_retry_max_times "conflictRetryMaxTimes": u64 = 10, "KUMA_STORE_UPSERT_CONFLICT_RETRY_MAX_TIMES";
        /// Random share of the wait, in percent.
        conflict_retry_jitter_percent "conflictRetryJitterPercent": u64 = 30, "KUMA_STORE_UPSERT_CONFLICT_RETRY_JITTER_PERCENT";
    }
}

impl Store {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        match StoreType::from_name(&self.kind) {
            // The environment decides.
            None if self.kind.is_empty() => {}
            None => out.push("Type should be either sqlite, postgres, kubernetes or memory"),
            Some(StoreType::Sqlite | StoreType::Memory) => {}
            Some(StoreType::Kubernetes) if self.kubernetes.system_namespace.is_empty() => {
                out.push("Kubernetes validation failed: SystemNamespace should not be empty");
            }
            Some(StoreType::Kubernetes) => {}
            Some(StoreType::Postgres) => out.nest("Postgres validation failed", self.postgres.check()),
        }
        out
    }
}

impl Postgres {
    /// The password that counts now: what is in the file, if there is one, else the configured one. To be asked for at
    /// every connect.
    ///
    /// # Errors
    /// A file that holds no password.
    pub fn current_password(&self) -> Result<Password, PasswordFileError> {
        if self.password_file.is_empty() {
            return Ok(self.password.clone());
        }
        password_file::read(Path::new(&self.password_file))
    }

    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.host.is_empty(), "Host should not be empty");
        out.unless(self.port >= 0, "Port cannot be negative");
        out.unless(!self.user.is_empty(), "User should not be empty");
        let given = !self.password_file.is_empty() || !self.password.reveal().is_empty();
        out.unless(given, "Password should not be empty");
        out.unless(!self.db_name.is_empty(), "DbName should not be empty");
        out.nest("TLS validation failed", self.tls.check());
        for (value, name) in [
            (self.hand_over_after, "HandOverAfter"),
            (self.gone_after, "GoneAfter"),
            (self.remove_after, "RemoveAfter"),
        ] {
            out.unless(!value.is_negative(), format!("{name} cannot be negative"));
        }
        let absence = Absence::of(self);
        let ordered = absence.hand_over < absence.gone;
        out.unless(
            ordered,
            "HandOverAfter should be less than GoneAfter: proxies need the time between to go elsewhere",
        );
        out.unless(self.min_open_connections >= 0, "MinOpenConnections should be greater than 0");
        let ordered = self.min_open_connections <= self.max_open_connections;
        out.unless(ordered, "MinOpenConnections should be less than MaxOpenConnections");
        out.unless(!self.max_connection_lifetime.is_negative(), "MaxConnectionLifetime should be greater than 0");
        let jitter = self.max_connection_lifetime_jitter;
        out.unless(!jitter.is_negative(), "MaxConnectionLifetimeJitter should be greater than 0");
        let ordered = jitter <= self.max_connection_lifetime;
        out.unless(ordered, "MaxConnectionLifetimeJitter should be less than MaxConnectionLifetime");
        out.unless(!self.health_check_interval.is_negative(), "HealthCheckInterval should be greater than 0");
        out.unless(self.read_replica.ratio <= 100, "ReadReplica validation failed: .Ratio out of [0-100] range");
        // One violation at a time, as published.
        out.first()
    }
}

impl PostgresTls {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        match self.mode.as_str() {
            "verifyCa" | "verifyFull" => out.unless(!self.ca_path.is_empty(), "CAPath cannot be empty"),
            "verifyNone" | "disable" => {}
            other => out.push(format!("invalid mode: {other}")),
        }
        let (cert, key) = (!self.cert_path.is_empty(), !self.key_path.is_empty());
        out.unless(key || !cert, "KeyPath cannot be empty when CertPath is provided");
        out.unless(cert || !key, "CertPath cannot be empty when KeyPath is provided");
        out.first()
    }
}
