//! The service `cabinet`: what [`caps_model::messages::cabinet`] describes, answered by one replica.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use caps_model::messages::audit::{self, AskBlobs, AskHead, Obliterate};
use caps_model::messages::backup::{self, BackUp};
use caps_model::messages::cabinet::{Join, Order};
use caps_model::messages::inspect::Inspect;
use caps_model::messages::{AskOutcome, Get, History, Latest, Subscribe, cabinet};
use caps_model::{Commit, Position, Query, Wire, codec};
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Answer, Call, Caller, Descriptor, Failure, Layer, MethodDescriptor, Retry, Service};
use tokio::time::{Instant, timeout_at};

use super::failure;
use crate::cabinet::ReadError;
use crate::replica::{
    AnyCabinet, Origin, Shared, admit, back_up, blobs_taken, commit, linearizable, obliterate, order, outcome, subscription,
};

/// Answers reads, commits and subscriptions.
pub struct CabinetService {
    shared: Arc<Shared>,
}

impl CabinetService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers a read from this replica once it has what the session has seen: at once, if it has it already.
    fn read<Q: Wire + Send + 'static, A: Wire + 'static>(&self, call: Call, read: fn(&AnyCabinet, &Q) -> Result<A, ReadError>) -> Answer {
        let question = match codec::decode::<Q>(&call.body) {
            Ok(question) => question,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let position = Position(call.position);
        if self.shared.has(position) || bugs::has(Bug::SessionIgnored) {
            return Answer::Ready(self.shared.read(|cabinet| read(cabinet, &question)).and_then(|answer| encode(&answer)));
        }
        let shared = self.shared.clone();
        Answer::later(async move {
            reach(&shared, position, call.deadline).await?;
            shared.read(|cabinet| read(cabinet, &question)).and_then(|answer| encode(&answer))
        })
    }

    /// A majority confirms who leads, so that nothing acknowledged elsewhere is missed; one round trip from here to the leader and to it from its
    /// nearest followers.
    fn latest(&self, call: &Call) -> Answer {
        let (shared, deadline) = (self.shared.clone(), call.deadline);
        Answer::later(async move { linearizable(&shared, deadline).await.and_then(|position| encode(&Latest { position })) })
    }

    fn commit(&self, call: Call) -> Answer {
        let request = match codec::decode::<Commit>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let origin = Origin::of(&call.peer);
        let shared = self.shared.clone();
        Answer::later(async move { commit(&shared, request, origin, call.deadline).await.and_then(|committed| encode(&committed)) })
    }

    fn outcome(&self, call: Call) -> Answer {
        let request = match codec::decode::<AskOutcome>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let origin = Origin::of(&call.peer);
        let shared = self.shared.clone();
        Answer::later(async move { outcome(&shared, request, origin, call.deadline).await.and_then(|outcome| encode(&outcome)) })
    }

    fn subscribe(&self, call: &Call) -> Answer {
        let request = match codec::decode::<Subscribe>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let shared = self.shared.clone();
        Answer::stream(move |mut sink| async move { subscription::serve(shared, request, &mut sink).await })
    }

    fn back_up(&self, call: &Call) -> Answer {
        let request = match codec::decode::<BackUp>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let shared = self.shared.clone();
        Answer::stream(move |mut sink| async move { back_up(shared, request, &mut sink).await })
    }

    fn order(&self, call: Call) -> Answer {
        let request = match codec::decode::<Order>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let origin = Origin::of(&call.peer);
        let shared = self.shared.clone();
        Answer::later(async move { order(&shared, request, origin, call.deadline).await.and_then(|members| encode(&members)) })
    }

    /// The administrator who asks is who the certificate says; only a replica that passes an order on says whose it is.
    fn obliterate(&self, call: Call) -> Answer {
        let mut order = match codec::decode::<Obliterate>(&call.body) {
            Ok(order) => order,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let origin = Origin::of(&call.peer);
        if origin == Origin::Client {
            call.peer.uri().clone_into(&mut order.by);
        }
        let shared = self.shared.clone();
        Answer::later(async move { obliterate(&shared, order, origin, call.deadline).await.and_then(|committed| encode(&committed)) })
    }

    fn blobs_taken(&self, call: &Call) -> Answer {
        match codec::decode::<AskBlobs>(&call.body) {
            Ok(AskBlobs { index }) => Answer::Ready(encode(&blobs_taken(&self.shared, index))),
            Err(error) => Answer::failed(failure::malformed(&error)),
        }
    }

    fn join(&self, call: Call) -> Answer {
        let request = match codec::decode::<Join>(&call.body) {
            Ok(request) => request,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let shared = self.shared.clone();
        Answer::later(async move { admit(&shared, &request, call.peer).await.and_then(|admission| encode(&admission)) })
    }
}

impl Service for CabinetService {
    fn descriptor(&self) -> Descriptor {
        Descriptor { id: self.shared.services.cabinet(), name: "cabinet", methods: METHODS }
    }

    fn handle(&self, call: Call) -> Answer {
        if call.method == cabinet::STATUS {
            return Answer::Ready(encode(&self.shared.status()));
        }
        if call.method == cabinet::MEMBERS {
            return Answer::Ready(encode(&self.shared.members()));
        }
        if !self.shared.is_serving() {
            return Answer::failed(failure::stopped());
        }
        match call.method {
            cabinet::QUERY => self.read(call, |cabinet, query: &Query| cabinet.query(query)),
            cabinet::GET => self.read(call, |cabinet, get: &Get| cabinet.get(get)),
            cabinet::HISTORY => self.read(call, |cabinet, history: &History| cabinet.history(history)),
            cabinet::INSPECT => self.read(call, |cabinet, question: &Inspect| cabinet.inspect(question)),
            cabinet::LATEST => self.latest(&call),
            cabinet::COMMIT => self.commit(call),
            cabinet::OUTCOME => self.outcome(call),
            cabinet::SUBSCRIBE => self.subscribe(&call),
            cabinet::ORDER => self.order(call),
            cabinet::JOIN => self.join(call),
            backup::BACK_UP => self.back_up(&call),
            audit::OBLITERATE => self.obliterate(call),
            audit::HEAD => self.read(call, |cabinet, ask: &AskHead| cabinet.head(ask.at)),
            audit::BLOBS_TAKEN => self.blobs_taken(&call),
            // Dispatch lets only described methods through.
            _ => Answer::failed(failure::malformed(&"no such method")),
        }
    }
}

impl fmt::Debug for CabinetService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CabinetService").field(&self.shared).finish()
    }
}

/// Waits until this replica has `position`, for three quarters of the time there is: the last quarter is for asking another one.
async fn reach(shared: &Shared, position: Position, deadline: Instant) -> Result<(), Failure> {
    let arrival = shared.at_least(position).map_err(|_| failure::overloaded("too many readers wait for this replica"))?;
    let left = deadline.saturating_duration_since(Instant::now());
    match timeout_at(deadline - left / 4, arrival).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(failure::stopped()),
        Err(_) => {
            let message = format!("this replica has not come to position {position} yet");
            Err(Failure::new(failure::BEHIND, message).retry(Retry::Elsewhere))
        }
    }
}

fn encode<A: Wire>(answer: &A) -> Result<Bytes, Failure> {
    codec::encode(answer).map(Bytes::from).map_err(|error| failure::broken(&error))
}

const HOST: Caller = Caller::Layer(Layer::Host);
const REPLICA: Caller = Caller::Layer(Layer::Cabinet);

const METHODS: &[MethodDescriptor] = &[
    MethodDescriptor { id: cabinet::QUERY, name: "query", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::GET, name: "get", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::HISTORY, name: "history", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::INSPECT, name: "inspect", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::LATEST, name: "latest", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::COMMIT, name: "commit", callers: &[HOST, REPLICA] },
    MethodDescriptor { id: cabinet::OUTCOME, name: "outcome", callers: &[HOST, REPLICA, Caller::Admin] },
    MethodDescriptor { id: cabinet::SUBSCRIBE, name: "subscribe", callers: &[HOST, Caller::Admin] },
    MethodDescriptor { id: cabinet::STATUS, name: "status", callers: &[HOST, REPLICA, Caller::Admin] },
    MethodDescriptor { id: cabinet::MEMBERS, name: "members", callers: &[HOST, REPLICA, Caller::Admin] },
    MethodDescriptor { id: cabinet::ORDER, name: "order", callers: &[REPLICA, Caller::Admin] },
    MethodDescriptor { id: cabinet::JOIN, name: "join", callers: &[REPLICA] },
    MethodDescriptor { id: backup::BACK_UP, name: "back up", callers: &[Caller::Admin] },
    MethodDescriptor { id: audit::OBLITERATE, name: "obliterate", callers: &[REPLICA, Caller::Admin] },
    MethodDescriptor { id: audit::BLOBS_TAKEN, name: "blobs taken", callers: &[Caller::Admin] },
    MethodDescriptor { id: audit::HEAD, name: "head", callers: &[HOST, REPLICA, Caller::Admin] },
];
