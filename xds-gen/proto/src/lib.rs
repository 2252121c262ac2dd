//! xds-gen/proto
