//! The name server, over UDP and TCP.
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use crate::support::World;

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(
        Name::from_ascii(format!("{name}.")).unwrap(),
        kind,
    ));
    message.to_vec().unwrap()
}

async fn udp(world: &World, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(&query(name, kind), world.cloud.addresses().dns)
        .await
        .unwrap();

    let mut buffer = [0; 4_096];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn tcp(world: &World, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(world.cloud.addresses().dns)
        .await
        .unwrap();
    let query = query(name, kind);

    stream
        .write_u16(u16::try_from(query.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn data(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

#[tokio::test]
async fn names_answer_as_their_records_say() {
    let world = World::with(|settings| settings.edge_address = [203, 0, 113, 9].into()).await;
    world
        .create_record(
            "CNAME",
            "api.pr-1",
            "x.cfargotunnel.com",
            json!({"proxied": true}),
        )
        .await
        .result();
    world
        .create_record("A", "direct", "192.0.2.1", json!({"ttl": 60}))
        .await
        .result();

    let proxied = udp(&world, "api.pr-1.yourdomain.com", RecordType::A).await;
    assert_eq!(data(&proxied), ["203.0.113.9"]);
    assert!(proxied.metadata.authoritative);
    let direct = udp(&world, "direct.yourdomain.com", RecordType::A).await;
    assert_eq!(
        (data(&direct), direct.answers[0].ttl),
        (vec!["192.0.2.1".to_owned()], 60)
    );

    let absent = udp(&world, "gone.yourdomain.com", RecordType::A).await;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(absent.authorities[0].record_type(), RecordType::SOA);
    let no_data = udp(&world, "api.pr-1.yourdomain.com", RecordType::AAAA).await;
    assert_eq!(
        (no_data.metadata.response_code, no_data.answers.len()),
        (ResponseCode::NoError, 0)
    );

    let elsewhere = udp(&world, "example.com", RecordType::A).await;
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);

    assert_eq!(
        data(&tcp(&world, "api.pr-1.yourdomain.com", RecordType::A).await),
        ["203.0.113.9"]
    );
}

#[tokio::test]
async fn a_deleted_record_is_gone_at_once() {
    let world = World::start().await;
    let made = world
        .create_record("A", "direct", "192.0.2.1", json!({}))
        .await;

    assert_eq!(
        udp(&world, "direct.yourdomain.com", RecordType::A)
            .await
            .answers
            .len(),
        1
    );

    world
        .delete(&format!("{}/{}", world.records(), made.id()))
        .await
        .result();

    let gone = udp(&world, "direct.yourdomain.com", RecordType::A).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_truncated_and_whole_over_tcp() {
    let world = World::start().await;
    let text = "t".repeat(1_000);

    world
        .create_record("TXT", "long", &text, json!({}))
        .await
        .result();

    assert!(
        udp(&world, "long.yourdomain.com", RecordType::TXT)
            .await
            .metadata
            .truncation
    );

    let whole = tcp(&world, "long.yourdomain.com", RecordType::TXT).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 1);
}
