//! tonic with mutual TLS: unary calls of plain bytes, without protobuf on either side.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use anyhow::ensure;
use bytes::{Buf, BufMut, Bytes};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::UnaryService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::case::{Case, SMALL_BYTES, Workload};
use crate::certificates::{Certificates, DNS_NAME};
use crate::load::{self, Figures};
use crate::processes::{Target, ready_at};

/// Serves for ever.
pub(crate) async fn serve(certificates: &Certificates) -> anyhow::Result<()> {
    let tls = ServerTlsConfig::new().identity(identity(certificates)?).client_ca_root(root(certificates)?);
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
    ready_at(incoming.local_addr()?);
    Server::builder().tls_config(tls)?.serve_with_incoming(EchoServer, incoming).await?;
    Ok(())
}

/// Measures `case` once.
pub(crate) async fn measure(case: Case, certificates: &Certificates, target: &Target) -> anyhow::Result<Figures> {
    match case.workload {
        Workload::Cold => {
            let dial_and_call = async || {
                let client = dial(certificates, target).await?;
                call(client.clone()).await.map(|()| client)
            };
            load::dials(target, dial_and_call, async |client| drop(client)).await
        }
        Workload::Calls { callers } => {
            let client = dial(certificates, target).await?;
            load::calls(target, callers, move || call(client.clone())).await
        }
        Workload::Bulk | Workload::Leaves => unreachable!("tonic is measured by calls only"),
    }
}

async fn dial(certificates: &Certificates, target: &Target) -> anyhow::Result<Grpc<Channel>> {
    let tls = ClientTlsConfig::new().identity(identity(certificates)?).ca_certificate(root(certificates)?).domain_name(DNS_NAME);
    let endpoint = Endpoint::from_shared(format!("https://{}", target.address))?.tls_config(tls)?;
    Ok(Grpc::new(endpoint.connect().await?))
}

async fn call(mut client: Grpc<Channel>) -> anyhow::Result<()> {
    client.ready().await?;
    let request = Request::new(Bytes::from_static(&[0; SMALL_BYTES]));
    let reply = client.unary(request, PathAndQuery::from_static("/bench.Bench/Echo"), Plain).await?;
    ensure!(reply.get_ref().len() == SMALL_BYTES, "the reply has {} bytes", reply.get_ref().len());
    Ok(())
}

fn identity(certificates: &Certificates) -> anyhow::Result<Identity> {
    Ok(Identity::from_pem(certificates.pem("cert.pem")?, certificates.pem("key.pem")?))
}

fn root(certificates: &Certificates) -> anyhow::Result<Certificate> {
    Ok(Certificate::from_pem(certificates.pem("root.pem")?))
}

/// What generated code would be.
#[derive(Clone, Debug)]
struct EchoServer;

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(Plain).unary(Echo, request).await) })
    }
}

#[derive(Debug)]
struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// Messages that are their own encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
