//! The cases, by what they are about.

mod access_logs;
mod departures;
mod faults;
mod folders;
mod impostors;
mod input;
mod instances;
mod metrics;
mod names;
mod refusals;
mod shop;
mod starts;
mod traffic;

use crate::Case;

/// All, in the order in which they run.
pub(crate) const ALL: &[Case] = &[
    ("two_services_talk", traffic::two_services_talk),
    ("header_splits_versions", traffic::header_splits_versions),
    ("timeout_takes_effect", traffic::timeout_takes_effect),
    ("a_line_for_each_request", access_logs::a_line_for_each_request),
    ("routes_write_apart", access_logs::routes_write_apart),
    ("lines_reach_a_server", access_logs::lines_reach_a_server),
    ("a_server_speaks_first", access_logs::a_server_speaks_first),
    ("a_name_for_an_address", names::a_name_for_an_address),
    ("forgetful_control_plane_killed", faults::forgetful_control_plane_killed),
    ("remembering_control_plane_killed", faults::remembering_control_plane_killed),
    ("backend_stopped", faults::backend_stopped),
    ("backend_killed", faults::backend_killed),
    ("envoy_killed", faults::envoy_killed),
    ("instance_ends", instances::instance_ends),
    ("instance_stands_still", instances::instance_stands_still),
    ("a_thousand_streams_move", departures::a_thousand_streams_move),
    ("database_away", instances::database_away),
    ("instance_cut_off", instances::instance_cut_off),
    ("taken_port_is_refused", refusals::taken_port_is_refused),
    ("bad_regex_is_refused", refusals::bad_regex_is_refused),
    ("bad_bodies_change_nothing", input::bad_bodies_change_nothing),
    ("bad_bootstraps_are_refused", input::bad_bootstraps_are_refused),
    ("bad_files_change_nothing", input::bad_files_change_nothing),
    ("failed_starts_are_told", starts::failed_starts_are_told),
    ("taken_ports_are_told", starts::taken_ports_are_told),
    ("unusable_folders_are_told", folders::unusable_folders_are_told),
    ("full_disk_is_told_and_survived", folders::full_disk_is_told_and_survived),
    ("tokens_are_for_their_workloads", impostors::tokens_are_for_their_workloads),
    ("one_name_twice_is_told", impostors::one_name_twice_is_told),
    ("state_of_the_world_is_refused", impostors::state_of_the_world_is_refused),
    ("cheaper_tags_make_the_same_metrics", metrics::cheaper_tags_make_the_same_metrics),
];
