//! The schemas on a real API server: what a user writes is taken, what is wrong is refused where it is wrong.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::alone::Alone;
use e2e::layout::text;
use e2e::testing::layout;
use sequencer_api::crd::definitions;
use serde_json::{Value, json};

/// An API server that knows the kinds.
struct Server {
    alone: Alone,
    kubectl: String,
    kubeconfig: String,
}

impl Server {
    fn start() -> Result<Self> {
        let layout = layout()?;
        let mut alone = Alone::new(&layout)?;
        let kubeconfig = text(alone.control_plane()?);
        let server = Self { alone: alone, kubectl: text(layout.bin("kubectl")), kubeconfig };
        for definition in definitions()? {
            server.run(&["apply", "-f", "-"], &definition.value).map_err(anyhow::Error::msg)?;
        }
        let wait = ["wait", "crd", "--all", "--for=condition=Established", "--timeout=30s"];
        server.run(&wait, &Value::Null).map_err(anyhow::Error::msg)?;
        server.run(&["create", "namespace", "sequencer-system"], &Value::Null).map_err(anyhow::Error::msg)?;
        Ok(server)
    }

    /// What kubectl prints, or what it complains about.
    fn run(&self, args: &[&str], input: &Value) -> Result<String, String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.args(["--kubeconfig", &self.kubeconfig]).args(args).env("KUBECACHEDIR", self.alone.folder());
        let child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let wrote = child.stdin.take().map(|mut stdin| stdin.write_all(input.to_string().as_bytes()));
        let done = child.wait_with_output().map_err(|error| error.to_string())?;
        drop(wrote);
        let (said, complained) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        if done.status.success() { Ok(said.into_owned()) } else { Err(complained.into_owned()) }
    }

    fn try_create(&self, object: &Value) -> Result<String, String> {
        self.run(&["create", "--dry-run=server", "-f", "-"], object)
    }
}

/// The sample with an account's id.
fn sample() -> Result<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/workspace.yaml");
    let sample = std::fs::read_to_string(file)?.replace("$(YOUR_ACCOUNT_ID)", "0123456789abcdef0123456789abcdef");
    Ok(serde_yaml::from_str(&sample)?)
}

const BUILD: &str = "/spec/components/2/build";
const GIT: &str = "/spec/components/2/build/importContent/0/contentFrom/git";
const CLOUDFLARE: &str = "/spec/networking/tunnel/cloudflare";

/// One wrong input: where it is put, what it is, the field that the answer must name and what it must say.
struct Bad(&'static str, Value, &'static str, &'static str);

/// BAD inputs of lists, names and ports.
fn bad_components() -> Vec<Bad> {
    let component = |name: &str| json!({"name": name, "template": {"containers": [{"name": "c", "image": "i"}]}});
    let many: Vec<_> = (0..33).map(|number| component(&format!("c{number}"))).collect();
    let depends = |on: Value| json!([on]);
    vec![
        Bad("/spec/components", json!([]), "spec.components", "at least 1"),
        Bad("/spec/components", json!(many), "spec.components", "at most 32"),
        Bad("/spec/components/0/name", json!("mysql"), "spec.components[1]", "Duplicate value"),
        Bad("/spec/components/0/name", json!("Web_1"), "spec.components[0].name", "should match"),
        Bad("/spec/components/0/name", json!("a".repeat(64)), "spec.components[0].name", "Too long"),
        Bad("/spec/components/0/name", json!("-web"), "spec.components[0].name", "should match"),
        Bad("/spec/components/0/name", json!("web-"), "spec.components[0].name", "should match"),
        Bad("/spec/components/0/name", json!("1web"), "spec.components[0].name", "should match"),
        Bad("/spec/componets", json!([]), "spec.componets", "unknown field"),
        Bad(
            "/spec/components/0/networks/1",
            json!({"name": "TCP", "port": 1}),
            "spec.components[0].networks",
            "E#6005",
        ),
        Bad(
            "/spec/components/0/networks/1",
            json!({"name": "tcp", "port": 1}),
            "spec.components[0].networks[1]",
            "Duplicate",
        ),
        Bad(
            "/spec/components/0/networks/0/port",
            json!(0),
            "spec.components[0].networks[0].port",
            "greater than or equal to 1",
        ),
        Bad(
            "/spec/components/0/networks/0/port",
            json!(65_536),
            "spec.components[0].networks[0].port",
            "less than or equal to 65535",
        ),
        Bad("/spec/components/0/networks/0/protocol", json!("ICMP"), "spec.components[0].networks[0].protocol", "TCP"),
        Bad("/spec/components/0/dependsOn", depends(json!({"componentName": "redis"})), "spec.components[0]", "E#6009"),
        Bad("/spec/components/0/dependsOn", depends(json!({"componentName": "db"})), "spec", "E#6011"),
        Bad(
            "/spec/components/0/dependsOn",
            depends(json!({"componentName": "mysql", "conditionType": "Alive"})),
            "spec.components[0].dependsOn[0].conditionType",
            "supported values",
        ),
        Bad(
            "/spec/components/0/dependsOn",
            depends(json!({"componentName": "mysql", "conditionStatus": "Alive"})),
            "spec.components[0].dependsOn[0].conditionStatus",
            "E#6012",
        ),
        Bad(
            "/spec/components/0/template/containers",
            json!([]),
            "spec.components[0].template.containers",
            "at least 1",
        ),
        Bad(
            "/spec/components/0/template/containers/1",
            json!({"name": "redis", "image": "i"}),
            "spec.components[0].template.containers[1]",
            "Duplicate value",
        ),
        Bad(
            "/spec/components/0/template/containers/0/env",
            json!([{"name": "A", "value": "x".repeat(1 << 20)}]),
            "spec.components[0].template.containers[0].env[0].value",
            "Too long",
        ),
        Bad(
            "/spec/components/0/template/containers/0/env",
            json!((0..300).map(|n| json!({"name": format!("V{n}")})).collect::<Vec<_>>()),
            "spec.components[0].template.containers[0].env",
            "at most 128",
        ),
        Bad(
            "/spec/components/0/template/containers/0/env",
            json!([{"name": "A=B"}]),
            "spec.components[0].template.containers[0].env[0].name",
            "should match",
        ),
    ]
}

/// Bad inputs of builds.
fn bad_builds() -> Vec<Bad> {
    let b = "spec.components[2].build";
    let field = |name: &str| -> &'static str { Box::leak(format!("{b}{name}").into_boxed_str()) };
    let at = |name: &str| -> &'static str { Box::leak(format!("{BUILD}{name}").into_boxed_str()) };
    let git = |name: &str| -> &'static str { Box::leak(format!("{GIT}{name}").into_boxed_str()) };
    let mut bad = vec![
        Bad(at("/containerRegistries"), json!([]), field(".containerRegistries"), "at least 1"),
        Bad(at("/containerRegistries/0/tags"), json!([]), field(".containerRegistries[0].tags"), "at least 1"),
        Bad(
            at("/containerRegistries/0/tags"),
            json!(["a", "a"]),
            field(".containerRegistries[0].tags[1]"),
            "Duplicate",
        ),
        Bad(at("/args"), json!({"values": [{"name": "A B"}]}), field(".args.values[0].name"), "should match"),
        Bad(at("/args"), json!({"values": [{"name": "BUILDKIT_SYNTAX"}]}), field(".args.values[0].name"), "E#6043"),
        Bad(at("/args"), json!({"values": [{"name": "HTTP_PROXY"}]}), field(".args.values[0].name"), "E#6043"),
        Bad(at("/args"), json!({"valuesFrom": {"secretRef": {"name": "s"}}}), field(".args"), "E#6043"),
        Bad(at("/secrets"), json!({"valuesFrom": {}}), field(".secrets.valuesFrom"), "E#1002"),
        Bad(
            at("/secrets"),
            json!({"valuesFrom": {"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}}),
            field(".secrets.valuesFrom"),
            "E#1002",
        ),
        Bad(
            at("/importContent/1"),
            json!({"contentFrom": {"git": {"url": "https://h/x"}}}),
            field(".importContent"),
            "E#6032",
        ),
        Bad(git(""), Value::Null, field(".importContent[0].contentFrom"), "E#1003"),
        Bad(git("/depth"), json!(0), field(".importContent[0].contentFrom.git.depth"), "greater than or equal to 1"),
        Bad(git("/depth"), json!("1"), field(".importContent[0].contentFrom.git.depth"), "integer"),
        Bad(at("/runtime"), json!({"timeout": "10s"}), field(".runtime.timeout"), "E#1018"),
        Bad(at("/runtime"), json!({"timeout": "1d"}), field(".runtime.timeout"), "should match"),
    ];
    for tag in ["-x", "a b", &"t".repeat(129)] {
        bad.push(Bad(
            at("/containerRegistries/0/tags"),
            json!([tag]),
            field(".containerRegistries[0].tags[0]"),
            "Invalid value",
        ));
    }
    for path in ["/etc/passwd", "../../x", "a/../../b", "a\u{0}b", "C:\\x", "~/x", "-f", ".."] {
        bad.push(Bad(at("/dockerfile"), json!(path), field(".dockerfile"), "E#6030"));
        bad.push(Bad(at("/context"), json!(path), field(".context"), "E#6030"));
        bad.push(Bad(at("/importContent/0/path"), json!(path), field(".importContent[0].path"), "E#6030"));
    }
    for (url, code) in [
        ("ext::sh -c id", "E#6033"),
        ("fd::17", "E#6033"),
        ("file:///etc", "E#6033"),
        ("/etc", "E#6033"),
        ("../x", "E#6033"),
        ("git://h/x", "E#6033"),
        ("ftp://h/x", "E#6033"),
        ("ssh://-oProxyCommand=id/x", "E#6034"),
        ("-oX@host:repo", "E#6034"),
        ("git@-h:x", "E#6034"),
        ("git@h:-x", "E#6034"),
        ("https://user:SECRET@host/x", "E#6036"),
        ("https://SECRET@host/x", "E#6036"),
        ("https://h/x\r\n", "E#6038"),
        ("https://h/%0a", "E#6038"),
        ("https:///x", "E#6038"),
        ("https://h:0/x", "E#6038"),
        ("https://аpple.example/x", "E#6038"),
    ] {
        bad.push(Bad(git("/url"), json!(url), field(".importContent[0].contentFrom.git"), code));
    }
    for name in ["--upload-pack=x", "-q", "a..b", "x@{1}", "x.lock", "a b", "a\nb", "a//b", "x/"] {
        bad.push(Bad(git("/ref"), json!(name), field(".importContent[0].contentFrom.git.ref"), "E#6035"));
    }
    for url in ["https://x/y", "x/y?z", "x/y:tag", "user@x/y", "x/y@sha256:00", "X/Y", "/y", "x//y"] {
        bad.push(Bad(at("/containerRegistries/0/url"), json!(url), field(".containerRegistries[0].url"), "E#6040"));
    }
    bad
}

/// Bad inputs of networking.
fn bad_networking() -> Vec<Bad> {
    let cloudflare = |name: &str| -> &'static str { Box::leak(format!("{CLOUDFLARE}{name}").into_boxed_str()) };
    let field =
        |name: &str| -> &'static str { Box::leak(format!("spec.networking.tunnel.cloudflare{name}").into_boxed_str()) };
    let ingress = json!({"rules": [{"name": "web", "component": "redis", "network": "tcp"}]});
    let mut bad = vec![
        Bad("/spec/networking/ingress", ingress, "spec.networking", "E#6053"),
        Bad("/spec/networking/tunnel", Value::Null, "spec.networking", "E#6053"),
        Bad("/spec/networking/tunnel", json!({}), "spec.networking.tunnel", "E#3012"),
        Bad(cloudflare("/route/component"), json!("nobody"), "spec", "E#6054"),
        Bad(cloudflare("/route/network"), json!("nothing"), "spec", "E#6054"),
        Bad(cloudflare("/route/path"), json!("foo"), field(".route.path"), "should match"),
        Bad("/spec/variables", json!([{"name": "A"}]), "spec.variables[0]", "E#6069"),
        Bad(
            "/spec/variables",
            json!([{"name": "A", "value": "", "generate": {"length": 8}}]),
            "spec.variables[0]",
            "E#6069",
        ),
        Bad("/spec/ttl", json!("10s"), "spec.ttl", "E#6064"),
        Bad("/spec/updatePolicy", json!({"interval": "1s"}), "spec.updatePolicy.interval", "E#6067"),
        Bad("/metadata/generateName", json!("1-"), "<nil>", "E#6061"),
    ];
    for protocol in ["javascript", "unix:/x", "http_status:200"] {
        bad.push(Bad(cloudflare("/route/protocol"), json!(protocol), field(".route.protocol"), "supported values"));
    }
    for account in ["../../user/tokens", "0123456789abcdef0123456789abcdef0", "0123456789ABCDEF0123456789ABCDEF"] {
        bad.push(Bad(cloudflare("/accountId"), json!(account), field(".accountId"), "Invalid value"));
    }
    let long = format!("{}.example", "a.".repeat(125));
    for zone in ["", "example..com", "*.x.example", "x.example.", "a_b.example", &long] {
        bad.push(Bad("/spec/networking/dns/zone", json!(zone), "spec.networking.dns.zone", "Invalid value"));
    }
    bad
}

/// Puts a value at a JSON pointer; a list grows by one, null removes.
fn put(object: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let (parent, name) = pointer.rsplit_once('/').context("a pointer without a slash")?;
    match object.pointer_mut(parent).with_context(|| format!("there is no {parent}"))? {
        Value::Object(map) if value.is_null() => drop(map.remove(name)),
        Value::Object(map) => drop(map.insert(name.into(), value)),
        Value::Array(list) => {
            let index: usize = name.parse()?;
            if index == list.len() { list.push(value) } else { list[index] = value }
        }
        other => anyhow::bail!("{parent} is {other}"),
    }
    Ok(())
}

#[test]
fn the_sample_is_taken_verbatim_and_every_bad_input_is_refused_where_it_is() -> Result<()> {
    let server = Server::start()?;
    server.try_create(&sample()?).map_err(anyhow::Error::msg)?;
    let mut wrong = Vec::new();
    for Bad(pointer, value, field, says) in bad_components().into_iter().chain(bad_builds()).chain(bad_networking()) {
        let shown: String = format!("{pointer} = {value}").chars().take(160).collect();
        let mut object = sample()?;
        put(&mut object, pointer, value)?;
        match server.try_create(&object) {
            Ok(_) => wrong.push(format!("{shown}: taken")),
            Err(said) if !said.contains(field) || !said.contains(says) => {
                wrong.push(format!("{shown}: not {field} {says:?} but {said}"))
            }
            Err(said) if said.contains("SECRET") => wrong.push(format!("{shown}: the answer repeats it: {said}")),
            Err(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn an_object_of_two_thousand_levels_is_pruned_and_the_kind_can_still_be_listed() -> Result<()> {
    let server = Server::start()?;
    let mut workspace = sample()?;
    put(&mut workspace, "/metadata", json!({"name": "deep", "namespace": "sequencer-system"}))?;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(2_000), "}".repeat(2_000));
    // By hand: no JSON library here writes that deep.
    let written = workspace.to_string().replacen(r#""spec":{"#, &format!(r#""spec":{{"deep":{deep},"#), 1);
    let file = server.alone.folder().join("deep.json");
    std::fs::write(&file, written)?;
    let path = "/apis/se.quencer.io/v1alpha1/namespaces/sequencer-system/workspaces";
    let created =
        server.run(&["create", "--raw", path, "-f", &text(&file)], &Value::Null).map_err(anyhow::Error::msg)?;
    ensure!(!created.contains("\"deep\":{"), "it was kept");
    let listed =
        server.run(&["-n", "sequencer-system", "get", "ws", "-o", "name"], &Value::Null).map_err(anyhow::Error::msg)?;
    assert_eq!(listed.trim(), "workspace.se.quencer.io/deep");
    Ok(())
}

#[test]
fn a_new_object_reads_as_waiting_and_sections_are_patched_once() -> Result<()> {
    let server = Server::start()?;
    let run = |args: &[&str], input: &Value| server.run(args, input).map_err(anyhow::Error::msg);
    let mut workspace = sample()?;
    put(&mut workspace, "/metadata", json!({"name": "preview", "namespace": "sequencer-system"}))?;
    run(&["create", "-f", "-"], &workspace)?;
    let get = ["-n", "sequencer-system", "get", "ws", "preview", "-o", "json"];
    let read: Value = serde_json::from_str(&run(&get, &Value::Null)?)?;
    assert_eq!(read["status"]["conditions"][0]["reason"], json!("Waiting"), "{}", read["status"]);
    assert_eq!(read["status"]["tunnel"], json!({"rev": 0}));
    assert_eq!(read["status"]["phase"], json!("Deploying"));
    assert_eq!(read["spec"]["components"][2]["build"]["runtime"]["timeout"], json!("30m"));

    let uid = read["metadata"]["uid"].as_str().context("no uid")?;
    let patch = |uid: &str, rev: i64| {
        json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/status/tunnel/rev", "value": rev},
            {"op": "replace", "path": "/status/tunnel", "value": {"rev": rev + 1, "state": "InProgress"}},
        ])
        .to_string()
    };
    let apply = |patch: &str| {
        server.run(
            &["-n", "sequencer-system", "patch", "ws", "preview", "--subresource=status", "--type=json", "-p", patch],
            &Value::Null,
        )
    };
    apply(&patch(uid, 0)).map_err(anyhow::Error::msg)?;
    ensure!(apply(&patch(uid, 0)).is_err(), "the second writer of revision 0 was not refused");
    ensure!(
        apply(&patch("00000000-0000-0000-0000-000000000000", 1)).is_err(),
        "another object's patch was not refused"
    );
    apply(&patch(uid, 1)).map_err(anyhow::Error::msg)?;
    Ok(())
}

#[test]
fn a_build_never_changes_and_a_record_is_named_by_what_it_is() -> Result<()> {
    let server = Server::start()?;
    let spec = sample()?.pointer(BUILD).cloned().context("the sample has no build")?;
    let mut build =
        json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": "b"}, "spec": spec});
    server.run(&["create", "-f", "-"], &build).map_err(anyhow::Error::msg)?;
    put(&mut build, "/spec/dockerfile", json!("Other"))?;
    let refused = server.run(&["replace", "-f", "-"], &build);
    ensure!(refused.as_ref().is_err_and(|said| said.contains("E#1005")), "{refused:?}");

    let record = |name: &str, r#type: &str, target: &str| {
        json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord", "metadata": {"name": name},
            "spec": {"zone": "preview.test", "name": "web", "recordType": r#type, "target": target},
        })
    };
    server.run(&["create", "-f", "-"], &record("web.preview.test.a", "A", "192.0.2.1")).map_err(anyhow::Error::msg)?;
    for (object, code) in [
        (record("other.preview.test.a", "A", "192.0.2.1"), "E#6062"),
        (record("web.preview.test.a", "A", "host.example"), "E#6072"),
        (record("web.preview.test.aaaa", "AAAA", "192.0.2.1"), "E#6072"),
        (record("web.preview.test.cname", "CNAME", "a b"), "E#6072"),
    ] {
        let refused = server.try_create(&object);
        ensure!(refused.as_ref().is_err_and(|said| said.contains(code)), "not {code}: {refused:?}");
    }
    Ok(())
}
