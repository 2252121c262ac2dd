//! A second server that follows another one, and can take its place.

use super::{Account, Folder, Postgres, SUPERUSER, Settings, run};
use crate::harness::until;

impl Postgres {
    /// Copies this server and starts the copy, which from then on gets every change and refuses to make any.
    ///
    /// It connects by the socket, with `application_name` `replica`. It has the settings and passwords of this server
    /// but no TLS.
    pub fn replica(&self) -> Self {
        let folder = Folder::create();
        let mut copy = Account::get().postgres("pg_basebackup");
        copy.arg("--pgdata").arg(folder.path().join("data")).arg("--host").arg(self.socket_folder());
        copy.args(["--port", &self.port.to_string(), "--username", SUPERUSER, "--no-password"]);
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--no-sync"]).env("PGPASSWORD", &self.password);
        run(copy, folder.path());
        folder.write("data/standby.signal", "");
        let primary = format!(
            "host='{}' port={} user={SUPERUSER} password={} application_name=replica",
            self.socket_folder().display(),
            self.port,
            self.password
        );
        let settings = Settings { tls: None, ..self.settings.clone() };
        Self::boot(folder, settings, self.password.clone(), &[("primary_conninfo", &primary)])
    }

    /// Waits until this replica has applied everything that its primary has written so far.
    pub fn catches_up_with(&self, primary: &Self) {
        let written = primary.sql("SELECT pg_current_wal_insert_lsn()");
        let applied = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        until("a replica that catches up", || self.sql(&applied) == "t");
    }

    /// Makes this replica a server of its own, which takes changes; what it has not got from its primary by now is lost.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t", "the replica was not promoted within a minute");
    }
}
