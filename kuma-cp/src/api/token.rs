//! `POST /tokens/{user,dataplane,zone}`.

use std::{sync::Arc, time::Duration};

use axum::{http::StatusCode, response::Response};
use kuma_core::{duration::GoDuration, registry::Kind, resource::Key, state::MeshState, validate::Violations};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    context::{ApiContext, Asked},
    path::Token,
    print,
    problem::Problem,
};
use crate::{
    auth::Action,
    tokens::{
        Claims, IssueError, Purpose, issue,
        request::{DataplaneTokenRequest, UserTokenRequest, ZoneTokenRequest},
    },
};

/// Making a key takes a few tenths of a second.
const KEY_WAIT: Duration = Duration::from_secs(3);

const TITLE: &str = "Could not issue a token";

/// Checks the request in the order that its kind of token has, and signs.
pub(super) async fn token(context: &ApiContext, kind: Token, asked: &Asked) -> Result<Response, Problem> {
    let allowed = |action| context.access.check(&asked.user, action).map_err(|denied| Problem::denied(&denied));
    match kind {
        Token::User => {
            if !context.issue_user_tokens {
                return Err(Problem::issue(TITLE, &IssueError::Disabled));
            }
            let Some(request) = body::<UserTokenRequest>(asked) else { return Ok(unreadable()) };
            allowed(Action::GenerateUserToken)?;
            sign(context, asked, "", request.validate().map_err(invalid)?).await
        }
        Token::Dataplane => {
            let Some(request) = body::<DataplaneTokenRequest>(asked) else { return Ok(unreadable()) };
            let (claims, valid_for) = request.validate().map_err(invalid)?;
            allowed(Action::GenerateDataplaneToken)?;
            let mesh = claims.mesh.clone();
            sign(context, asked, &mesh, (claims, valid_for)).await
        }
        Token::Zone => {
            let Some(request) = body::<ZoneTokenRequest>(asked) else { return Ok(unreadable()) };
            allowed(Action::GenerateZoneToken(&request.zone))?;
            sign(context, asked, "", request.validate().map_err(invalid)?).await
        }
    }
}

async fn sign<C: Claims>(
    context: &ApiContext,
    asked: &Asked,
    mesh: &str,
    (claims, valid_for): (C, GoDuration),
) -> Result<Response, Problem> {
    let state = with_key(context, asked, &C::purpose(mesh)).await;
    let token = issue(&claims, mesh, &*state, (context.now)(), Uuid::new_v4(), valid_for);
    token.map(print::bare).map_err(|error| Problem::issue(TITLE, &error))
}

/// The newest state, once it has a key for `purpose`: a Mesh that has just been created gets its key a moment later.
/// A key that does not come is the signer's to report.
async fn with_key(context: &ApiContext, asked: &Asked, purpose: &Purpose<'_>) -> Arc<MeshState> {
    let mesh = Key::new(Kind::Mesh, "", purpose.mesh());
    let expected = purpose.mesh().is_empty() || asked.state.get(&mesh).is_some();
    let mut revisions = context.state.revisions();
    let comes =
        async { while purpose.newest_key(&*context.state.current()).is_none() && revisions.changed().await.is_ok() {} };
    if expected {
        // Without a key in time the state is what it is.
        let _ = tokio::time::timeout(KEY_WAIT, comes).await;
    }
    context.state.current()
}

fn body<R: DeserializeOwned>(asked: &Asked) -> Option<R> {
    serde_json::from_slice(&asked.body).ok()
}

/// Published without a body.
fn unreadable() -> Response {
    print::empty(StatusCode::BAD_REQUEST)
}

fn invalid(violations: Violations) -> Problem {
    let mut problem = Problem::invalid("Invalid request", violations);
    "Resource is not valid".clone_into(&mut problem.detail);
    problem
}
