//! The cases, by what they are about.

mod faults;
mod shop;
mod traffic;

use crate::Case;

/// All, in the order in which they run.
pub(crate) const ALL: &[Case] = &[
    ("two_services_talk", traffic::two_services_talk),
    ("header_splits_versions", traffic::header_splits_versions),
    ("timeout_takes_effect", traffic::timeout_takes_effect),
    ("control_plane_killed", faults::control_plane_killed),
    ("backend_killed", faults::backend_killed),
];
