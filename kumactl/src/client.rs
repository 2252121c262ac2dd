//! The REST client: one control plane, its trust and credentials, and its errors as texts.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use reqwest::{
    Client, Method,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use serde_json::Value;
use url::Url;

use crate::{
    config::{ApiServer, ControlPlane},
    trust::{self, Identity},
    unreachable::unreachable,
    version,
};

/// Items of a page; the most that a control plane gives.
const PAGE: usize = 1000;

/// A control plane that can be called.
pub struct Api {
    client: Client,
    base: Url,
    headers: HeaderMap,
}

/// What a control plane answered.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// An answer that is an error, as the published tool shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Title; empty if the body is no problem document.
    pub title: String,
    /// Detail.
    pub detail: String,
    /// Field and reason of each invalid parameter.
    pub parameters: Vec<(String, String)>,
    /// The body as it came.
    pub body: String,
}

impl std::fmt::Display for Problem {
    /// `title (detail)` and a bullet per invalid parameter; `(status): body` where the body is something else.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.title.is_empty() {
            return write!(f, "({}): {}", self.status, self.body);
        }
        write!(f, "{} ({})", self.title, self.detail)?;
        for (field, reason) in &self.parameters {
            write!(f, "\n* {field}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// On one line: `title (detail);field=reason ;...`.
    pub fn flat(&self) -> String {
        if self.title.is_empty() {
            return if self.status == 405 { self.body.clone() } else { self.to_string() };
        }
        let mut text = format!("{} ({})", self.title, self.detail);
        if !self.parameters.is_empty() {
            text.push(';');
            for (field, reason) in &self.parameters {
                text.push_str(&format!("{field}={reason} ;"));
            }
        }
        text
    }

    fn of(answer: &Answer) -> Self {
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let title = text("title");
        let list = |key: &str, reason: &str| -> Vec<(String, String)> {
            let items = json[key].as_array().into_iter().flatten();
            let part = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
            items.map(|item| (part(item, "field"), part(item, reason))).collect()
        };
        let mut parameters = list("invalid_parameters", "reason");
        if parameters.is_empty() {
            parameters = list("causes", "message");
        }
        let detail = Some(text("detail")).filter(|d| !d.is_empty()).unwrap_or_else(|| text("details"));
        Self { status: answer.status, title, detail, parameters, body: answer.body.clone() }
    }
}

impl Answer {
    /// The JSON of a good answer.
    ///
    /// # Errors
    /// [`Problem`] for any other status, or what is wrong with the JSON.
    pub fn json(self) -> Result<Value> {
        let body = self.text()?;
        serde_json::from_str(&body).context("the control plane answered something that is not JSON")
    }

    /// The text of a good answer.
    ///
    /// # Errors
    /// [`Problem`] for any other status.
    pub fn text(self) -> Result<String> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(Problem::of(&self).into()) }
    }

    /// The problem of a bad answer.
    pub fn problem(&self) -> Option<Problem> {
        (!(200..300).contains(&self.status)).then(|| Problem::of(self))
    }
}

impl Api {
    /// A client for a configured control plane. `timeout` bounds a whole request; zero is no limit.
    ///
    /// # Errors
    /// A URL, certificate or authentication that cannot be used, with the name of the control plane.
    pub fn new(control_plane: &ControlPlane, timeout: Duration) -> Result<Self> {
        let server = control_plane.coordinates.as_ref().and_then(|c| c.api_server.clone()).unwrap_or_default();
        Self::build(&server, timeout, true)
            .with_context(|| format!("failed to create a client for Control Plane {:?}", control_plane.name))
    }

    /// A client that does not authenticate, for checking a control plane before it is added.
    ///
    /// # Errors
    /// As [`Api::new`].
    pub fn unauthenticated(server: &ApiServer, timeout: Duration) -> Result<Self> {
        Self::build(server, timeout, false)
    }

    fn build(server: &ApiServer, timeout: Duration, authenticate: bool) -> Result<Self> {
        let base = Url::parse(&server.url).map_err(|e| anyhow!("Failed to parse API Server URL: {e}"))?;
        let mut builder = Client::builder().no_proxy();
        if !timeout.is_zero() {
            builder = builder.timeout(timeout);
        }
        if base.scheme() == "https" {
            builder = with_trust(builder, server)?;
        } else {
            // Nothing is verified over plain HTTP: reading the system's roots would only take time.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_str(&version::user_agent())?);
        for header in &server.headers {
            let name = HeaderName::from_bytes(header.key.as_bytes())
                .with_context(|| format!("{:?} is not the name of a header", header.key))?;
            let value = HeaderValue::from_str(&header.value)
                .with_context(|| format!("the value of header {name} cannot be sent"))?;
            if name == USER_AGENT {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        match server.auth_type.as_str() {
            "tokens" if authenticate => {
                let token = server.auth_conf.get("token").map(String::as_str).unwrap_or_default();
                headers.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
            }
            "" | "tokens" => {}
            other => return Err(anyhow!("authentication plugin of type {other:?} not found")),
        }
        Ok(Self { client: builder.build().context("could not configure HTTP client with TLS")?, base, headers })
    }

    /// Calls a path (with query) of the API.
    ///
    /// # Errors
    /// The call could not be made; an answer of any status is no error here.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let url = self.url(path)?;
        let mut request = self.client.request(method, url.clone()).headers(self.headers.clone());
        request = request.header(ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| unreachable(&url, &e))?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|e| unreachable(&url, &e))?;
        Ok(Answer { status, body })
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// A whole list, page by page, as one answer without a next page. `query` is what selects items, without `?`.
    ///
    /// # Errors
    /// [`Problem`] of any page, or as [`Api::call`].
    pub async fn list(&self, path: &str, query: &str) -> Result<Value> {
        let asked = |more: &str| {
            let query: Vec<&str> = [query, more].into_iter().filter(|q| !q.is_empty()).collect();
            if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
        };
        let mut whole = self.get(&asked("")).await?.json()?;
        let mut seen = BTreeSet::new();
        while let Some(offset) = next_offset(&whole) {
            if !seen.insert(offset.clone()) {
                return Err(anyhow!("the control plane repeats the page at offset {offset:?} of {path}"));
            }
            let offset: String = url::form_urlencoded::byte_serialize(offset.as_bytes()).collect();
            let mut page = self.get(&asked(&format!("size={PAGE}&offset={offset}"))).await?.json()?;
            whole["next"] = page["next"].take();
            if let (Some(items), Value::Array(more)) = (whole["items"].as_array_mut(), page["items"].take()) {
                items.extend(more);
            }
        }
        whole["next"] = Value::Null;
        Ok(whole)
    }

    fn url(&self, path: &str) -> Result<Url> {
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let mut url = self.base.clone();
        let joined = format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/'));
        url.set_path(&joined);
        url.set_query(query);
        Ok(url)
    }
}

/// Offset of the page after this one, from the URL that the page names.
pub fn next_offset(page: &Value) -> Option<String> {
    let (_, query) = page["next"].as_str()?.split_once('?')?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "offset").map(|(_, value)| value.into_owned())
}

fn with_trust(builder: reqwest::ClientBuilder, server: &ApiServer) -> Result<reqwest::ClientBuilder> {
    let identity = identity(server)?;
    if !server.skip_verify && !server.ca_cert_file.is_empty() {
        let pem = std::fs::read(&server.ca_cert_file)
            .with_context(|| format!("could not read CA cert: {}", server.ca_cert_file))?;
        return Ok(builder.tls_backend_preconfigured(trust::client_config(&pem, identity.as_ref())?));
    }
    let mut builder = builder;
    if server.skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true).tls_danger_accept_invalid_hostnames(true);
    }
    if let Some(Identity { certificate, key }) = identity {
        let pem = [certificate, key].join(&b'\n');
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|e| anyhow!("could not create key pair from client cert and client key: {e}"))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

/// Certificate and key of the client, if both are given.
fn identity(server: &ApiServer) -> Result<Option<Identity>> {
    if server.client_cert_file.is_empty() || server.client_key_file.is_empty() {
        return Ok(None);
    }
    let read = |path: &str| {
        std::fs::read(path)
            .with_context(|| format!("could not create key pair from client cert and client key: {path}"))
    };
    Ok(Some(Identity { certificate: read(&server.client_cert_file)?, key: read(&server.client_key_file)? }))
}
