//! FileSync: BuildKit fetches the context. It gets a list of every file first and asks for the
//! content of those that it does not have. No crate that is kept serves it on its own: where
//! `bollard` begins to, it is private to its drivers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::tree::{Tree, Wish, is_file};

/// The names under which the frontend asks for the context and for the Dockerfile, which both are
/// in one folder.
const FOLDERS: [&str; 2] = ["context", "dockerfile"];

/// The bytes of one packet of content.
const CHUNK: usize = 128 * 1024;

/// How many packets wait to be sent.
const WAITING: usize = 64;

/// A folder that BuildKit may read.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
}

/// What is sent to BuildKit.
type Outgoing = mpsc::Sender<Result<Packet, Status>>;

/// The files by the number under which they were announced.
type Announced = Arc<Mutex<HashMap<u32, String>>>;

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }
}

#[async_trait]
impl FileSync for Files {
    type DiffCopyStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;
    type TarStreamStream = Self::DiffCopyStream;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let (name, wish) = wish(request.metadata());
        if !FOLDERS.contains(&name.as_str()) {
            return Err(Status::not_found("there is no such folder"));
        }
        let tree = Tree::new(&self.root, &wish)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (out, outgoing) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(self.root.clone(), tree, request.into_inner(), out));
        // The tasks end with the stream. They run beside it: BuildKit's requests are read also
        // while it reads nothing.
        let stream =
            futures_util::stream::unfold((outgoing, tasks), async |(mut outgoing, tasks)| {
                outgoing
                    .recv()
                    .await
                    .map(|packet| (packet, (outgoing, tasks)))
            });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn tar_stream(
        &self,
        _request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("only DiffCopy"))
    }
}

/// The folder that is asked for, and what of it.
fn wish(metadata: &MetadataMap) -> (String, Wish) {
    let all = |key: &str| {
        let encoded = metadata
            .get(format!("{key}-encoded"))
            .is_some_and(|value| value == "1" || value == "true");
        let values = metadata
            .get_all(key)
            .into_iter()
            .filter_map(|value| value.to_str().ok());

        values
            .map(|value| {
                if encoded {
                    decoded(value)
                } else {
                    value.to_owned()
                }
            })
            .collect::<Vec<_>>()
    };

    let name = all("dir-name").into_iter().next().unwrap_or_default();
    (
        name,
        Wish {
            include: all("include-patterns"),
            exclude: all("exclude-patterns"),
            follow: all("followpaths"),
        },
    )
}

/// Go's url.QueryUnescape.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&digits, 16).ok());
            }
            other => bytes.push(other),
        }
    }

    String::from_utf8_lossy(&bytes).into_owned()
}

async fn serve(root: PathBuf, tree: Tree, mut incoming: Streaming<Packet>, out: Outgoing) {
    let announced = Announced::default();
    // Without a bound: what is not read at once makes h2 give up the connection.
    let (ask, mut asked) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok(Some(packet)) = incoming.message().await {
            if ask.send(packet).is_err() {
                return;
            }
        }
    });
    {
        let (announced, out) = (Arc::clone(&announced), out.clone());
        tasks.spawn_blocking(move || announce(&tree, &announced, &out));
    }

    while let Some(packet) = asked.recv().await {
        match packet.r#type() {
            PacketType::PacketReq => {
                let path = announced
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&packet.id);
                let Some(path) = path else {
                    drop(
                        out.send(Err(Status::invalid_argument("no such file was announced")))
                            .await,
                    );
                    return;
                };

                let (path, to) = (root.join(path), out.clone());
                let sent =
                    tokio::task::spawn_blocking(move || content(&path, packet.id, &to)).await;
                if !sent.is_ok_and(|sent| sent.is_ok()) {
                    drop(
                        out.send(Err(Status::data_loss(
                            "a file of the context cannot be read",
                        )))
                        .await,
                    );
                    return;
                }
            }
            PacketType::PacketFin => {
                drop(out.send(Ok(packet_of(PacketType::PacketFin))).await);
                return;
            }
            PacketType::PacketErr => return,
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
}

/// Tells every file, and that these were all.
fn announce(tree: &Tree, announced: &Announced, out: &Outgoing) {
    let mut number = 0;
    let walked = tree.walk(&mut |stat| {
        if is_file(&stat) {
            announced
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, stat.path.clone());
        }

        number += 1;
        send(
            out,
            Packet {
                stat: Some(stat),
                ..packet_of(PacketType::PacketStat)
            },
        )
    });

    // If nobody listens any more, nobody has to know.
    drop(match walked {
        Ok(()) => send(out, packet_of(PacketType::PacketStat)),
        Err(error) => out
            .blocking_send(Err(Status::data_loss(error.to_string())))
            .map_err(io::Error::other),
    });
}

/// Sends a file's content. An empty packet ends it.
fn content(path: &Path, id: u32, out: &Outgoing) -> io::Result<()> {
    let mut file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut data)?;

        send(
            out,
            Packet {
                id,
                data,
                ..packet_of(PacketType::PacketData)
            },
        )?;

        if read == 0 {
            return Ok(());
        }
    }
}

fn send(out: &Outgoing, packet: Packet) -> io::Result<()> {
    out.blocking_send(Ok(packet))
        .map_err(|_closed| io::ErrorKind::BrokenPipe.into())
}

fn packet_of(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        stat: None::<Stat>,
        id: 0,
        data: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_encoded_is_read() {
        assert_eq!(decoded("a%20b+c%C3%BC"), "a b c\u{fc}");
        let mut metadata = MetadataMap::new();
        metadata.insert("dir-name", "context".parse().unwrap());
        metadata.append("exclude-patterns", "%2A".parse().unwrap());
        metadata.append("exclude-patterns", "b".parse().unwrap());
        metadata.insert("exclude-patterns-encoded", "1".parse().unwrap());
        metadata.append("followpaths", "a+b".parse().unwrap());
        let (name, wish) = wish(&metadata);
        assert_eq!(
            (name.as_str(), wish.exclude, wish.follow),
            ("context", vec!["*".into(), "b".into()], vec!["a+b".into()])
        );
    }
}
