//! A session: BuildKit calls us back, over HTTP/2 inside of a gRPC stream, for the context, secrets
//! and logins.
//!
//! Not the session of `bollard` 0.21, of which only the protocol crate is used: its drivers take the
//! context as one archive in memory, and log in by Docker's own credentials.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use futures_util::{StreamExt as _, stream};
use secrecy::ExposeSecret as _;
use sequencer_runtime::error::chain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::files::Files;
use super::{Job, WINDOW};

/// What BuildKit may call.
const METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.FileSync/TarStream",
];

/// The bytes of one message of the outer stream.
const CHUNK: usize = 32 * 1024;

/// Opens the session. It ends with the returned tasks.
pub(super) async fn open(
    control: &mut ControlClient<Channel>,
    id: &str,
    job: &Job,
    context: &Path,
) -> Result<JoinSet<()>, Status> {
    let (out, outgoing) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    let value = |text: &str| {
        text.parse()
            .map_err(|_error| Status::internal("a session's name is no ASCII"))
    };
    let metadata = request.metadata_mut();
    metadata.insert("x-docker-expose-session-uuid", value(id)?);
    metadata.insert("x-docker-expose-session-name", value("sequencer")?);
    metadata.insert("x-docker-expose-session-sharedkey", value(&job.shared)?);
    for method in METHODS {
        metadata.append("x-docker-expose-session-grpc-method", value(method)?);
    }
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    let (read, write) = tokio::io::split(theirs);
    let mut tasks = JoinSet::new();
    // BuildKit answers only once we have spoken: the server has to be there before.
    tasks.spawn(serve(ours, context, Vault::new(job), Logins::new(job)));
    tasks.spawn(send(read, out));
    let incoming = control.session(request).await?.into_inner();
    tasks.spawn(receive(incoming, write));
    Ok(tasks)
}

/// Answers calls on the inner connection.
fn serve(
    connection: DuplexStream,
    context: &Path,
    vault: Vault,
    logins: Logins,
) -> impl Future<Output = ()> + Send + use<> {
    let incoming = stream::once(async { io::Result::Ok(connection) }).chain(stream::pending());
    let server = Server::builder()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .add_service(HealthServer::new(Alive))
        .add_service(FileSyncServer::new(Files::new(context)))
        .add_service(SecretsServer::new(vault))
        .add_service(AuthServer::new(logins))
        .serve_with_incoming(incoming);

    async {
        if let Err(error) = server.await {
            tracing::debug!(error = chain(&error), "Session server ended");
        }
    }
}

/// Reads the outer stream as fast as it comes, without a bound: h2 gives up a connection whose
/// small messages wait.
async fn receive(mut incoming: Streaming<BytesMessage>, mut write: WriteHalf<DuplexStream>) {
    let (ahead, mut behind) = mpsc::unbounded_channel();
    let read = async move {
        while let Ok(Some(message)) = incoming.message().await {
            if ahead.send(message.data).is_err() {
                break;
            }
        }
    };

    let written = async move {
        while let Some(data) = behind.recv().await {
            if write.write_all(&data).await.is_err() {
                break;
            }
        }
    };

    tokio::join!(read, written);
}

async fn send(mut read: ReadHalf<DuplexStream>, out: mpsc::Sender<BytesMessage>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = read.read(&mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default().to_vec();
        if length == 0 || out.send(BytesMessage { data }).await.is_err() {
            return;
        }
    }
}

/// That we are there.
struct Alive;

#[async_trait]
impl Health for Alive {
    type WatchStream = stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check"))
    }

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check"))
    }
}

struct Vault(BTreeMap<String, secrecy::SecretSlice<u8>>);

impl Vault {
    fn new(job: &Job) -> Self {
        Self(job.secrets.clone())
    }
}

#[async_trait]
impl Secrets for Vault {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let secret = self
            .0
            .get(&request.into_inner().id)
            .ok_or_else(|| Status::not_found("there is no such secret"))?;
        Ok(Response::new(GetSecretResponse {
            data: secret.expose_secret().to_vec(),
        }))
    }
}

/// The logins of registries, each for its host alone.
struct Logins(BTreeMap<String, sequencer_api::login::Login>);

impl Logins {
    fn new(job: &Job) -> Self {
        Self(job.logins.clone())
    }
}

/// Without the methods for tokens BuildKit fetches them itself.
#[async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.0.get(&request.into_inner().host);
        Ok(Response::new(login.map_or_else(
            CredentialsResponse::default,
            |login| CredentialsResponse {
                username: login.username.clone(),
                secret: login.password.expose_secret().into(),
            },
        )))
    }

    async fn fetch_token(
        &self,
        _request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("only Credentials"))
    }

    async fn get_token_authority(
        &self,
        _request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only Credentials"))
    }

    async fn verify_token_authority(
        &self,
        _request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only Credentials"))
    }
}
