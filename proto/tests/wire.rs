//! The bytes on the wire. What these tests decode may still lie in streams of a running
//! installation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use sequencer_proto::Message;
use sequencer_proto::topics::{COMMANDS, Command, MAX_COMMAND, Pool, Verb};
use sequencer_proto::v1::{CommandPayload, Line, Log, Progress, Trigger};
use uuid::Uuid;

const COMMAND: &str =
    "0a033132331205627569 6c641a056275696c64220264762a036170703203343536 4003 4a026831";
const PROGRESS: &str = "0801 12026476 1a03617070 22054275696c64 2a054572726f72 3206452331303131 3a0473746570 4002 4803";
const LOG: &str = "0a10 0801 1002 1801 2208 68656c6c6f20c3a9 0a04 0802 1003";

/// The bytes of hex digits; spaces part fields.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(hex: &str, message: &M) {
    assert_eq!(M::decode(bytes(hex).as_slice()).unwrap(), *message);
    assert_eq!(message.encode_to_vec(), bytes(hex));
}

#[test]
fn a_command_is_these_bytes() {
    golden(
        COMMAND,
        &CommandPayload {
            uid: "123".into(),
            kind: "build".into(),
            verb: "build".into(),
            namespace: "dv".into(),
            name: "app".into(),
            workspace_uid: "456".into(),
            trigger: Trigger::Retry.into(),
            asked: "h1".into(),
        },
    );
}

#[test]
fn progress_is_these_bytes() {
    golden(
        PROGRESS,
        &Progress {
            at_ms: 1,
            namespace: "dv".into(),
            name: "app".into(),
            condition: "Build".into(),
            reason: "Error".into(),
            code: "E#1011".into(),
            message: "step".into(),
            done: 2,
            total: 3,
        },
    );
}

#[test]
fn a_log_is_these_bytes() {
    let first = Line {
        at_ms: 1,
        step: 2,
        stderr: true,
        text: "hello \u{e9}".into(),
    };

    let second = Line {
        at_ms: 2,
        step: 3,
        ..Line::default()
    };

    golden(
        LOG,
        &Log {
            lines: vec![first, second],
        },
    );
}

#[test]
fn what_is_cut_short_is_refused() {
    let mut cut = bytes(LOG);
    cut.pop();
    assert!(Log::decode(cut.as_slice()).is_err());
}

#[test]
fn a_command_of_an_older_or_newer_version_asks_for_nothing_special() {
    let mut older = bytes(COMMAND);
    older.truncate(older.len() - 6);
    older.extend([0x3a, 0x05]);
    older.extend(b"retry");
    let mut newer = bytes(COMMAND);
    newer.extend([0x40, 0x7f]);

    for payload in [older, newer] {
        let payload = CommandPayload::decode(payload.as_slice()).unwrap();
        assert_eq!(payload.trigger(), Trigger::Unspecified);
    }
}

#[test]
fn a_field_of_a_newer_version_is_skipped() {
    let mut newer = bytes(COMMAND);
    newer.extend([0x9a, 0x06, 0x01, b'x']);
    assert_eq!(
        CommandPayload::decode(newer.as_slice()).unwrap(),
        CommandPayload::decode(bytes(COMMAND).as_slice()).unwrap()
    );
}

#[test]
fn the_longest_command_fits() {
    let pool: Pool = "p".repeat(Pool::MAX).parse().unwrap();
    let command = Command::new(Verb::Resolve, Some(pool), Uuid::max(), Uuid::max()).unwrap();
    let payload = command.payload(&"n".repeat(63), &"n".repeat(253), Trigger::Retry);
    assert!(payload.encoded_len() <= MAX_COMMAND);
    assert!(command.agrees(&payload));
    assert!(
        MAX_COMMAND + command.to_string().len() + 256
            < usize::try_from(COMMANDS.max_message_size).unwrap()
    );
}

#[test]
fn a_command_of_another_object_does_not_agree() {
    let command = |uid| Command::new(Verb::Push, None, Uuid::nil(), Uuid::from_u128(uid)).unwrap();
    assert!(!command(1).agrees(&command(2).payload("ns", "name", Trigger::Change)));
}
