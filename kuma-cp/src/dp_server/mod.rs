//! The server that data planes talk to: one TLS port with their bootstrap (HTTP), discovery and health (gRPC).

pub mod admin_ca;
pub mod ads;
pub mod bootstrap;
pub mod cleanup;
pub mod connect;
pub mod grpc;
pub mod handover;
pub mod hds;
pub mod insights;
pub mod leases;
pub mod remembered;
mod retry;
pub mod returning;
#[cfg(test)]
mod rig;

use std::sync::Arc;

use axum::{Router, extract::Path, extract::Request, response::IntoResponse, routing::post};
use tonic::Status;

use ads::Ads;
use hds::Hds;

/// Routes of the discovery service. Only delta is spoken; state of the world is refused with a reason.
pub fn discovery(ads: Arc<Ads>) -> Router {
    Router::new().route(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}",
        post(move |Path(method): Path<String>, request: Request| {
            let ads = ads.clone();
            async move {
                match method.as_str() {
                    "DeltaAggregatedResources" => ads.delta(request).into_response(),
                    "StreamAggregatedResources" => grpc::refuse(&Status::unimplemented(
                        "this control plane speaks delta xDS only: set api_type to DELTA_GRPC in the bootstrap",
                    ))
                    .into_response(),
                    _ => grpc::refuse(&Status::unimplemented("unknown method")).into_response(),
                }
            }
        }),
    )
}

/// Routes of the health discovery service. Without them the service is unknown, as it is when it is switched off.
pub fn health(hds: Arc<Hds>) -> Router {
    Router::new().route(
        "/envoy.service.health.v3.HealthDiscoveryService/{method}",
        post(move |Path(method): Path<String>, request: Request| {
            let hds = hds.clone();
            async move {
                match method.as_str() {
                    "StreamHealthCheck" => hds.stream(request).into_response(),
                    _ => {
                        grpc::refuse(&Status::unimplemented("health checks are served as streams only")).into_response()
                    }
                }
            }
        }),
    )
}
