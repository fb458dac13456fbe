use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::testing::{planned, settings, view};
use super::*;

/// A Workspace's variable is at most so long.
const LONG: usize = 4096;

/// What becomes of the sample's redis with this pod, in a Workspace whose variable `A` is as long
/// as it may be.
fn refused(pod: &Value) -> Option<Refusal> {
    let view = view("redis", |spec| {
        spec["variables"] = json!([{"name": "A", "value": "a".repeat(LONG)}, {"name": "PW", "generate": {"length": 64}}]);
        spec["components"][0]["template"] = pod.clone();
    });
    // A plan of a failing test is too large to be shown.
    planned(&view, &settings(&[])).err()
}

fn code(pod: &Value) -> Option<Code> {
    refused(pod).map(|refused| refused.code)
}

/// The most memory that the process had since it was last asked, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();

    // Begins anew (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_little_that_becomes_a_hundred_mebibytes_is_refused_before_it_does() {
    let value = "${variables::A}".repeat(2_184);
    let env: Vec<_> = (0..12)
        .map(|number| json!({"name": format!("V{number}"), "value": value}))
        .collect();
    let pod = json!({"containers": [{"name": "a", "image": "a", "env": env}]});
    let (_, before, begun) = (peak(), peak(), Instant::now());

    assert_eq!(code(&pod), Some(Code::RenderedTooLarge));
    let (more, took) = (peak().saturating_sub(before), begun.elapsed());
    assert!(more < 48 << 10, "{more} KiB");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// A pod whose texts come to [`MAX_TEXT`] bytes: variables, escapes and plain text, in every field
/// that is rendered.
fn full() -> Value {
    let quarter = "${variables::A}".repeat(MAX_TEXT / 4 / LONG);
    let escaped = "$${build::x}";
    let fixed = "image".len() + "init".len() + "sh".len() + "${build::x}".len();
    let rest = "b".repeat(MAX_TEXT / 4 - fixed);

    json!({
        "initContainers": [{
            "name": "a", "image": "init", "command": ["sh", quarter], "args": [rest], "env": [{"name": "A", "value": ""}],
        }],
        "containers": [{
            "name": "b", "image": "image", "command": [quarter], "args": [escaped],
            "env": [{"name": "A", "value": quarter}, {"name": "PW", "value": "${variables::PW}"}],
        }],
    })
}

#[test]
fn a_mebibyte_of_text_is_taken_and_one_byte_more_in_any_field_is_not() {
    assert_eq!(code(&full()), None);
    for list in ["initContainers", "containers"] {
        for field in ["image", "command/0", "args/0", "env/0/value"] {
            let mut pod = full();
            let text = pod.pointer_mut(&format!("/{list}/0/{field}")).unwrap();
            *text = json!(format!("{}c", text.as_str().unwrap()));
            assert_eq!(code(&pod), Some(Code::RenderedTooLarge), "{list} {field}");
        }
    }
}

#[test]
fn a_name_that_does_not_exist_is_not_repeated_without_end() {
    let args = [format!("${{variables::{}}}", "x".repeat(100_000))];
    let refused =
        refused(&json!({"containers": [{"name": "a", "image": "a", "args": args}]})).unwrap();
    assert_eq!(refused.code, Code::VariableNameUnknown);
    assert!(refused.message.len() < 1_000, "{}", refused.message.len());
}
