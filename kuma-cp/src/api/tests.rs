//! The API asked in the process.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::connect_info::ConnectInfo,
    http::Request,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// An API over an empty store, and its status and body for a request from this machine.
struct Api(Router);

impl Api {
    async fn with(change: impl FnOnce(&mut ApiContext)) -> Self {
        let mut context = over_memory(Site::zone("default"), []).await.unwrap();
        change(&mut context);
        Self(router(context.into(), Scheme::Http))
    }

    async fn new() -> Self {
        let api = Self::with(|_| {}).await;
        assert_eq!(api.put("/meshes/default", json!({"type": "Mesh", "name": "default"})).await.0, 201);
        api
    }

    async fn send(&self, request: Request<Body>) -> Response {
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 40000))));
        self.0.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<String>) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:5681");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.into()),
            None => request.body(Body::empty()),
        };
        let response = self.send(request.unwrap()).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, None).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, body) = self.ask("PUT", path, Some(body.to_string())).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

fn proxy(name: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {"address": "10.0.0.1", "inbound": [{"port": 80}]},
    })
}

#[tokio::test]
async fn what_was_written_is_read() {
    let api = Api::new().await;
    let path = "/meshes/default/dataplanes/web-1";
    assert_eq!(api.put(path, proxy("web-1")).await, (201, json!({})));
    assert_eq!(api.put(path, proxy("web-1")).await, (200, json!({})));
    let (status, read) = api.get(path).await;
    assert_eq!((status, &read["networking"]["address"]), (200, &json!("10.0.0.1")));
    assert_eq!(read["labels"]["kuma.io/origin"], "zone");
    assert_eq!(api.get("/meshes/default/dataplanes").await.1["total"], 1);
    assert_eq!(api.ask("DELETE", path, None).await, (200, "{}\n".into()));
    let (status, problem) = api.get(path).await;
    assert_eq!((status, &problem["title"]), (404, &json!("Could not retrieve a resource")));
}

#[tokio::test]
async fn path_and_body_agree() {
    let api = Api::new().await;
    let (status, problem) = api.put("/meshes/default/dataplanes/web-1", proxy("web-2")).await;
    assert_eq!(status, 400);
    assert_eq!(
        problem["invalid_parameters"],
        json!([{"field": "name", "reason": "name from the URL has to be the same as in body"}])
    );
    let (status, problem) = api.put("/meshes/none/dataplanes/web-1", proxy("web-1")).await;
    assert_eq!((status, &problem["title"]), (404, &json!("Failed to retrieve Mesh")));
}

#[tokio::test]
async fn a_mesh_in_use_stays() {
    let api = Api::new().await;
    api.put("/meshes/default/dataplanes/web-1", proxy("web-1")).await;
    let (status, body) = api.ask("DELETE", "/meshes/default", None).await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("unable to delete mesh, there are still some dataplanes attached"), "{body}");
}

#[tokio::test]
async fn the_form_of_requests() {
    let api = Api::new().await;
    for (method, path, status, text) in [
        ("GET", "/nonsense", 404, "404: Page Not Found"),
        ("POST", "/meshes", 405, "405: Method Not Allowed"),
        ("PUT", "/meshes/m", 415, "415: Unsupported Media Type"),
    ] {
        assert_eq!(api.ask(method, path, None).await, (status, text.into()), "{method} {path}");
    }
    let request = Request::get("/meshes").header("accept", "text/html").body(Body::empty()).unwrap();
    assert_eq!(api.send(request).await.status(), 406);
    let response = api.send(Request::get("//meshes?size=1").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (307, &"/meshes?size=1".parse().unwrap())
    );
}

#[tokio::test]
async fn long_bodies_are_refused() {
    let api = Api::with(|context| context.settings.max_body = 100).await;
    let (status, body) = api.ask("PUT", "/meshes/m", Some("x".repeat(101))).await;
    assert_eq!(status, 413, "{body}");
    assert!(body.contains("longer than 100 bytes"), "{body}");
}

#[tokio::test]
async fn secrets_are_for_admins() {
    let api = Api::with(|context| context.authenticator.localhost_is_admin = false).await;
    let (status, body) = api.get("/global-secrets").await;
    assert_eq!((status, &body["title"]), (403, &json!("Access Denied")));
    assert_eq!(api.get("/global-secrets/x").await.0, 403);
    assert_eq!(api.get("/who-am-i").await.1["name"], "mesh-system:anonymous");
}

#[tokio::test]
async fn pages_link_to_the_next_one() {
    let api = Api::new().await;
    for name in ["a", "b", "c"] {
        api.put(&format!("/meshes/default/dataplanes/{name}"), proxy(name)).await;
    }
    let (_, page) = api.get("/dataplanes?size=2").await;
    assert_eq!(page["next"], "http://127.0.0.1:5681/dataplanes?offset=2&size=2");
    let (_, last) = api.get("/dataplanes?size=2&offset=2").await;
    assert_eq!((&last["next"], &last["total"], &last["items"][0]["name"]), (&Value::Null, &json!(3), &json!("c")));
}

#[tokio::test]
async fn a_new_mesh_has_its_policies_and_its_key() {
    let api = Api::with(|context| {
        context.companions = Arc::new(MeshDefaults { site: context.site.labels.clone() });
    })
    .await;
    let mesh = json!({"type": "Mesh", "name": "m", "skipCreatingInitialPolicies": ["MeshRetry"]});
    assert_eq!(api.put("/meshes/m", mesh).await, (201, json!({})));
    let names = async |path: &str| {
        let (_, list) = api.get(path).await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|i| i["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/meshes/m/meshtimeouts").await, ["mesh-timeout-all-m", "mesh-timeout-to-all-m"]);
    assert!(names("/meshes/m/meshretries").await.is_empty());
    assert_eq!(names("/meshes/m/secrets").await, ["dataplane-token-signing-key-m-1"]);
    let (status, token) = api.ask("POST", "/tokens/dataplane", Some(r#"{"mesh": "m", "name": "web-1"}"#.into())).await;
    assert_eq!((status, token.split('.').count()), (200, 3), "{token}");
    assert_eq!(api.ask("DELETE", "/meshes/m", None).await.0, 200);
    assert_eq!(api.get("/meshtimeouts").await.1["total"], 0);
    assert_eq!(api.get("/secrets").await.1["total"], 0);
}

#[tokio::test]
async fn a_configuration_makes_an_api() {
    let parts = over_memory(Site::zone("default"), []).await.unwrap();
    let mut config = crate::config::Config::default();
    config.api_server.base_path = "/api".into();
    config.api_server.authn.localhost_is_admin = false;
    let context = ApiContext::of(&config, "cp-1", parts.store, parts.state, parts.inspect).unwrap();
    let api = Api(router(context.into(), Scheme::Http));
    let (status, index) = api.get("/api").await;
    assert_eq!((status, &index["instanceId"], &index["gui"]), (200, &json!("cp-1"), &json!("/gui")));
    assert_eq!(api.get("/meshes").await.0, 404);
    let (_, shown) = api.get("/api/config").await;
    assert_eq!(shown["apiServer"]["basePath"], "/api");
    let user = Some(r#"{"name": "ann", "validFor": "1h"}"#.to_owned());
    let (status, body) = api.ask("POST", "/tokens/user", user).await;
    assert_eq!(status, 403, "{body}");
}

fn insight(name: &str) -> kuma_core::resource::AnyResource {
    let spec = json!({"subscriptions": [{"id": "1", "connectTime": "2026-01-05T10:00:00Z"}], "metadata": {}});
    let meta = kuma_core::meta::Meta::new("default", name, kuma_core::meta::Labels::new());
    kuma_core::registry::Kind::DataplaneInsight.decode(meta, spec, None).unwrap()
}

#[tokio::test]
async fn views_of_a_connected_proxy() {
    let parts = over_memory(Site::zone("default"), [insight("web-1")]).await.unwrap();
    let api = Api(router(parts.into(), Scheme::Http));
    api.put("/meshes/default", json!({"type": "Mesh", "name": "default"})).await;
    let path = "/meshes/default/dataplanes/web-1";
    api.put(path, proxy("web-1")).await;
    let (_, list) = api.get("/dataplanes/_overview").await;
    assert_eq!(list["items"][0]["type"], "DataplaneOverview");
    assert_eq!(list["items"][0]["dataplaneInsight"]["subscriptions"][0]["id"], "1");
    assert_eq!(api.get("/global-insight").await.1["dataplanes"]["standard"]["online"], 1);
    let timeout = json!({
        "type": "MeshTimeout", "mesh": "default", "name": "trial", "labels": {"kuma.io/effect": "shadow"},
        "spec": {"rules": [{"default": {"connectionTimeout": "33s"}}]},
    });
    assert_eq!(api.put("/meshes/default/meshtimeouts/trial", timeout).await.0, 201);
    let (status, config) = api.get(&format!("{path}/_config?include=diff&shadow=true")).await;
    assert_eq!(status, 200, "{config}");
    let added: Vec<&Value> =
        config["diff"].as_array().unwrap().iter().filter(|op| op["op"] == "add").map(|op| &op["value"]).collect();
    assert_eq!(added, [&json!("33s")]);
    assert!(config["xds"]["type.googleapis.com/envoy.config.listener.v3.Listener"].is_object());
    assert_eq!(api.get(&format!("{path}/_config?include=diff")).await.1["diff"], json!([]));
    for (view, status, title) in [
        ("_config?include=x", 400, "Bad Request"),
        ("_config?shadow=x", 400, "Bad Request"),
        ("_outbounds/x/_policies", 400, "Bad Request"),
        ("_inbounds/kri_dp_default___web-1_none/_policies", 500, "Failed building response"),
        ("stats", 500, "Could not execute admin operation"),
        ("nonsense", 404, "Could not execute admin operation"),
    ] {
        let (found, problem) = api.get(&format!("{path}/{view}")).await;
        assert_eq!((found, &problem["title"]), (status, &json!(title)), "{view}");
    }
    let (status, problem) = api.get("/meshes/default/dataplanes/none/_layout").await;
    assert_eq!((status, &problem["title"]), (404, &json!("Failed to retrieve Dataplane")));
}

#[tokio::test]
async fn a_mesh_is_counted_when_it_is_asked_for() {
    let decode = |kind: kuma_core::registry::Kind, mesh: &str, name: &str, spec: Value| {
        kind.decode(kuma_core::meta::Meta::new(mesh, name, kuma_core::meta::Labels::new()), spec, None).unwrap()
    };
    let connected = |name: &str, version: &Value| {
        let spec = json!({
            "subscriptions": [{"id": "1", "connectTime": "2026-01-05T10:00:00Z", "version": version}],
            "mTLS": {"issuedBackend": "kri_mid_m___id_", "supportedBackends": ["kri_mtrust_m___a_", "kri_mtrust_m___b_"]},
        });
        decode(Kind::DataplaneInsight, "m", name, spec)
    };
    let versions = json!({"kumaDp": {"version": "3.0.0"}, "envoy": {"version": "1.40.0"}});
    let dataplane =
        |name: &str, networking: Value| decode(Kind::Dataplane, "m", name, json!({"networking": networking}));
    let inbounds = json!({"inbound": [{"port": 80}, {"port": 81, "state": "NotReady"}]});
    let resources = [
        decode(Kind::Mesh, "", "m", json!({})),
        decode(Kind::Mesh, "", "empty", json!({})),
        dataplane("ready", json!({"inbound": [{"port": 80}]})),
        dataplane("partly", inbounds),
        dataplane("away", json!({"inbound": [{"port": 80}]})),
        dataplane("gateway", json!({"gateway": {"type": "DELEGATED", "tags": {"kuma.io/service": "g"}}})),
        connected("ready", &versions),
        connected("partly", &Value::Null),
        connected("gateway", &versions),
    ];
    let api = Api(router(over_memory(Site::zone("default"), resources).await.unwrap().into(), Scheme::Http));
    let (status, mut insight) = api.get("/mesh-insights/m").await;
    assert_eq!(status, 200);
    for time in ["creationTime", "modificationTime"] {
        assert!(insight.as_object_mut().unwrap().remove(time).is_some_and(|t| t.as_str() > Some("2000")), "{insight}");
    }
    let all = json!({"total": 3, "online": 2, "partiallyDegraded": 1});
    assert_eq!(
        insight,
        json!({
            "type": "MeshInsight", "name": "m",
            "dataplanes": {"total": 4, "online": 2, "offline": 1, "partiallyDegraded": 1},
            "dataplanesByType": {
                "standard": {"total": 3, "online": 1, "offline": 1, "partiallyDegraded": 1},
                "gateway": {"total": 1, "online": 1},
                "gatewayDelegated": {"total": 1, "online": 1},
            },
            "dpVersions": {
                "kumaDp": {"3.0.0": {"total": 2, "online": 2}, "unknown": {"total": 2, "offline": 1, "partiallyDegraded": 1}},
                "envoy": {"1.40.0": {"total": 2, "online": 2}, "unknown": {"total": 2, "offline": 1, "partiallyDegraded": 1}},
            },
            "mTLS": {
                "issuedBackends": {"kri_mid_m___id_": all},
                "supportedBackends": {"kri_mtrust_m___a_": all, "kri_mtrust_m___b_": all},
            },
            "resources": {"Dataplane": {"total": 4}},
        })
    );
    let (_, list) = api.get("/mesh-insights").await;
    let names = |list: &Value| list["items"].as_array().unwrap().iter().map(|i| i["name"].clone()).collect::<Vec<_>>();
    assert_eq!((&list["total"], names(&list)), (&json!(2), vec![json!("empty"), json!("m")]));
    assert_eq!(list["items"][0]["dataplanes"], json!({}));
    let (_, page) = api.get("/mesh-insights?size=1").await;
    assert_eq!((names(&page), page["next"].is_string()), (vec![json!("empty")], true));
    assert_eq!(names(&api.get("/mesh-insights?name=m").await.1), ["empty", "m"]);
    assert_eq!(names(&api.get("/mesh-insights?name=emp").await.1), ["empty"]);
    let (status, problem) = api.get("/mesh-insights/none").await;
    assert_eq!((status, &problem["title"]), (404, &json!("Could not retrieve a resource")));
    let (status, problem) = api.put("/mesh-insights/m", json!({"type": "MeshInsight", "name": "m"})).await;
    assert_eq!((status, &problem["title"]), (405, &json!("Method not allowed")));
}

#[tokio::test]
async fn pages_of_other_origins() {
    let api = Api::with(|context| context.settings.cors_origins = vec!["https://a.example".into()]).await;
    let ask = async |method: &str, origin: &str, preflight: Option<&str>| {
        let mut request = Request::builder().method(method).uri("/meshes/m").header("origin", origin);
        if let Some(method) = preflight {
            request = request.header("access-control-request-method", method);
        }
        let response = api.send(request.body(Body::empty()).unwrap()).await;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), header("access-control-allow-origin"), header("access-control-allow-methods"))
    };
    let known = Some("https://A.example".to_owned());
    assert_eq!(ask("GET", "https://A.example", None).await, (404, known.clone(), None));
    assert_eq!(ask("GET", "https://b.example", None).await, (404, None, None));
    let methods = Some("GET, PUT, DELETE".to_owned());
    assert_eq!(ask("OPTIONS", "https://A.example", Some("PUT")).await, (200, known, methods));
    assert_eq!(ask("OPTIONS", "https://A.example", Some("PATCH")).await, (200, None, None));
    assert_eq!(ask("OPTIONS", "https://b.example", Some("PUT")).await, (405, None, None));
}

#[tokio::test]
async fn writes_at_the_same_time_create_once() {
    let api = Api::new().await;
    let path = "/meshes/default/dataplanes/web-1";
    let all = futures::future::join_all((0..20).map(|_| api.put(path, proxy("web-1")))).await;
    let created = all.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(created, 1, "{all:?}");
    assert!(all.iter().all(|(status, _)| [200, 201, 409].contains(status)), "{all:?}");
}

#[tokio::test]
async fn what_a_resource_was_is_told() {
    let api = Api::new().await;
    let path = "/meshes/default/meshtimeouts/t";
    let history = format!("{path}/_history");
    let timeout = |seconds: u32| {
        let default = json!({"connectionTimeout": format!("{seconds}s")});
        let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": default}]});
        json!({"type": "MeshTimeout", "mesh": "default", "name": "t", "spec": spec})
    };
    assert_eq!(api.get(&history).await.0, 404);
    for (seconds, status) in [(1, 201), (2, 200), (2, 200)] {
        assert_eq!(api.put(path, timeout(seconds)).await.0, status);
    }
    assert_eq!(api.ask("DELETE", path, None).await.0, 200);
    assert_eq!(api.put(path, timeout(3)).await.0, 201);

    let (status, told) = api.get(&history).await;
    assert_eq!((status, &told["total"], &told["next"]), (200, &json!(4), &Value::Null), "{told}");
    let items = told["items"].as_array().unwrap();
    let of = |item: &Value| item["resource"]["spec"]["to"][0]["default"]["connectionTimeout"].clone();
    let seen: Vec<_> = items.iter().map(|i| (i["revision"].clone(), i["action"].clone(), of(i))).collect();
    let expected = [
        (json!(4), json!("created"), json!("3s")),
        (json!(3), json!("deleted"), Value::Null),
        (json!(2), json!("updated"), json!("2s")),
        (json!(1), json!("created"), json!("1s")),
    ];
    assert_eq!(seen, expected, "a write that changes nothing is none");
    assert!(items.iter().all(|i| i["author"] == json!({"type": "user", "name": "mesh-system:admin"})), "{told}");
    assert!(items[1].get("resource").is_none() && items[2]["resource"].get("status").is_none());
    assert_eq!(items[2]["resource"]["creationTime"], items[3]["time"]);
    assert_eq!(items[2]["resource"]["modificationTime"], items[2]["time"]);

    let (status, old) = api.get(&format!("{path}?revision=1")).await;
    assert_eq!((status, &old["name"], of(&json!({"resource": old}))), (200, &json!("t"), json!("1s")));
    let (status, old) = api.get(&format!("{path}?revision=1&format=k8s")).await;
    assert_eq!((status, &old["kind"]), (200, &json!("MeshTimeout")));
    for (revision, status, detail) in [
        ("3", 404, "The resource was deleted at revision 3"),
        ("9", 404, "There is no revision 9: 1 to 4 are kept"),
        ("0", 400, "Resource is not valid"),
        ("x", 400, "Resource is not valid"),
    ] {
        let (found, problem) = api.get(&format!("{path}?revision={revision}")).await;
        assert_eq!((found, &problem["detail"]), (status, &json!(detail)));
    }
    let (status, problem) = api.get("/meshes/default/dataplane-insights/d?revision=1").await;
    assert_eq!(status, 400, "{problem}");
}

#[tokio::test]
async fn histories_outlive_their_mesh() {
    let api = Api::new().await;
    let path = "/meshes/m/dataplanes/web-1";
    assert_eq!(api.put("/meshes/m", json!({"type": "Mesh", "name": "m"})).await.0, 201);
    let mut object = proxy("web-1");
    object["mesh"] = "m".into();
    assert_eq!(api.put(path, object).await.0, 201);
    assert_eq!(api.ask("DELETE", path, None).await.0, 200);
    assert_eq!(api.ask("DELETE", "/meshes/m", None).await.0, 200);
    assert_eq!(api.get(path).await.0, 404);
    assert_eq!(api.get(&format!("{path}/_history")).await.1["total"], 2);
    assert_eq!(api.get(&format!("{path}?revision=1")).await.1["networking"]["address"], "10.0.0.1");
    assert_eq!(api.get("/meshes/m/_history").await.1["total"], 2);
}

#[tokio::test]
async fn histories_of_secrets_are_for_admins_and_without_secrets() {
    let secret = |data: &str| json!({"type": "GlobalSecret", "name": "s", "data": data});
    let api = Api::with(|_| {}).await;
    for data in ["b2xk", "bmV3"] {
        assert!(api.put("/global-secrets/s", secret(data)).await.0 < 300);
    }
    let (status, told) = api.get("/global-secrets/s/_history").await;
    assert_eq!((status, &told["total"]), (200, &json!(2)));
    assert!(!told.to_string().contains("b2xk") && !told.to_string().contains("bmV3"), "{told}");
    let (status, problem) = api.get("/global-secrets/s?revision=1").await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().contains("is not kept"), "{problem}");

    for path in ["/global-secrets/s/_history", "/global-secrets/s?revision=1"] {
        let request =
            Request::builder().uri(path).header("host", "127.0.0.1:5681").header("x-forwarded-for", "10.1.1.1");
        let response = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status().as_u16(), 403, "{path}");
    }
}
