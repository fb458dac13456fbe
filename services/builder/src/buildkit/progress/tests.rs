use bollard_buildkit_proto::moby::buildkit::v1::VertexLog;

use super::*;

fn vertex(digest: &str, name: &str, cached: bool, error: &str) -> Vertex {
    let time = Some(Timestamp {
        seconds: 1,
        nanos: 0,
    });
    let completed = time.filter(|_| cached || !error.is_empty());

    Vertex {
        digest: digest.into(),
        name: name.into(),
        cached,
        started: time,
        completed,
        error: error.into(),
        ..Vertex::default()
    }
}

fn log(digest: &str, text: &str) -> VertexLog {
    VertexLog {
        vertex: digest.into(),
        stream: 1,
        msg: text.into(),
        ..VertexLog::default()
    }
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn lines_are_put_together_and_secrets_masked_even_across_messages() {
    let mut progress = Progress::new(Redact::new([b"hunter22".as_slice()]));
    let vertexes = vec![vertex("a", "[1/2] RUN x", false, "")];
    let lines = progress.take(StatusResponse {
        vertexes,
        logs: vec![log("a", "one\nhunt")],
        ..StatusResponse::default()
    });
    assert_eq!(texts(&lines), ["[1/2] RUN x", "one"]);

    let lines = progress.take(StatusResponse {
        logs: vec![log("a", "er22\n10%\r100%\nend")],
        ..StatusResponse::default()
    });
    assert_eq!(texts(&lines), ["***", "100%"]);
    let vertexes = vec![vertex("a", "[1/2] RUN x", false, "exit code: 1 hunter22")];
    let lines = progress.take(StatusResponse {
        vertexes,
        ..StatusResponse::default()
    });
    assert_eq!(texts(&lines), ["end", "ERROR exit code: 1 ***"]);
    let failed = progress.failed().unwrap();
    assert_eq!(
        (failed.name.as_str(), failed.tail),
        (
            "[1/2] RUN x",
            vec!["one".into(), "***".into(), "100%".into(), "end".into()]
        )
    );
}

#[test]
fn steps_of_the_dockerfile_are_counted_and_a_cancelled_one_has_not_failed() {
    let mut progress = Progress::new(Redact::default());
    let vertexes = vec![
        vertex("a", "[internal] load build context", true, ""),
        vertex("b", "[builder 1/2] FROM x", true, ""),
        vertex("c", "[builder 2/2] RUN y", false, "context canceled"),
        vertex("d", "exporting to image", false, ""),
    ];

    progress.take(StatusResponse {
        vertexes,
        ..StatusResponse::default()
    });
    assert_eq!(progress.counts(), (1, 2));
    assert_eq!(progress.failed(), None);
}

#[test]
fn the_step_that_began_last_is_under_way_until_it_ends() {
    let begun = |digest: &str, name: &str, second: i64| Vertex {
        started: Some(Timestamp {
            seconds: second,
            nanos: 0,
        }),
        ..vertex(digest, name, false, "")
    };
    let mut progress = Progress::new(Redact::new([b"hunter22".as_slice()]));
    let mut take = |vertexes: Vec<Vertex>| {
        progress.take(StatusResponse {
            vertexes,
            ..StatusResponse::default()
        });
        progress.current().map(str::to_owned)
    };

    let known = Vertex {
        started: None,
        ..vertex("c", "[3/3] RUN z", false, "")
    };
    assert_eq!(
        take(vec![known, vertex("a", "[1/3] FROM x", true, "")]),
        None
    );

    let y = begun("b", "[2/3] RUN y hunter22", 2);
    assert_eq!(take(vec![y.clone()]).as_deref(), Some("[2/3] RUN y ***"));
    let z = begun("c", "[3/3] RUN z", 3);
    assert_eq!(take(vec![z.clone()]).as_deref(), Some("[3/3] RUN z"));

    let ended = |vertex: Vertex| Vertex {
        completed: vertex.started,
        ..vertex
    };
    assert_eq!(take(vec![ended(z)]).as_deref(), Some("[2/3] RUN y ***"));
    assert_eq!(take(vec![ended(y)]), None);
}

#[test]
fn a_cache_that_is_not_there_is_no_failure_and_the_dockerfiles_own_step_goes_first() {
    let mut progress = Progress::new(Redact::default());
    let failed = [
        ("a", "importing cache manifest from x"),
        ("b", "exporting to image"),
        ("c", "[1/1] RUN x"),
    ];
    let vertexes = failed
        .map(|(digest, name)| vertex(digest, name, false, "no"))
        .into();

    progress.take(StatusResponse {
        vertexes,
        ..StatusResponse::default()
    });
    assert_eq!(progress.failed().unwrap().name, "[1/1] RUN x");
    let mut progress = Progress::new(Redact::default());
    let vertexes = vec![vertex(
        "a",
        "importing cache manifest from x",
        false,
        "not found",
    )];

    progress.take(StatusResponse {
        vertexes,
        ..StatusResponse::default()
    });
    assert_eq!(progress.failed(), None);
}

#[test]
fn only_the_last_twenty_lines_are_kept() {
    let mut progress = Progress::new(Redact::default());
    let text: String = (0..50).map(|number| format!("{number}\n")).collect();
    let vertexes = vec![vertex("a", "[1/1] RUN x", false, "")];

    progress.take(StatusResponse {
        vertexes,
        logs: vec![log("a", &text)],
        ..StatusResponse::default()
    });

    let vertexes = vec![vertex("a", "", false, "exit code: 1")];
    progress.take(StatusResponse {
        vertexes,
        ..StatusResponse::default()
    });

    let tail = progress.failed().unwrap().tail;
    assert_eq!((tail.len(), tail[0].as_str()), (20, "30"));
}
