//! BuildKit and a real registry.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use lab::part::{Part, Ready};
use lab::parts::registry::COMPANY_USER;
use lab::secrets::Secrets;
use lab::testing::layout;
use secrecy::SecretSlice;
use sequencer_api::code::Code;
use sequencer_api::login::Login;
use sequencer_builder::buildkit::{BuildKit, Built, Compression, Failure, Job, Report};
use sequencer_builder::staging::Staging;
use sequencer_proto::v1::Line;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::buildkitd::{Buildkitd, write};

const BASE: &str = "FROM app-base:bookworm\n";

struct Harness {
    daemon: Buildkitd,
    context: TempDir,
    repository: String,
    secrets: Secrets,
}

impl Harness {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let context = tempfile::tempdir()?;
        write(context.path(), files)?;
        let repository = format!("registry.test/builder-{:08x}", rand());
        Ok(Self {
            daemon: Buildkitd::start()?,
            context,
            repository,
            secrets: Secrets::ensure(&layout()?)?,
        })
    }

    fn job(&self) -> Job {
        let login = Login {
            username: COMPANY_USER.into(),
            password: self.secrets.registry_password.clone().into(),
        };
        Job {
            dockerfile: "Dockerfile".into(),
            image: format!("{}/b/x:latest", self.repository),
            logins: [("registry.test".into(), login)].into(),
            denied: vec![format!("{}/b", self.repository)],
            shared: "test".into(),
            ..Job::default()
        }
    }

    async fn build(&self, job: &Job) -> Result<(Result<Built, Failure>, Vec<Line>)> {
        let (report, mut lines) = report();
        let built = self
            .daemon
            .address()
            .parse::<BuildKit>()?
            .build(job, self.context.path(), report)
            .await;
        let mut all = Vec::new();

        while let Some(lines) = lines.recv().await {
            all.extend(lines);
        }

        Ok((built, all))
    }

    async fn built(&self, job: &Job) -> Result<(Built, String)> {
        let (built, lines) = self.build(job).await?;
        let log = text(&lines);
        Ok((
            built.map_err(|failure| anyhow::anyhow!("{failure:?}\n{log}"))?,
            log,
        ))
    }

    async fn failed(&self, job: &Job) -> Result<(Failure, String)> {
        let (built, lines) = self.build(job).await?;
        let log = text(&lines);

        Ok((
            built
                .err()
                .ok_or_else(|| anyhow::anyhow!("it was built\n{log}"))?,
            log,
        ))
    }
}

fn rand() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

fn text(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| format!("{} {}\n", line.step, line.text))
        .collect()
}

/// What is told of a build, and its lines at their other end.
fn report() -> (Report, mpsc::UnboundedReceiver<Vec<Line>>) {
    let (log, lines) = mpsc::unbounded_channel();
    let step = watch::Sender::new(None);
    (Report { log, step }, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_and_pushed_and_the_second_time_every_step_comes_from_the_cache()
-> Result<()> {
    let files = [
        (
            "Dockerfile",
            &*format!(
                "{BASE}COPY . /src/\nRUN ls -A /src && ! test -e /src/secret && echo built > /x\n"
            ),
        ),
        (".dockerignore", "secret\n"),
        ("secret", "x"),
        ("a/b", "1"),
    ];
    let harness = Harness::new(&files)?;
    let cache = format!("{}/cache:main", harness.repository);
    let job = || Job {
        cache_imports: vec![cache.clone()],
        cache_export: Some(cache.clone()),
        ..harness.job()
    };

    let (built, log) = harness.built(&job()).await?;
    ensure!(
        built.digest.starts_with("sha256:") && built.cached == 0 && built.steps >= 2,
        "{built:?}\n{log}"
    );

    let (again, log) = harness.built(&job()).await?;
    ensure!(
        again.digest == built.digest && again.cached == 2,
        "{again:?}\n{log}"
    );

    // Another BuildKit has nothing but the registry's cache.
    let other = Harness {
        daemon: Buildkitd::start()?,
        ..harness
    };

    let job = || Job {
        cache_imports: vec![cache.clone()],
        cache_export: Some(cache.clone()),
        ..other.job()
    };

    let (built, log) = other.built(&job()).await?;
    ensure!(built.cached == 2, "{built:?}\n{log}");

    let (built, log) = other
        .built(&Job {
            no_cache: true,
            ..job()
        })
        .await?;
    ensure!(built.cached == 0, "{built:?}\n{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_is_named_with_its_line_exit_code_and_last_lines() -> Result<()> {
    let dockerfile =
        format!("{BASE}RUN true\n\nRUN for i in $(seq 30); do echo line $i; done; exit 3\n");
    let harness = Harness::new(&[("Dockerfile", &dockerfile)])?;
    let (failure, log) = harness.failed(&harness.job()).await?;

    assert_eq!(
        (failure.code, failure.line, failure.exit_code),
        (Code::StepFailed, Some(4), Some(3)),
        "{failure:?}\n{log}"
    );

    ensure!(
        failure
            .step
            .as_ref()
            .is_some_and(|step| step.contains("RUN for i in")),
        "{failure:?}"
    );

    assert_eq!(
        (failure.log_tail.len(), failure.log_tail[19].as_str()),
        (20, "line 30")
    );
    ensure!(log.contains("line 1\n"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_mounted_and_never_shown() -> Result<()> {
    let dockerfile = format!(
        "{BASE}RUN --mount=type=secret,id=npm test $(wc -c < /run/secrets/npm) = 13 && cat /run/secrets/npm && \
         ! test -e /run/secrets/other && exit 7\n"
    );
    let harness = Harness::new(&[("Dockerfile", &dockerfile)])?;
    let secrets: BTreeMap<_, _> =
        [("npm".into(), SecretSlice::from(b"SEQCANARY-one".to_vec()))].into();
    let (failure, log) = harness
        .failed(&Job {
            secrets,
            ..harness.job()
        })
        .await?;
    assert_eq!(failure.exit_code, Some(7), "{failure:?}\n{log}");
    ensure!(log.contains("***") && !log.contains("SEQCANARY"), "{log}");
    ensure!(!format!("{failure:?}").contains("SEQCANARY"), "{failure:?}");
    ensure!(
        !harness.daemon.log()?.contains("SEQCANARY"),
        "BuildKit's log shows it"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_syntax_line_of_a_dockerfile_is_ignored_and_staged_images_may_not_be_named()
-> Result<()> {
    let harness = Harness::new(&[(
        "Dockerfile",
        &format!("# syntax=evil.test/frontend\n{BASE}"),
    )])?;
    harness.built(&harness.job()).await?;
    let from = format!("FROM {}/b/x:latest\n", harness.repository);
    write(
        harness.context.path(),
        &[
            ("Dockerfile", &from),
            (
                "Copy",
                &format!("{BASE}COPY --from={}/b/x:latest / /x\n", harness.repository),
            ),
        ],
    )?;

    for dockerfile in ["Dockerfile", "Copy"] {
        let (failure, log) = harness
            .failed(&Job {
                dockerfile: dockerfile.into(),
                ..harness.job()
            })
            .await?;
        ensure!(failure.message.contains("denied"), "{failure:?}\n{log}");
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_files_are_sent_and_only_the_stage_that_is_named_is_built() -> Result<()> {
    let dockerfile = format!(
        "{BASE}COPY . /src/\nRUN test $(find /src -name 'f*' | wc -l) = 6000\nFROM scratch AS last\nCOPY none /\n"
    );
    let dockerfile = dockerfile.replacen("bookworm\n", "bookworm AS first\n", 1);
    let harness = Harness::new(&[("Dockerfile", &dockerfile)])?;

    for number in 0..6000 {
        let folder = harness.context.path().join(format!("d{}", number % 60));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("f{number}")), "x".repeat(number))?;
    }

    let job = Job {
        target: Some("first".into()),
        compression: Compression::Zstd,
        ..harness.job()
    };

    harness.built(&job).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_apart() -> Result<()> {
    let harness = Harness::new(&[("Dockerfile", BASE)])?;
    let (failure, _) = harness
        .failed(&Job {
            dockerfile: "No".into(),
            ..harness.job()
        })
        .await?;
    assert_eq!(failure.code, Code::DockerfileNotFound, "{failure:?}");

    let (failure, _) = harness
        .failed(&Job {
            logins: BTreeMap::new(),
            ..harness.job()
        })
        .await?;
    assert_eq!(failure.code, Code::StagingUnavailable, "{failure:?}");
    let nobody: BuildKit = "unix:///nonexistent/socket".parse()?;
    let (report, _lines) = report();

    assert_eq!(
        nobody
            .build(&harness.job(), harness.context.path(), report)
            .await
            .unwrap_err()
            .code,
        Code::BuildKitLost
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_build_is_cancelled() -> Result<()> {
    let harness = Harness::new(&[(
        "Dockerfile",
        &format!("{BASE}RUN touch $(mktemp) && echo begun && exec sleep 4711\n"),
    )])?;
    let (report, mut lines) = report();
    let (buildkit, job): (BuildKit, _) = (harness.daemon.address().parse()?, harness.job());
    let begun = async {
        while let Some(batch) = lines.recv().await {
            if batch.iter().any(|line| line.text == "begun") {
                return true;
            }
        }
        false
    };

    tokio::select! {
        built = buildkit.build(&job, harness.context.path(), report) => anyhow::bail!("{built:?}"),
        begun = begun => assert!(begun),
    }

    let sleeps = || {
        std::process::Command::new("pgrep")
            .args(["-f", "sleep 4711$"])
            .output()
            .is_ok_and(|found| found.status.success())
    };

    lab::until::until("the step ends", std::time::Duration::from_secs(10), || {
        ensure!(!sleeps(), "it still sleeps");
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_plain_http_is_pushed_to_and_looked_into() -> Result<()> {
    let mut harness = Harness::new(&[("Dockerfile", &format!("{BASE}RUN true\n"))])?;
    let (alone, layout) = (&mut harness.daemon.alone, layout()?);
    let (address, config) = (alone.address, alone.folder().join("etc/registry.yaml"));
    let data = alone.folder().join("data/registry");
    let yaml = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}:5000\"}}\n",
        data.display()
    );
    std::fs::write(&config, yaml)?;

    let part = Part::new(
        "registry",
        layout.bin("registry"),
        ["serve".into(), config.display().to_string()],
        Ready::Tcp((address, 5000).into()),
    );
    alone.start(&part.env("OTEL_TRACES_EXPORTER", "none"))?;

    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let staging = Staging::new(http, &format!("http://{address}:5000"), None)?;
    let cache = staging.repository("cache/x:main");
    let job = |plain_http| Job {
        image: staging.image("team", "k"),
        cache_export: Some(cache.clone()),
        logins: BTreeMap::new(),
        plain_http,
        ..harness.job()
    };

    assert_eq!(staging.find("team", "k").await?, None);
    let (built, _) = harness.built(&job(true)).await?;
    let staged = staging.find("team", "k").await?;

    ensure!(
        staged
            .as_ref()
            .is_some_and(|staged| staged.digest == built.digest && staged.size > 0),
        "{staged:?} {built:?}"
    );
    ensure!(
        data.join("docker/registry/v2/repositories/cache/x")
            .exists(),
        "there is no cache"
    );
    Ok(())
}
