//! One database of a server, and SQL for assertions and faults.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::Stdio, thread};

use kuma_cp::{
    config,
    stores::{self, postgres::schema::Migrated},
};

use super::account::Account;

/// The name of the superuser.
pub const SUPERUSER: &str = "postgres";

/// A way in: a folder with a socket or an address, and who asks.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) host: PathBuf,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
}

impl Door {
    /// Runs statements, each in a transaction of its own, until one fails; rows as lines, columns split by `|`.
    pub(super) fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Account::get().postgres("psql");
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--host"]).arg(&self.host);
        command.args(["--port", &self.port.to_string(), "--username", &self.user, "--dbname", database]);
        command.env("PGPASSWORD", &self.password).env("PGCONNECT_TIMEOUT", "20").current_dir("/");
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It hangs up early when it cannot connect, and says why.
        let _ = psql.stdin.take().unwrap().write_all(sql.as_bytes());
        let output = psql.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub(super) fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{error}\nin {database}: {sql}"))
    }
}

/// A database with an owner of the same name, who is nobody special on the server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whom clients log in as.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// Where clients connect.
    pub address: SocketAddr,
    /// For the superuser: by the socket, whatever is wrong with the network.
    door: Door,
}

impl Database {
    pub(super) fn create(name: &str, password: String, address: SocketAddr, door: Door) -> Self {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain), "{name} would need quotes: use a-z, 0-9 and _");
        door.sql(
            SUPERUSER,
            &format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'; CREATE DATABASE {name} OWNER {name};"),
        );
        Self { name: name.to_owned(), user: name.to_owned(), password, address, door }
    }

    /// The same database at another address: of a relay, or of a replica.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    pub fn url(&self) -> String {
        format!("postgres://{}:{}@{}/{}", self.user, self.password, self.address, self.name)
    }

    /// The environment of a kuma-cp that keeps its resources here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KUMA_STORE_TYPE", "postgres".to_owned()),
            ("KUMA_STORE_POSTGRES_HOST", self.address.ip().to_string()),
            ("KUMA_STORE_POSTGRES_PORT", self.address.port().to_string()),
            ("KUMA_STORE_POSTGRES_USER", self.user.clone()),
            ("KUMA_STORE_POSTGRES_PASSWORD", self.password.clone()),
            ("KUMA_STORE_POSTGRES_DB_NAME", self.name.clone()),
        ]
    }

    /// The settings of a store that keeps its resources here.
    pub fn settings(&self) -> config::Postgres {
        config::Postgres {
            host: self.address.ip().to_string(),
            port: self.address.port().into(),
            user: self.user.clone(),
            password: self.password.as_str().into(),
            db_name: self.name.clone(),
            ..config::Postgres::default()
        }
    }

    /// Makes the tables of an empty database; it again. May be called within a runtime.
    pub fn migrated(self) -> Self {
        let settings = self.settings();
        let migrating = thread::spawn(move || {
            kuma_cp::tls::install_provider();
            tokio::runtime::Runtime::new().unwrap().block_on(stores::postgres::migrate(&settings)).unwrap()
        });
        assert!(matches!(migrating.join().unwrap(), Migrated::From { before: None, .. }), "the database is not empty");
        self
    }

    /// Runs statements as the superuser; rows as lines, columns split by `|`.
    pub fn sql(&self, sql: &str) -> String {
        self.door.sql(&self.name, sql)
    }

    /// The same; what the server says if it refuses.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.door.try_sql(&self.name, sql)
    }

    /// The same as its owner and by its address, as clients without TLS do.
    pub fn try_sql_as_owner(&self, sql: &str) -> Result<String, String> {
        let door = Door {
            host: self.address.ip().to_string().into(),
            port: self.address.port(),
            user: self.user.clone(),
            password: self.password.clone(),
        };
        door.try_sql(&self.name, sql)
    }

    /// How many clients are connected.
    pub fn connections(&self) -> usize {
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '{}'",
            self.name
        );
        self.door.sql(SUPERUSER, &count).parse().unwrap()
    }

    /// Has the server end all connections, as an administrator may; how many.
    pub fn cut_connections(&self) -> usize {
        let cut = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '{}'",
            self.name
        );
        self.door.sql(SUPERUSER, &cut).parse().unwrap()
    }
}
