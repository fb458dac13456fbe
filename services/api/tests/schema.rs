//! The schemas on a real API server: what a user writes is taken, what is wrong is refused where it
//! is wrong.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::alone::Alone;
use lab::layout::text;
use lab::testing::layout;
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
        let kubeconfig = text(alone.control_plane_with_kinds()?);
        let server = Self {
            alone,
            kubectl: text(layout.bin("kubectl")),
            kubeconfig,
        };

        server
            .run(&["create", "namespace", "sequencer-system"], &Value::Null)
            .map_err(anyhow::Error::msg)?;
        Ok(server)
    }

    /// What kubectl prints, or what it complains about.
    fn run(&self, args: &[&str], input: &Value) -> Result<String, String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl
            .args(["--kubeconfig", &self.kubeconfig])
            .args(args)
            .env("KUBECACHEDIR", self.alone.folder());

        let child = kubectl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let wrote = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.to_string().as_bytes()));
        let done = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;

        drop(wrote);

        let (answer, complaint) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );

        if done.status.success() {
            Ok(answer.into_owned())
        } else {
            Err(complaint.into_owned())
        }
    }

    fn try_create(&self, object: &Value) -> Result<String, String> {
        self.run(&["create", "--dry-run=server", "-f", "-"], object)
    }
}

/// The sample with an account's id.
fn sample() -> Result<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/workspace.yaml");
    let sample = std::fs::read_to_string(file)?
        .replace("$(YOUR_ACCOUNT_ID)", "0123456789abcdef0123456789abcdef");
    Ok(serde_yaml::from_str(&sample)?)
}

const BUILD: &str = "/spec/components/2/build";
const ENV: &str = "/spec/components/0/template/containers/0/env";

/// One wrong input: where it is put, what it is, the field that the answer must name and what it
/// must say.
#[derive(serde::Deserialize)]
struct Bad {
    at: String,
    value: Value,
    field: String,
    says: String,
}

impl Bad {
    fn new(at: &str, value: Value, field: &str, says: &str) -> Self {
        Self {
            at: at.into(),
            value,
            field: field.into(),
            says: says.into(),
        }
    }
}

/// The table, and what is too large for it.
fn bad_inputs() -> Result<Vec<Bad>> {
    let mut bad: Vec<Bad> = serde_yaml::from_str(include_str!("bad-inputs.yaml"))?;
    let component = |number| json!({"name": format!("c{number}"), "template": {"containers": [{"name": "c", "image": "i"}]}});
    let many: Vec<_> = (0..33).map(component).collect();

    bad.push(Bad::new(
        "/spec/components",
        json!(many),
        "spec.components",
        "at most 32",
    ));

    let field = "spec.components[0].template.containers[0].env";
    let large = json!([{"name": "A", "value": "x".repeat(1 << 20)}]);

    bad.push(Bad::new(
        ENV,
        large,
        &format!("{field}[0].value"),
        "Too long",
    ));

    let many: Vec<_> = (0..300)
        .map(|number| json!({"name": format!("V{number}")}))
        .collect();
    bad.push(Bad::new(ENV, json!(many), field, "at most 128"));
    // Three bytes each, and hundreds as a value of a program.
    let projected = json!([{"name": "a", "projected": {"sources": vec![json!({}); 65]}}]);
    let field = "spec.components[0].template.volumes[0].projected.sources";

    bad.push(Bad::new(
        "/spec/components/0/template/volumes",
        projected,
        field,
        "at most 64",
    ));
    Ok(bad)
}

/// Puts a value at a JSON pointer; a list grows by one, null removes.
fn put(object: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let (parent, name) = pointer
        .rsplit_once('/')
        .context("a pointer without a slash")?;

    match object
        .pointer_mut(parent)
        .with_context(|| format!("there is no {parent}"))?
    {
        Value::Object(map) if value.is_null() => drop(map.remove(name)),
        Value::Object(map) => drop(map.insert(name.into(), value)),
        Value::Array(list) => {
            let index: usize = name.parse()?;
            match list.get_mut(index) {
                Some(place) => *place = value,
                None => list.push(value),
            }
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

    for Bad {
        at,
        value,
        field,
        says,
    } in bad_inputs()?
    {
        let shown: String = format!("{at} = {value}").chars().take(160).collect();
        let mut object = sample()?;
        put(&mut object, &at, value)?;
        match server.try_create(&object) {
            Ok(_) => wrong.push(format!("{shown}: taken")),
            Err(refusal) if refusal.contains("SECRET") => {
                wrong.push(format!("{shown}: the answer repeats it: {refusal}"))
            }
            Err(refusal) if refusal.contains(&field) && refusal.contains(&says) => {}
            Err(refusal) => wrong.push(format!("{shown}: not {field} {says:?} but {refusal}")),
        }
    }

    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_claim_that_begins_empty_is_taken() -> Result<()> {
    let server = Server::start()?;
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}},
    });
    let mut workspace = sample()?;
    put(
        &mut workspace,
        "/spec/components/0/volumeClaimTemplates",
        json!([{"metadata": {"name": "data"}, "spec": spec}]),
    )?;

    let volumes =
        json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]);

    put(
        &mut workspace,
        "/spec/components/0/template/volumes",
        volumes,
    )?;

    server
        .try_create(&workspace)
        .map(drop)
        .map_err(anyhow::Error::msg)
}

#[test]
fn an_object_of_two_thousand_levels_is_pruned_and_the_kind_can_still_be_listed() -> Result<()> {
    let server = Server::start()?;
    let mut workspace = sample()?;
    put(
        &mut workspace,
        "/metadata",
        json!({"name": "deep", "namespace": "sequencer-system"}),
    )?;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(2_000), "}".repeat(2_000));
    // By hand: no JSON library here writes that deep.
    let written =
        workspace
            .to_string()
            .replacen(r#""spec":{"#, &format!(r#""spec":{{"deep":{deep},"#), 1);
    let file = server.alone.folder().join("deep.json");
    std::fs::write(&file, written)?;
    let path = "/apis/se.quencer.io/v1alpha1/namespaces/sequencer-system/workspaces";
    let created = server
        .run(&["create", "--raw", path, "-f", &text(&file)], &Value::Null)
        .map_err(anyhow::Error::msg)?;
    ensure!(!created.contains("\"deep\":{"), "it was kept");
    let listed = server
        .run(
            &["-n", "sequencer-system", "get", "ws", "-o", "name"],
            &Value::Null,
        )
        .map_err(anyhow::Error::msg)?;
    assert_eq!(listed.trim(), "workspace.se.quencer.io/deep");
    Ok(())
}

#[test]
fn a_new_object_reads_as_waiting_and_sections_are_patched_once() -> Result<()> {
    let server = Server::start()?;
    let run = |args: &[&str], input: &Value| server.run(args, input).map_err(anyhow::Error::msg);
    let mut workspace = sample()?;
    put(
        &mut workspace,
        "/metadata",
        json!({"name": "preview", "namespace": "sequencer-system"}),
    )?;
    run(&["create", "-f", "-"], &workspace)?;

    let get = [
        "-n",
        "sequencer-system",
        "get",
        "ws",
        "preview",
        "-o",
        "json",
    ];
    let read: Value = serde_json::from_str(&run(&get, &Value::Null)?)?;

    assert_eq!(
        read["status"]["conditions"][0]["reason"],
        json!("Waiting"),
        "{}",
        read["status"]
    );
    assert_eq!(read["status"]["tunnel"], json!({"rev": 0}));
    assert_eq!(read["status"]["phase"], json!("Deploying"));
    assert_eq!(
        read["spec"]["components"][2]["build"]["runtime"]["timeout"],
        json!("30m")
    );

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
            &[
                "-n",
                "sequencer-system",
                "patch",
                "ws",
                "preview",
                "--subresource=status",
                "--type=json",
                "-p",
                patch,
            ],
            &Value::Null,
        )
    };

    apply(&patch(uid, 0)).map_err(anyhow::Error::msg)?;
    ensure!(
        apply(&patch(uid, 0)).is_err(),
        "the second writer of revision 0 was not refused"
    );
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
    let spec = sample()?
        .pointer(BUILD)
        .cloned()
        .context("the sample has no build")?;
    let mut build = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": "b"}, "spec": spec});
    server
        .run(&["create", "-f", "-"], &build)
        .map_err(anyhow::Error::msg)?;
    put(&mut build, "/spec/dockerfile", json!("Other"))?;
    let refused = server.run(&["replace", "-f", "-"], &build);
    ensure!(
        refused
            .as_ref()
            .is_err_and(|refusal| refusal.contains("E#1005")),
        "{refused:?}"
    );

    let record = |name: &str, r#type: &str, target: &str| {
        json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord", "metadata": {"name": name},
            "spec": {"zone": "preview.test", "name": "web", "recordType": r#type, "target": target},
        })
    };
    server
        .run(
            &["create", "-f", "-"],
            &record("web.preview.test.a", "A", "192.0.2.1"),
        )
        .map_err(anyhow::Error::msg)?;
    for (object, code) in [
        (record("other.preview.test.a", "A", "192.0.2.1"), "E#6062"),
        (record("web.preview.test.a", "A", "host.example"), "E#6072"),
        (
            record("web.preview.test.aaaa", "AAAA", "192.0.2.1"),
            "E#6072",
        ),
        (record("web.preview.test.cname", "CNAME", "a b"), "E#6072"),
    ] {
        let refused = server.try_create(&object);
        ensure!(
            refused
                .as_ref()
                .is_err_and(|refusal| refusal.contains(code)),
            "not {code}: {refused:?}"
        );
    }
    Ok(())
}
