//! What the control plane does by itself: objects that must exist, keys that take time to make, and everything that is
//! derived from other resources. All of it reacts to changes; nothing polls.

pub mod boot;
pub mod derive;
pub mod dns;
pub mod kept;
pub mod keys;
pub mod local_trust;
