//! The configuration as a whole: layers, texts of errors, warnings, what is shown, and the reference file.

use std::{fmt::Write as _, net::IpAddr, path::PathBuf};

use serde_json::{Value, json};

use super::{
    auto::{Machine, ServerCertificate, complete},
    load::layer,
    *,
};

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn of(file: &str, variables: &[(&str, &str)]) -> Config {
    layer(Some(file), env(variables)).unwrap().config
}

fn error(file: &str, variables: &[(&str, &str)]) -> String {
    layer(Some(file), env(variables)).unwrap_err().to_string()
}

fn warnings(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    layer(Some(file), env(variables)).unwrap().warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn without_layers_it_is_the_default() {
    let loaded = layer(None, []).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.set.is_empty());
    assert_eq!(loaded.warnings, []);
    assert_eq!(layer(Some(""), []).unwrap(), loaded);
    assert_eq!(layer(Some("# nothing\n"), []).unwrap(), loaded);
}

#[test]
fn a_file_changes_the_default_and_a_variable_changes_the_file() {
    let file = "apiServer: { http: { port: 1, interface: 10.0.0.1 } }\ngeneral: { workDir: /a }";
    let config = of(file, &[("KUMA_API_SERVER_HTTP_PORT", "2"), ("KUMA_GENERAL_WORK_DIR", "")]);
    assert_eq!(config.api_server.http.port, 2);
    assert_eq!(config.api_server.http.interface, "10.0.0.1");
    assert_eq!(config.api_server.https.port, 5682);
    assert_eq!(config.general.work_dir, "", "a variable that is empty overrides the file");
    let loaded = layer(Some(file), env(&[("KUMA_MODE", "zone")])).unwrap();
    let set: Vec<&str> = loaded.set.iter().map(String::as_str).collect();
    assert_eq!(set, ["apiServer.http.interface", "apiServer.http.port", "general.workDir", "mode"]);
}

#[test]
fn keys_match_in_any_case_and_json_is_yaml() {
    assert_eq!(of("APISERVER: { Http: { PORT: 7 } }", &[]).api_server.http.port, 7);
    assert_eq!(
        of("apiServer: { http: { port: 8, PORT: 7 } }", &[]).api_server.http.port,
        8,
        "the exact key counts more"
    );
    assert_eq!(of(r#"{"apiServer": {"http": {"port": 9}}}"#, &[]).api_server.http.port, 9);
    assert!(of("defaults: { skipHostnameGenerators: true }", &[]).defaults.skip_hostname_generators);
}

#[test]
fn values_are_read_as_published() {
    use kuma_core::duration::GoDuration;
    let config = of(
        "
general: { workDir: 5, dnsCacheTTL: 1500000000, tlsCipherSuites: null }
xdsServer: { nackBackoff: 90m }
access: { static: { adminResources: { users: [a, 1, true] } } }
runtime: { kubernetes: { injector: { exceptions: { labels: { a: b } } } } }
ipam: { knownInternalCIDRs: }
apiServer:
  http:
  readOnly: null
  authn: { tokens: { validator: { publicKeys: [ { KID: 1, key: PEM } ] } } }
dpServer: { authn: { dpProxy: { dpToken: { validator: { publicKeys: [ { kid: k, keyFile: /f, mesh: m } ] } } } } }
",
        &[
            ("KUMA_IPAM_MESH_SERVICE_CIDR", "10.0.0.0/8"),
            ("KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_ENV_VARS", "A:b,C:d"),
        ],
    );
    assert_eq!(config.general.work_dir, "5");
    assert_eq!(config.general.dns_cache_ttl, GoDuration::from_millis(1500));
    assert_eq!(config.xds_server.nack_backoff, GoDuration::from_mins(90));
    let admins = &config.access.fixed.admin_resources;
    assert_eq!(admins.users, ["a", "1", "true"]);
    assert_eq!(admins.groups, ["mesh-system:admin"], "a key that is left out keeps its own default");
    let labels = &config.runtime.kubernetes.injector.exceptions.labels;
    assert_eq!(labels.len(), 3, "a file adds to a map");
    assert_eq!(config.ipam.known_internal_cidrs, [""; 0]);
    assert_eq!(config.ipam.mesh_service.cidr, "10.0.0.0/8");
    assert!(!config.api_server.read_only);
    let key = PublicKey { kid: "1".into(), key: "PEM".into(), key_file: PathBuf::new() };
    assert_eq!(config.api_server.authn.tokens.validator.public_keys, [key]);
    let meshed = &config.dp_server.authn.dp_proxy.dp_token.validator.public_keys[0];
    assert_eq!((meshed.mesh.as_str(), meshed.key.key_file.to_str()), ("m", Some("/f")));
    assert_eq!(config.runtime.kubernetes.injector.sidecar_container.env_vars.len(), 2);
    let replaced = of("", &[("KUMA_RUNTIME_KUBERNETES_EXCEPTIONS_LABELS", "x:y")]);
    let labels: Vec<_> = replaced.runtime.kubernetes.injector.exceptions.labels.into_iter().collect();
    assert_eq!(labels, [("x".to_owned(), "y".to_owned())], "a variable replaces a map");
    let probes =
        of("runtime: { kubernetes: { injector: { sidecarContainer: { livenessProbe: { periodSeconds: 9 } } } } }", &[]);
    let live = &probes.runtime.kubernetes.injector.sidecar_container.liveness_probe;
    assert_eq!((live.initial_delay_seconds, live.period_seconds), (60, 9));
    assert_eq!(of("store: { postgres: { password: 7 } }", &[]).store.postgres.password.reveal(), "7");
    assert_eq!(of("", &[]).store.postgres.password.reveal(), "kuma");
}

#[test]
fn the_kubernetes_store_makes_tokens_reloadable() {
    let config = of("store: { type: kubernetes }", &[]);
    assert!(config.dp_server.authn.enable_reloadable_tokens);
    assert!(!of("", &[]).dp_server.authn.enable_reloadable_tokens);
}

#[test]
fn bad_variables_have_the_published_texts() {
    for (name, value, expected) in [
        (
            "KUMA_API_SERVER_HTTP_PORT",
            "x",
            r#"assigning KUMA_API_SERVER_HTTP_PORT to Port: converting 'x' to type uint32. details: strconv.ParseUint: parsing "x": invalid syntax"#,
        ),
        (
            "KUMA_GENERAL_DNS_CACHE_TTL",
            "10",
            r#"assigning KUMA_GENERAL_DNS_CACHE_TTL to DNSCacheTTL: converting '10' to type types.Duration. details: time: missing unit in duration "10""#,
        ),
        (
            "KUMA_REPORTS_ENABLED",
            "",
            r#"assigning KUMA_REPORTS_ENABLED to Enabled: converting '' to type bool. details: strconv.ParseBool: parsing "": invalid syntax"#,
        ),
        (
            "KUMA_STORE_POSTGRES_PORT",
            "1.5",
            r#"assigning KUMA_STORE_POSTGRES_PORT to Port: converting '1.5' to type int. details: strconv.ParseInt: parsing "1.5": invalid syntax"#,
        ),
        (
            "KUMA_INTER_CP_SERVER_PORT",
            "70000",
            r#"assigning KUMA_INTER_CP_SERVER_PORT to Port: converting '70000' to type uint16. details: strconv.ParseUint: parsing "70000": value out of range"#,
        ),
    ] {
        let expected = format!("processing environment variables failed: envconfig.Process: {expected}");
        assert_eq!(error("", &[(name, value)]), expected);
    }
}

#[test]
fn bad_values_have_the_published_texts() {
    let host = "must be no more than 63 characters, a DNS-1035 label must consist of lower case alphanumeric characters \
                or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let long = format!("A{}", "b".repeat(63));
    for (file, expected) in [
        ("mode: standalone", "Mode validation failed: invalid mode. Available modes: zone, global"),
        ("environment: mars", "Environment should be either kubernetes or universal"),
        (
            "store: { type: file }",
            "Store validation failed: Type should be either sqlite, postgres, kubernetes or memory",
        ),
        (
            "apiServer: { http: { port: 70000 } }",
            "ApiServer validation failed: Port must be in range [0, 65535]; .HTTP not valid: Port must be in range [0, 65535]",
        ),
        (
            "apiServer: { readTimeout: -1s, idleTimeout: -1s }",
            "ApiServer validation failed: .ReadTimeout must be greater or equal 0s; .IdleTimeout must be greater or equal 0s",
        ),
        (
            &*format!("multizone: {{ zone: {{ name: {long} }} }}"),
            &*format!(
                "Multizone Zone validation failed: Zone name {long:?} has to be a valid RFC1035 DNS label: {host}"
            ),
        ),
        ("multizone: { zone: { name: '' } }", "Multizone Zone validation failed: Name is mandatory"),
        (
            "multizone: { zone: { globalAddress: 'http://x:1' } }",
            "Multizone Zone validation failed: unsupported scheme \"http\" in zone GlobalAddress. Use one of [grpc grpcs]",
        ),
        (
            "store: { type: postgres, postgres: { tls: { mode: verifyCa } } }",
            "Store validation failed: Postgres validation failed: TLS validation failed: CAPath cannot be empty",
        ),
        (
            "mode: global\nenvironment: kubernetes",
            "Kubernetes-native Global Control Plane is not supported: mode=global cannot be combined with environment=kubernetes. Run mode=global with environment=universal backed by a non-Kubernetes store such as PostgreSQL, even when Kuma CP itself is deployed on Kubernetes",
        ),
        (
            "mode: global\nmultizone: { global: { kds: { grpcPort: 70000, zoneHealthCheck: { timeout: 1s } } } }",
            "Multizone Global validation failed: .GrpcPort must be in the range [0, 65535]; invalid zoneHealthCheck config: timeout and pollInterval must both be either set or unset",
        ),
        (
            "bootstrapServer: { params: { adminAddress: here } }",
            "Bootstrap Server validation failed: Params validation failed: AdminAddress should be a valid IP address",
        ),
        (
            "environment: kubernetes",
            "Runtime validation failed: Kubernetes validation failed: .AdmissionServer is not valid: .CertDir should not be empty",
        ),
        (
            "environment: kubernetes\nruntime: { kubernetes: { admissionServer: { certDir: /c }, injector: { sidecarContainer: { image: '', drainTime: 0, resources: { limits: { cpu: x } } } } } }",
            "Runtime validation failed: Kubernetes validation failed: .Injector is not valid: .SidecarContainer is not valid: .Image must be non-empty; .DrainTime must be positive; .Resources is not valid: .Limits is not valid: .CPU is not valid: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "interCp: { server: { port: 0, tlsMinVersion: '1.2' } }",
            "InterCp validation failed: .Server validation failed: .Port cannot be zero; .TlsMinVersion unsupported tls version: 1.2 supported versions:[TLSv1_2 TLSv1_3]",
        ),
        (
            "diagnostics: { tlsKeyFile: /k }",
            "Diagnostics validation failed: .TlsCertFile cannot be empty if TlsKeyFile has been set",
        ),
        (
            "meshService: { labelPropagation: { allowedLabelKeys: [a, k8s.kuma.io/x] } }",
            "MeshService validation failed: .MeshService.LabelPropagation.AllowedLabelKeys contains reserved key \"k8s.kuma.io/x\"",
        ),
        (
            "ipam: { knownInternalCIDRs: [10.0.0.0] }",
            "IPAM validation failed: entry '10.0.0.0' in .KnownInternalCIDRs is invalid: invalid CIDR address: 10.0.0.0",
        ),
        (
            "dpServer: { authn: { dpProxy: { type: dpToken, dpToken: { validator: { publicKeys: [ { kid: '1' } ] } } } } }",
            "DpServer validation failed: .Auth is invalid: .DpProxy is not valid: .DpToken is not valid: .Validator is not valid: .PublicKeys[0] is not valid: either .KeyFile or .Key has to be defined",
        ),
    ] {
        assert_eq!(error(file, &[]), format!("configuration validation failed: {expected}"), "{file}");
    }
    let ciphers = error("general: { tlsCipherSuites: [X] }", &[]);
    assert!(ciphers.contains(".TlsCipherSuitesunsupported tls cipher: X supported ciphers insecure:[TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 "), "{ciphers}");
    // What a mode does not use is not judged.
    of("mode: global\nmultizone: { zone: { name: '' } }\nxdsServer: { nackBackoff: 1s }", &[]);
}

#[test]
fn a_file_that_cannot_be_read_says_where() {
    for (file, expected) in [
        (
            "apiServer: { http: { port: x } }",
            "unable to parse configuration: apiServer.http.port: invalid type: string \"x\", expected u32",
        ),
        (
            "xdsServer: { nackBackoff: 10 s }",
            "unable to parse configuration: xdsServer.nackBackoff: time: unknown unit \" s\" in duration \"10 s\"",
        ),
        (
            "apiServer: 5",
            "unable to parse configuration: apiServer: invalid type: integer `5`, expected struct ApiServer",
        ),
        ("- a", "unable to parse configuration: a map of sections is expected, not a list"),
    ] {
        assert_eq!(error(file, &[]), expected);
    }
    assert!(error("a: [", &[]).starts_with("unable to parse configuration: "));
    let missing = load(Some("/no/such/file".as_ref()), []).unwrap_err().to_string();
    assert_eq!(
        missing,
        "unable to access configuration file '/no/such/file', please check if the file exists and has the correct permissions"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "mode: x").unwrap();
    let path = file.path().display();
    assert_eq!(
        load(Some(file.path()), []).unwrap_err().to_string(),
        format!(
            "parsing configuration from file '{path}' failed: configuration validation failed: Mode validation failed: invalid mode. Available modes: zone, global"
        )
    );
    std::fs::write(&file, "multizone: { zone: { globalAddress: 'grpcs://g:5685', kds: { rootCaFile: /no/ca } } }")
        .unwrap();
    let text = load(Some(file.path()), []).unwrap_err().to_string();
    assert!(text.contains("Multizone Zone validation failed: could not read certificate /no/ca: "), "{text}");
}

#[test]
fn what_has_no_effect_is_named() {
    assert_eq!(
        warnings("apiServer: { htp: { port: 1 }, http: { prt: 1, zzzzzz: 2 } }\nexperimental: { x: 1 }\nNo: 1", &[]),
        [
            "unknown configuration key apiServer.http.prt is ignored, did you mean apiServer.http.port?",
            "unknown configuration key apiServer.http.zzzzzz is ignored",
            "unknown configuration key apiServer.htp is ignored, did you mean apiServer.http?",
            "unknown configuration key experimental.x is ignored",
            "unknown configuration key No is ignored",
        ]
    );
    assert_eq!(
        warnings("", &[("KUMA_API_SERVER_HTTP_PROT", "1"), ("KUMA_CONTROL_PLANE_SERVICE_HOST", "x"), ("PATH", "x")]),
        ["unknown environment variable KUMA_API_SERVER_HTTP_PROT is ignored, did you mean KUMA_API_SERVER_HTTP_PORT?"]
    );
    assert_eq!(
        warnings("tracing: { openTelemetry: { endpoint: x } }", &[("KUMA_REPORTS_ENABLED", "false")]),
        [
            "configuration key reports.enabled has no effect: nothing is ever reported",
            "configuration key tracing.openTelemetry.endpoint has no effect: traces of the control plane are not sent yet",
        ]
    );
}

#[test]
fn every_row_of_keys_without_effect_names_a_key() {
    let keys = keys();
    for (path, _) in pending::NO_EFFECT_YET {
        let found = keys.iter().any(|k| k.path == *path || k.path.starts_with(&format!("{path}.")));
        assert!(found, "{path} is no key");
    }
    assert_eq!(pending::reason("storeX"), None);
    assert_eq!(pending::reason("tracingX.y"), None);
}

#[test]
fn the_display_masks_the_password_and_leaves_out_optional_keys() {
    let shown = of("store: { postgres: { password: s3cret } }", &[]).display();
    assert_eq!(shown["store"]["postgres"]["password"], "*****");
    assert_eq!(shown["metrics"]["dataplane"]["idleTimeout"], "5m0s");
    assert_eq!(shown["runtime"]["universal"]["dataplaneCleanupAge"], "72h0m0s");
    assert_eq!(shown["defaults"]["SkipHostnameGenerators"], false);
    assert_eq!(shown["multizone"]["zone"]["name"], "default");
    assert_eq!(shown["tracing"], json!({"openTelemetry": {}}));
    assert_eq!(shown["experimental"], json!({}));
    assert_eq!(shown["multizone"]["global"]["kds"]["labels"], json!({}));
    for (section, key) in [("zone", "globalAddress"), ("zone", "disableOriginLabelValidation")] {
        assert_eq!(shown["multizone"][section].get(key), None, "{key}");
    }
    let set = of("multizone: { zone: { globalAddress: 'grpcs://g:1' } }", &[]).display();
    assert_eq!(set["multizone"]["zone"]["globalAddress"], "grpcs://g:1");
}

#[test]
fn the_machine_fills_in_what_is_empty() {
    let machine = Machine {
        home: Some("/home/u".into()),
        addresses: ["127.0.0.1", "10.1.2.3", "fe80::1"].map(|a| a.parse::<IpAddr>().unwrap()).into(),
    };
    let mut config = of(
        "dpServer: { port: 7 }\ngeneral: { tlsMinVersion: TLSv1_3 }\ndiagnostics: { tlsCertFile: /d.crt, tlsKeyFile: /d.key }",
        &[],
    );
    let certificate = complete(&mut config, &machine).unwrap();
    assert_eq!(certificate, ServerCertificate::Own("/home/u/.kuma".into()));
    assert_eq!(config.general.work_dir, "/home/u/.kuma");
    assert_eq!(config.general.tls_key_file, "/home/u/.kuma/kuma-cp.key");
    assert_eq!(config.api_server.https.tls_cert_file, "/home/u/.kuma/kuma-cp.crt");
    assert_eq!(config.diagnostics.tls_cert_file, "/d.crt");
    for version in [&config.dp_server.tls_min_version, &config.inter_cp.server.tls_min_version] {
        assert_eq!(version, "TLSv1_3");
    }
    assert_eq!(config.dp_server.authn.dp_proxy.kind, "dpToken");
    assert_eq!(config.dp_server.authn.zone_proxy.kind, "zoneToken");
    assert_eq!(config.bootstrap_server.params.xds_port, 7);
    assert_eq!(config.inter_cp.catalog.instance_address, "10.1.2.3");
    config.check().unwrap();

    let kubernetes = "environment: kubernetes\nruntime: { kubernetes: { admissionServer: { certDir: /c } } }\ngeneral: { tlsCertFile: /c, tlsKeyFile: /k, workDir: /w }";
    let mut config = of(kubernetes, &[]);
    assert_eq!(complete(&mut config, &machine), Ok(ServerCertificate::Given));
    assert_eq!(config.dp_server.authn.dp_proxy.kind, "serviceAccountToken");
    assert_eq!(config.dp_server.tls_key_file, "/k");

    let nothing = complete(&mut of("", &[]), &Machine::default());
    assert_eq!(nothing, Err(auto::AutoError::NoWorkDir));
    let lonely = Machine { addresses: vec!["::1".parse().unwrap()], ..machine };
    assert_eq!(complete(&mut of("store: { type: postgres }", &[]), &lonely), Err(auto::AutoError::NoAddress));
    let mut alone = of("", &[]);
    complete(&mut alone, &lonely).unwrap();
    assert_eq!(alone.inter_cp.catalog.instance_address, "127.0.0.1");
}

#[test]
fn every_key_has_a_variable_of_its_own_and_a_meaning() {
    let keys = keys();
    let mut names: Vec<&str> = keys.iter().filter_map(|k| k.env.as_deref()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two keys share a variable");
    for key in &keys {
        assert!(!key.doc.is_empty(), "{} says nothing", key.path);
        assert_eq!(key.env.is_none(), key.kind == Kind::PublicKeys, "{}", key.path);
        if let Some(env) = &key.env {
            assert!(env.starts_with("KUMA_") && *env == env.to_uppercase(), "{env}");
        }
    }
}

/// The reference file: every key with its default, its meaning and its variable.
fn reference() -> String {
    let mut out = String::from(
        "# Every key of the configuration of kuma-cp with its default. Durations such as 1h30m or 100ms.\n\
         # A variable beats the file. This file is written from the sources; a test fails when it is stale.\n",
    );
    let defaults = Config::default();
    let mut open: Vec<String> = Vec::new();
    for key in keys() {
        let mut segments: Vec<String> = key.path.split('.').map(str::to_owned).collect();
        let last = segments.pop().unwrap();
        let shared = open.iter().zip(&segments).take_while(|(a, b)| a == b).count();
        open.truncate(shared);
        for segment in &segments[shared..] {
            writeln!(out, "{}{segment}:", "  ".repeat(open.len())).unwrap();
            open.push(segment.clone());
        }
        let indent = "  ".repeat(open.len());
        let pointer = format!("/{}", key.path.replace('.', "/"));
        // Keys that are not shown when empty have the empty value of their type.
        let value = defaults.display().pointer(&pointer).cloned().unwrap_or(match key.kind {
            Kind::Bool => json!(false),
            Kind::TextList | Kind::UintList | Kind::PublicKeys => json!([]),
            Kind::TextMap => json!({}),
            Kind::Int(_) | Kind::Uint(_) => json!(0),
            Kind::Duration => json!("0s"),
            _ => json!(""),
        });
        let value = if key.kind == Kind::Secret { json!(defaults.store.postgres.password.reveal()) } else { value };
        let env = key.env.map(|e| format!(" # ENV: {e}")).unwrap_or_default();
        writeln!(out, "{indent}# {}", key.doc).unwrap();
        writeln!(out, "{indent}{last}: {value}{env}").unwrap();
    }
    out
}

#[test]
fn a_password_file_counts_more_than_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let (file, config) = (dir.path().join("password"), dir.path().join("cp.yaml"));
    std::fs::write(&config, "store: { type: postgres, postgres: { password: '' } }\n").unwrap();
    let variables = || [("KUMA_STORE_POSTGRES_PASSWORD_FILE".to_owned(), file.display().to_string())];
    let problem = load(Some(&config), variables()).unwrap_err().to_string();
    assert!(problem.contains("password cannot be read: No such file"), "{problem}");

    std::fs::write(&file, "first\n").unwrap();
    let postgres = load(Some(&config), variables()).unwrap().config.store.postgres;
    assert_eq!(postgres.current_password().unwrap().reveal(), "first");
    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(postgres.current_password().unwrap().reveal(), "second", "a new password counts from the next call on");

    let problem = load(Some(&config), []).unwrap_err().to_string();
    assert!(problem.contains("Password should not be empty"), "{problem}");
    assert_eq!(
        of("store: { postgres: { password: plain } }", &[]).store.postgres.current_password().unwrap().reveal(),
        "plain"
    );
}

#[test]
fn the_reference_file_is_current_and_means_the_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/kuma-cp.defaults.yaml");
    let expected = reference();
    if std::env::var_os("KUMA_UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == expected, "{path} is stale: run this test with KUMA_UPDATE_REFERENCE=1");
    let loaded = layer(Some(&found), []).unwrap();
    assert_eq!(loaded.config, Config::default());
    let unknown = loaded.warnings.iter().filter(|w| matches!(w, Warning::UnknownKey { .. })).count();
    assert_eq!(unknown, 0);
    assert_eq!(loaded.set.len(), keys().len());
}

#[test]
fn sections_have_no_other_members_than_keys() {
    fn leaves(value: &Value, at: String, out: &mut Vec<String>, keys: &[Key]) {
        match value {
            Value::Object(map) if !keys.iter().any(|k| k.path == at) => {
                for (name, value) in map {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    leaves(value, path, out, keys);
                }
            }
            _ => out.push(at),
        }
    }
    let keys = keys();
    let mut found = Vec::new();
    leaves(&Config::default().display(), String::new(), &mut found, &keys);
    for path in found {
        assert!(keys.iter().any(|k| k.path == path), "{path} is shown and cannot be set");
    }
}
