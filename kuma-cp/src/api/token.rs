//! `POST /tokens/{user,dataplane,zone}`.

use axum::{http::StatusCode, response::Response};
use kuma_core::{duration::GoDuration, validate::Violations};
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
        Claims, IssueError, issue,
        request::{DataplaneTokenRequest, UserTokenRequest, ZoneTokenRequest},
    },
};

const TITLE: &str = "Could not issue a token";

/// Checks the request in the order that its kind of token has, and signs.
pub(super) fn token(context: &ApiContext, kind: Token, asked: &Asked) -> Result<Response, Problem> {
    let allowed = |action| context.access.check(&asked.user, action).map_err(|denied| Problem::denied(&denied));
    match kind {
        Token::User => {
            if !context.issue_user_tokens {
                return Err(Problem::issue(TITLE, &IssueError::Disabled));
            }
            let Some(request) = body::<UserTokenRequest>(asked) else { return Ok(unreadable()) };
            allowed(Action::GenerateUserToken)?;
            sign(context, asked, "", request.validate().map_err(invalid)?)
        }
        Token::Dataplane => {
            let Some(request) = body::<DataplaneTokenRequest>(asked) else { return Ok(unreadable()) };
            let (claims, valid_for) = request.validate().map_err(invalid)?;
            allowed(Action::GenerateDataplaneToken)?;
            let mesh = claims.mesh.clone();
            sign(context, asked, &mesh, (claims, valid_for))
        }
        Token::Zone => {
            let Some(request) = body::<ZoneTokenRequest>(asked) else { return Ok(unreadable()) };
            allowed(Action::GenerateZoneToken(&request.zone))?;
            sign(context, asked, "", request.validate().map_err(invalid)?)
        }
    }
}

fn sign<C: Claims>(
    context: &ApiContext,
    asked: &Asked,
    mesh: &str,
    (claims, valid_for): (C, GoDuration),
) -> Result<Response, Problem> {
    let token = issue(&claims, mesh, &*asked.state, (context.now)(), Uuid::new_v4(), valid_for);
    token.map(print::bare).map_err(|error| Problem::issue(TITLE, &error))
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
