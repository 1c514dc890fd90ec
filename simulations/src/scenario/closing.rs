//! What can be looked at only when all is quiet.

use std::collections::BTreeMap;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer};
use caps_model::messages::cabinet;
use caps_model::messages::{AskOutcome, GET_MAX, Get, Got, Outcome};
use caps_model::{CommitId, Object, ObjectId, Services, Wire, codec};
use caps_overlay::{CallOptions, MethodId, Overlay, To};

use crate::world::World;

/// The case desk numbers its cases from 1, without a gap, each number once: two commits that both went from the same counter would show here.
pub(super) fn misnumbered(cases: &[Object]) -> Option<String> {
    let mut times: BTreeMap<i64, u64> = BTreeMap::new();
    for case in cases {
        *times.entry(case.int("number").unwrap_or_default()).or_default() += 1;
    }
    let twice: Vec<i64> = times.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).take(TOLD_MAX).collect();
    let missing: Vec<i64> = (1..).take(times.len()).filter(|number| !times.contains_key(number)).take(TOLD_MAX).collect();
    (!twice.is_empty() || !missing.is_empty())
        .then(|| format!("of {} cases some have the same number: {twice:?}; numbers that none has: {missing:?}", cases.len()))
}

/// Compares what the replicas hold, object by object. The chain head covers what was asked of them, this what they made of it.
pub(super) async fn unequal(
    administrator: &Overlay,
    services: Services,
    replicas: &[(String, Identity)],
    objects: &[ObjectId],
) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    for some in objects.chunks(OBJECTS_AT_ONCE.min(GET_MAX)) {
        let mut first: Option<(&str, Got)> = None;
        for (name, replica) in replicas {
            let got: Got = ask(administrator, services, replica, cabinet::GET, codec::encode(&Get { objects: some.to_vec() })?).await?;
            match &first {
                None => first = Some((name, got)),
                Some((other, held)) => differences.extend(difference(other, held, name, &got)),
            }
        }
    }
    Ok(differences)
}

fn difference(one: &str, held: &Got, other: &str, got: &Got) -> Option<String> {
    let mut pairs = held.objects.iter().zip(&got.objects);
    let (a, b) = pairs.find(|(a, b)| a != b)?;
    let id = a.as_ref().or(b.as_ref())?.id;
    Some(format!("{one} and {other} hold different versions of {id}: {a:?} and {b:?}"))
}

/// Replicas that do not answer a linearizable read by themselves. Those who asked would try another one, and nobody would notice.
pub(super) async fn unanswering(
    administrator: &Overlay,
    services: Services,
    replicas: &[(String, Identity)],
) -> anyhow::Result<Vec<String>> {
    let mut silent = Vec::new();
    for (name, replica) in replicas {
        let question = codec::encode(&AskOutcome { commit: CommitId(0), seal: false })?;
        if let Err(error) = ask::<Outcome>(administrator, services, replica, cabinet::OUTCOME, question).await {
            silent.push(format!("{name} answers no linearizable read: {error:#}"));
        }
    }
    Ok(silent)
}

/// More subscriptions than there are followers and hosts to want them.
pub(super) fn subscriptions(world: &World, followed: usize) -> Option<String> {
    let hosts = world.names(Layer::Host).len();
    let held: u32 = world.names(Layer::Cabinet).iter().filter_map(|name| world.store(name)).map(|store| store.status().subscriptions).sum();
    // A host follows the users and groups.
    let most = followed + hosts * SUBSCRIPTIONS_OF_A_HOST;
    (held as usize > most).then(|| format!("the replicas serve {held} subscriptions, and {followed} followers and {hosts} hosts are there"))
}

async fn ask<A: Wire>(overlay: &Overlay, services: Services, replica: &Identity, method: u16, body: Vec<u8>) -> anyhow::Result<A> {
    let method = MethodId { service: services.cabinet(), method };
    let reply = overlay.call(To::Node(replica), method, Bytes::from(body), CallOptions::default()).await?;
    Ok(codec::decode(&reply.body)?)
}

/// Objects of a few hundred bytes, well within a frame.
const OBJECTS_AT_ONCE: usize = 200;

const SUBSCRIPTIONS_OF_A_HOST: usize = 1;

const TOLD_MAX: usize = 5;
