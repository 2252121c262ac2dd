//! The cases, by what they are about.

mod faults;
mod names;
mod shop;
mod traffic;

use crate::Case;

/// All, in the order in which they run.
pub(crate) const ALL: &[Case] = &[
    ("two_services_talk", traffic::two_services_talk),
    ("header_splits_versions", traffic::header_splits_versions),
    ("timeout_takes_effect", traffic::timeout_takes_effect),
    ("a_name_for_an_address", names::a_name_for_an_address),
    ("control_plane_killed", faults::control_plane_killed),
    ("backend_killed", faults::backend_killed),
];
