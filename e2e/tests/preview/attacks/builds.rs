//! Builds of two tenants in one pool: none sees, kills or changes what is another's, and what
//! belongs to one works.

use anyhow::{Result, ensure};
use lab::release::{BUILDS, TENANTS};
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::manifest::built;
use crate::user::{User, unique};

/// The pool of these builds, of one replica: whatever becomes of its BuildKit, other tests' builds
/// are in another.
const POOL: &str = "large";

/// One tenant's build, in a Workspace and a branch of its own.
struct Attempt<'a> {
    user: &'a User,
    name: String,
}

impl<'a> Attempt<'a> {
    /// Pushes a Dockerfile whose last step is this one, and applies a Workspace that builds it.
    /// `more` goes into the `build` block.
    fn begin(user: &'a User, name: &str, step: &str, more: &Value) -> Result<Self> {
        let name = unique(name);
        // The name makes each step another: none comes from a cache.
        user.push(
            &name,
            "Dockerfile",
            &format!(
                "FROM app-base:bookworm\nRUN {} # {name}\n",
                step.replace('\n', " \\\n")
            ),
        )?;

        let mut workspace = built(&name, POOL);

        for (field, value) in more.as_object().into_iter().flatten() {
            workspace["spec"]["components"][0]["build"][field] = value.clone();
        }

        user.apply(&workspace.to_string())?;
        Ok(Self { user, name })
    }

    fn field(&self, path: &str) -> Result<String> {
        self.user.field(&self.user.build(&self.name)?, path)
    }

    /// Waits until a builder works at it.
    fn wait_begun(&self) -> Result<()> {
        until(&format!("{} is built", self.name), PATIENCE, || {
            let claim = self.field(".status.image.claim.holder")?;
            ensure!(!claim.is_empty(), "nobody has it");
            Ok(())
        })
    }

    /// Waits until its image is built, and says what went wrong if it never is.
    fn wait_built(&self) -> Result<()> {
        until(&format!("{} has its image", self.name), PATIENCE, || {
            let state = self.field(".status.image.state")?;
            ensure!(
                state == "Completed",
                "it is {state:?}: {}",
                self.field(".status.image.failure")?
            );
            Ok(())
        })
    }

    fn wait_code(&self, code: &str) -> Result<()> {
        until(&format!("{} says {code}", self.name), PATIENCE, || {
            let said = self.field(".status.image.retry.code")?;
            ensure!(
                said == code,
                "it says {said:?}: {}",
                self.field(".status.image.failure")?
            );
            Ok(())
        })
    }

    /// Everything that its tenant can read of it.
    fn shown(&self) -> Result<String> {
        let build = self.user.build(&self.name)?;
        Ok(self.user.kubectl(&["get", &build, "-o", "json"])?
            + &self.user.kubectl(&["describe", "workspace", &self.name])?)
    }

    fn end(self) -> Result<()> {
        self.user.delete(&self.name)
    }
}

fn tenants() -> Result<[User; 2]> {
    Ok([User::of(TENANTS[0])?, User::of(TENANTS[1])?])
}

#[test]
fn a_step_reads_no_secret_of_another_tenants_build() -> Result<()> {
    let [attacker, victim] = tenants()?;
    let (secret, canary) = (unique("build-secret"), unique("SEQCANARY-of-a-build"));
    let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"token": canary}});
    victim.apply(&manifest.to_string())?;
    let secrets = json!({"secrets": {"valuesFrom": {"secretRef": {"name": secret}}}});
    let holds = format!(
        "--mount=type=secret,id=token test $(wc -c < /run/secrets/token) = {} && sleep 12",
        canary.len()
    );
    let theirs = Attempt::begin(&victim, "holds", &holds, &secrets)?;
    theirs.wait_begun()?;

    // It fails with what it found in its last line, or ends well.
    let looks = "for i in $(seq 30); do\n\
                 found=$(cat /proc/[0-9]*/root/run/secrets/* 2>/dev/null | grep -a -o 'SEQCANARY[-a-z0-9]*' | head -n 1);\n\
                 [ -z \"$found\" ] || { echo \"read $found\"; exit 7; };\n\
                 sleep 0.2;\n\
                 done";
    let ours = Attempt::begin(&attacker, "looks", looks, &json!({}))?;
    let looked = ours.wait_built();
    let shown = ours.shown()?;
    ensure!(!shown.contains(&canary), "{shown}");
    looked?;
    // The owner's own step had it.
    theirs.wait_built()?;
    victim.kubectl(&["delete", "secret", &secret])?;
    ours.end()?;
    theirs.end()
}

#[test]
fn no_process_of_a_build_lives_on_after_it() -> Result<()> {
    let [attacker, victim] = tenants()?;
    let seconds = (1_000_000 + rand::random::<u32>() % 1_000_000).to_string();
    let leaves = format!("(setsid nohup sleep {seconds} >/dev/null 2>&1 &); sleep 1");
    let ours = Attempt::begin(&attacker, "leaves", &leaves, &json!({}))?;
    ours.wait_built()?;
    until("nothing of the build runs", PATIENCE / 4, || {
        // On the node, which sees the processes of every pod. Without a match pgrep fails, and that
        // is no failure.
        let script = "pgrep -f \"^sleep $0\" || true";
        let left = attacker
            .cluster
            .builds
            .run(&["sh", "-c", script, &seconds])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;

    let pods = format!("se.quencer.io/pool={POOL}");
    let logs = [
        "-n",
        BUILDS,
        "logs",
        "-l",
        &pods,
        "-c",
        "buildkit",
        "--tail=-1",
        "--since=5m",
    ];
    // It is said once BuildKit runs again.
    let log = until("the supervisor says so", PATIENCE / 4, || {
        let log = attacker.cluster.kubectl(&logs)?;
        ensure!(
            log.contains("Build left processes behind; restarted BuildKit"),
            "{log}"
        );
        Ok(log)
    })?;
    ensure!(!log.contains(&seconds), "the log shows arguments: {log}");
    // Whoever comes next finds a BuildKit that works, and what was built stays built.
    let theirs = Attempt::begin(&victim, "next", "true", &json!({}))?;
    theirs.wait_built()?;
    attacker.wait_ready(&ours.name)?;
    ours.end()?;
    theirs.end()
}

#[test]
fn whoever_kills_buildkit_harms_nobody_else() -> Result<()> {
    let [attacker, victim] = tenants()?;
    let theirs = Attempt::begin(&victim, "under-way", "sleep 6", &json!({}))?;
    theirs.wait_begun()?;

    let kills = "for p in /proc/[0-9]*; do\n\
                 [ \"$(cat $p/comm 2>/dev/null)\" != buildkitd ] || kill -KILL ${p#/proc/};\n\
                 done;\n\
                 sleep 60";
    let ours = Attempt::begin(&attacker, "kills", kills, &json!({}))?;
    // One that is under way, and one that waits behind builds that kill.
    let waits = Attempt::begin(&victim, "waits", "sleep 1", &json!({}))?;
    let mut blamed = None;
    let mut ready = |of: &Attempt<'_>| {
        until(&format!("{} is ready", of.name), PATIENCE * 2, || {
            let object = format!("workspace/{}", of.name);
            let stalled =
                victim.field(&object, ".status.conditions[?(@.type=='Stalled')].message")?;
            if !stalled.is_empty() {
                blamed.get_or_insert(format!("{}: {stalled}", of.name));
            }

            let ready = victim.ready(&object, "status")?;
            ensure!(
                ready == "True",
                "it is {ready:?}: {}",
                victim.ready(&object, "message")?
            );
            Ok(())
        })
    };

    ready(&theirs)?;
    ours.wait_code("E#1023")?;
    ready(&waits)?;
    ensure!(blamed.is_none(), "{blamed:?}");
    // It is tried again, and nobody is told to mend anything.
    let conditions = ours.field(".status.conditions")?;
    ensure!(
        !conditions.contains("Stalled") && !conditions.contains("E#1011"),
        "{conditions}"
    );
    ours.end()?;
    theirs.end()?;
    waits.end()
}

#[test]
fn a_cache_mount_is_of_one_tenant_and_repository() -> Result<()> {
    let [attacker, victim] = tenants()?;
    let mark = unique("mark");
    let step = |test: &str| format!("--mount=type=cache,id=wheels,target=/c {test}");
    // A folder that every Dockerfile may name.
    let first = Attempt::begin(
        &attacker,
        "writes",
        &step(&format!("test ! -e /c/{mark} && touch /c/{mark}")),
        &json!({}),
    )?;
    first.wait_built()?;

    let theirs = Attempt::begin(
        &victim,
        "finds-nothing",
        &step(&format!("test ! -e /c/{mark}")),
        &json!({}),
    )?;
    theirs.wait_built()?;

    let second = Attempt::begin(
        &attacker,
        "finds-its-own",
        &step(&format!("test -e /c/{mark}")),
        &json!({}),
    )?;
    second.wait_built()?;
    [first, second, theirs]
        .into_iter()
        .try_for_each(Attempt::end)
}

#[test]
fn a_pool_is_open_to_those_that_it_names() -> Result<()> {
    let [stranger, owner] = tenants()?;
    let name = &unique("pool");
    stranger.push(name, "note", name)?;
    for pool in ["reserved", "nothing"] {
        stranger.apply(&built(name, pool).to_string())?;
        let message = until("the pool is refused", PATIENCE, || {
            let message = stranger.ready(&stranger.component(name, "app")?, "message")?;
            ensure!(
                message.starts_with("E#6066") && message.contains(pool),
                "it says {message:?}"
            );
            Ok(message)
        })?;

        // What is closed to it is told no more of than what does not exist.
        ensure!(
            pool == "reserved" || !message.contains("reserved"),
            "{message}"
        );
    }

    owner.apply(&built(name, "reserved").to_string())?;
    until("the owner's is looked up", PATIENCE, || {
        let component = owner.component(name, "app")?;
        let source = owner.field(&component, ".status.conditions[?(@.type=='Source')].reason")?;
        ensure!(source == "InProgress", "it is {source:?}");
        Ok(())
    })?;
    stranger.delete(name)?;
    owner.delete(name)
}
