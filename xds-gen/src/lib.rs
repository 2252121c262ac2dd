//! xds-gen
