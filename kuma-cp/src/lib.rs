//! The Kuma control plane: a shell of stores, servers and controllers around the pure domain.

pub mod api;
pub mod auth;
pub mod cli;
pub mod compose;
pub mod config;
pub mod controllers;
pub mod diagnostics;
pub mod dp_server;
pub mod envoy_admin;
pub mod leadership;
pub mod logging;
pub mod ownership;
pub mod run;
pub mod serve;
pub mod service;
pub mod state;
pub mod stores;
pub mod tls;
pub mod tokens;
pub mod version;
pub mod world;
