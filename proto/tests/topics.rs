//! The table of topics: what is built parses, nothing else does, and nothing in it clashes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use proptest::prelude::*;
use sequencer_proto::topics::{
    BuildLog, COMMANDS, Command, Consumer, Event, Kind, Malformed, Pool, Retention, STREAMS,
    Service, Verb,
};
use uuid::Uuid;

fn verbs() -> impl Strategy<Value = Verb> {
    prop::sample::select(Verb::ALL)
}

fn pools() -> impl Strategy<Value = Pool> {
    "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?".prop_map(|name| name.parse().unwrap())
}

fn uuids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn commands() -> impl Strategy<Value = Command> {
    (verbs(), pools(), uuids(), uuids()).prop_map(|(verb, pool, workspace, uid)| {
        Command::new(verb, verb.pooled().then_some(pool), workspace, uid).unwrap()
    })
}

/// Whether a subject or filter and a filter have a subject in common, as NATS sees it.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

proptest! {
    #[test]
    fn a_command_reads_back_from_its_subject(command in commands()) {
        prop_assert_eq!(command.to_string().parse(), Ok(command));
    }

    #[test]
    fn an_event_reads_back_from_its_subject(
        workspace in uuids(), service in prop::sample::select(Service::ALL),
        kind in prop::sample::select(Kind::ALL), uid in uuids(),
    ) {
        let event = Event { workspace, service, kind, uid };
        prop_assert_eq!(event.to_string().parse(), Ok(event));
    }

    #[test]
    fn a_log_reads_back_from_its_subject(workspace in uuids(), build in uuids()) {
        let log = BuildLog { workspace, build };
        prop_assert_eq!(log.to_string().parse(), Ok(log));
    }

    #[test]
    fn whatever_parses_is_written_as_it_was(subject in "seq\\.v1\\.(cmd|evt|log)(\\.[a-z0-9_*>-]{0,36}){0,7}|\\PC{0,80}") {
        if let Ok(command) = subject.parse::<Command>() {
            prop_assert_eq!(command.to_string(), subject);
        } else if let Ok(event) = subject.parse::<Event>() {
            prop_assert_eq!(event.to_string(), subject);
        } else if let Ok(log) = subject.parse::<BuildLog>() {
            prop_assert_eq!(log.to_string(), subject);
        }
    }

    #[test]
    fn a_command_with_one_token_changed_is_another_or_none(command in commands(), at in 0_usize..9, token in "[a-z0-9_*>-]{0,12}") {
        let subject = command.to_string();
        let mut tokens: Vec<_> = subject.split('.').collect();
        tokens[at] = &token;
        let changed = tokens.join(".");
        if changed != subject {
            prop_assert_ne!(changed.parse(), Ok(command));
        }
    }

    #[test]
    fn a_command_is_got_by_exactly_one_consumer(command in commands(), pool in pools()) {
        let own = command.consumer();
        let pools: Vec<_> = [pool, Pool::default()].into_iter().collect();
        let others = Consumer::all(&pools).into_iter().filter(|other| *other != own);
        prop_assert!(overlap(&command.to_string(), &own.filter));
        prop_assert!(others.into_iter().all(|other| !overlap(&command.to_string(), &other.filter)));
    }

    #[test]
    fn no_two_consumers_overlap(one in pools(), other in pools()) {
        let pools: Vec<_> = if one == other { vec![one] } else { vec![one, other] };
        let all = Consumer::all(&pools);
        for (at, consumer) in all.iter().enumerate() {
            for later in &all[at + 1..] {
                prop_assert!(!overlap(&consumer.filter, &later.filter), "{consumer:?} {later:?}");
                prop_assert_ne!(&consumer.name, &later.name);
            }
            prop_assert!(overlap(&consumer.filter, COMMANDS.subjects));
        }
    }
}

#[test]
fn subjects_are_written_as_the_permissions_expect() {
    let uids = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (one, two) = (
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000002",
    );
    let build = Command::new(Verb::Build, Some(Pool::default()), uids.0, uids.1).unwrap();
    assert_eq!(
        build.to_string(),
        format!("seq.v1.cmd.builder.build.default.{one}.build.{two}")
    );
    let dns = Command::new(Verb::Dns, None, uids.0, uids.1).unwrap();
    assert_eq!(
        dns.to_string(),
        format!("seq.v1.cmd.network.dns._.{one}.dnsrecord.{two}")
    );
    let event = Event {
        workspace: uids.0,
        service: Service::Deployer,
        kind: Kind::Component,
        uid: uids.1,
    };
    assert_eq!(
        event.to_string(),
        format!("seq.v1.evt.{one}.deployer.component.{two}")
    );
    assert_eq!(
        BuildLog {
            workspace: uids.0,
            build: uids.1
        }
        .to_string(),
        format!("seq.v1.log.{one}.{two}")
    );
    assert_eq!(
        Consumer::all(&["large".parse().unwrap()])
            .into_iter()
            .map(|consumer| consumer.name)
            .collect::<Vec<_>>(),
        [
            "builder-large",
            "resolver-large",
            "registry-pusher",
            "network",
            "deployer"
        ]
    );
    let large = "large".parse().unwrap();
    assert_eq!(
        Consumer::builder(&large).filter,
        "seq.v1.cmd.builder.build.large.*.*.*"
    );
    assert_eq!(
        Consumer::resolver(&large).filter,
        "seq.v1.cmd.builder.resolve.large.*.*.*"
    );
    assert_eq!(Consumer::network().filter, "seq.v1.cmd.network.*._.*.*.*");
}

#[test]
fn what_is_malformed_is_refused() {
    let (one, two) = (
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000002",
    );
    let good = format!("seq.v1.cmd.builder.build.default.{one}.build.{two}");
    assert!(good.parse::<Command>().is_ok());
    for wrong in [
        String::new(),
        good.replace(".v1.", ".v2."),
        good.replace("builder", "deployer"),
        good.replace(".build.default", ".push.default"),
        good.replace("default", "_"),
        good.replace("default", "*"),
        good.replace("default", "-x"),
        good.replace(".build.0", ".component.0"),
        good.replace("000000000002", "00000000000G"),
        good.replace("-0000-0000-0000-000000000002", "0000000000000000002"),
        good.replace("000000000002", "00000000000A"),
        format!("{good}.more"),
        format!(" {good}"),
        format!("seq.v1.cmd.network.dns.default.{one}.dnsrecord.{two}"),
    ] {
        assert_eq!(wrong.parse::<Command>(), Err(Malformed), "{wrong}");
    }
    assert!(Command::new(Verb::Build, None, Uuid::nil(), Uuid::nil()).is_err());
    assert!(Command::new(Verb::Push, Some(Pool::default()), Uuid::nil(), Uuid::nil()).is_err());
    for wrong in ["", "_", "-a", "a-", "A", "a.b", "a*", &"a".repeat(41)] {
        assert!(wrong.parse::<Pool>().is_err(), "{wrong}");
    }
}

#[test]
fn streams_keep_what_the_design_says() {
    let table: Vec<_> = STREAMS
        .iter()
        .map(|stream| {
            let hours = stream.max_age / 3600;
            let megabytes = stream.max_bytes >> 20;

            (
                stream.name,
                stream.subjects,
                stream.max_messages_per_subject,
                stream.max_message_size,
                megabytes,
                hours,
            )
        })
        .collect();
    let hours = Duration::from_secs;

    assert_eq!(
        table,
        [
            ("SEQ_CMD", "seq.v1.cmd.>", 1, 4096, 512, hours(24)),
            ("SEQ_EVT", "seq.v1.evt.>", 64, 16384, 1024, hours(72)),
            ("SEQ_LOG", "seq.v1.log.>", 20_000, 16384, 4096, hours(24)),
        ]
    );
    assert_eq!(
        STREAMS.map(|stream| stream.max_messages),
        [Some(500_000), None, None]
    );

    let [commands, events, logs] = STREAMS.map(|stream| stream.retention);
    assert_eq!(
        (commands, events, logs),
        (Retention::WorkQueue, Retention::Limits, Retention::Limits)
    );

    for (at, one) in STREAMS.iter().enumerate() {
        assert!(
            STREAMS[at + 1..]
                .iter()
                .all(|other| !overlap(one.subjects, other.subjects))
        );
    }
}
