//! The service `host`: what front ends and administrators call over the overlay.

use std::sync::Arc;

use bytes::Bytes;
use caps_model::messages::Update;
use caps_model::messages::blobs::{Download, Part, Upload};
pub use caps_model::messages::host::codes;
use caps_model::messages::host::{self, As, Call as MethodCall, Login, Logout};
use caps_model::{Position, Services, Wire, codec};
use caps_overlay::{Answer, Call, Caller, Descriptor, Failure, MethodDescriptor, ReplySink, Service};
use caps_overlay::{Identity, Layer};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::cabinet::Ask;
use crate::host::{Host, Listener, ListenerGone, Taker, malformed};

/// A [`Host`] on the overlay. Decodes, asks the host, encodes.
#[derive(Clone, Debug)]
pub struct HostService {
    host: Arc<Host>,
    services: Services,
}

impl HostService {
    /// The service of this host, for front ends of the cabinet that has these services.
    pub fn new(host: Arc<Host>, services: Services) -> Self {
        Self { host, services }
    }

    fn answer<Q, A, F>(&self, call: Call, ask_host: impl FnOnce(Arc<Host>, Q, Identity, Ask) -> F + Send + 'static) -> Answer
    where
        Q: Wire + Send + 'static,
        A: Wire,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let question = match codec::decode::<Q>(&call.body) {
            Ok(question) => question,
            Err(problem) => return Answer::failed(malformed(problem)),
        };
        let (host, ask) = (self.host.clone(), ask(&call));
        Answer::later(async move { encode(&ask_host(host, question, call.peer, ask).await?) })
    }

    fn subscribe(&self, call: Call) -> Answer {
        let question = match codec::decode::<As<caps_model::messages::Subscribe>>(&call.body) {
            Ok(question) => question,
            Err(problem) => return Answer::failed(malformed(problem)),
        };
        let (host, ask) = (self.host.clone(), ask(&call));
        Answer::stream(move |sink| async move { host.subscribe(question, &call.peer, ask, &mut Sink(sink)).await })
    }
}

impl HostService {
    fn download(&self, call: Call) -> Answer {
        let question = match codec::decode::<As<Download>>(&call.body) {
            Ok(question) => question,
            Err(problem) => return Answer::failed(malformed(problem)),
        };
        let (host, ask) = (self.host.clone(), ask(&call));
        Answer::stream(move |sink| async move { host.download(question, &call.peer, ask, &mut Sink(sink)).await })
    }
}

impl Service for HostService {
    fn descriptor(&self) -> Descriptor {
        Descriptor { id: self.services.host(), name: "host", methods: METHODS }
    }

    fn handle(&self, call: Call) -> Answer {
        match call.method {
            host::LOGIN => self.answer(call, |host, login: Login, peer, ask| async move { host.login(login, &peer, ask).await }),
            host::LOGOUT => self.answer(call, |host, logout: As<Logout>, peer, ask| async move { host.logout(logout, &peer, ask).await }),
            host::CALL => self.answer(call, |host, call: MethodCall, peer, ask| async move { host.call(call, &peer, ask).await }),
            host::QUERY => self.answer(call, |host, query, peer, ask| async move { host.query(query, &peer, ask).await }),
            host::GET => self.answer(call, |host, get, peer, ask| async move { host.get(get, &peer, ask).await }),
            host::HISTORY => self.answer(call, |host, history, peer, ask| async move { host.history(history, &peer, ask).await }),
            host::INSPECT => self.answer(call, |host, question, peer, ask| async move { host.inspect(question, &peer, ask).await }),
            host::LATEST => {
                let (host, ask) = (self.host.clone(), ask(&call));
                Answer::later(async move { encode(&host.latest(ask).await?) })
            }
            host::OUTCOME => self.answer(call, |host, question, peer, ask| async move { host.outcome(question, &peer, ask).await }),
            host::SUBSCRIBE => self.subscribe(call),
            host::UPLOAD => self.answer(call, |host, step: As<Upload>, peer, ask| async move { host.upload(step, &peer, ask).await }),
            host::DOWNLOAD => self.download(call),
            host::SCHEMAS => Answer::Ready(encode(&self.host.schemas())),
            host::STATUS => {
                let (host, ask) = (self.host.clone(), ask(&call));
                Answer::later(async move { encode(&host.status(ask).await) })
            }
            other => Answer::failed(malformed(format!("the host has no method {other}"))),
        }
    }
}

/// A front end at the other end of a stream.
struct Sink(ReplySink);

impl Listener for Sink {
    fn tell(&mut self, update: Update) -> BoxFuture<'_, Result<(), ListenerGone>> {
        async move {
            // An update comes from a frame of layer 1 and is no larger here; if it could not be encoded, the stream ends and is resumed.
            let body = codec::encode(&update).map_err(|_| ListenerGone)?;
            self.0.send(body.into()).await.map_err(|_| ListenerGone)
        }
        .boxed()
    }
}

impl Taker for Sink {
    fn take(&mut self, part: Part) -> BoxFuture<'_, Result<(), ListenerGone>> {
        async move {
            let body = codec::encode(&part).map_err(|_| ListenerGone)?;
            self.0.send(body.into()).await.map_err(|_| ListenerGone)
        }
        .boxed()
    }
}

fn ask(call: &Call) -> Ask {
    Ask { at_least: Position(call.position), deadline: call.deadline, priority: call.priority }
}

fn encode<T: Wire>(message: &T) -> Result<Bytes, Failure> {
    codec::encode(message).map(Bytes::from).map_err(|problem| Failure::new(codes::FAULT, problem.to_string()))
}

const CALLERS: &[Caller] = &[Caller::Layer(Layer::FrontEnd), Caller::Admin];

const fn method(id: u16, name: &'static str) -> MethodDescriptor {
    MethodDescriptor { id, name, callers: CALLERS }
}

const METHODS: &[MethodDescriptor] = &[
    method(host::LOGIN, "login"),
    method(host::LOGOUT, "logout"),
    method(host::CALL, "call"),
    method(host::QUERY, "query"),
    method(host::GET, "get"),
    method(host::HISTORY, "history"),
    method(host::INSPECT, "inspect"),
    method(host::LATEST, "latest"),
    method(host::OUTCOME, "outcome"),
    method(host::SUBSCRIBE, "subscribe"),
    method(host::SCHEMAS, "schemas"),
    method(host::STATUS, "status"),
    method(host::UPLOAD, "upload"),
    method(host::DOWNLOAD, "download"),
];
