//! What is shown of a cabinet: its members, what it survives, what a commit costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use anyhow::Context;
use caps_certs_gen::{Identity, Layer};
use caps_model::messages::cabinet::{self, MemberStatus, Members};
use caps_overlay::Overlay;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::ask;
use crate::deployment::{Cabinet, Deployment, Node, Survival};
use crate::output::{self, micros};

/// A cabinet as its replicas tell it.
pub(super) struct Picture {
    cabinet: String,
    leader: Option<String>,
    term: u64,
    changing: bool,
    rows: Vec<Row>,
    goal: Option<Survival>,
    survives: Vec<(Survival, Option<String>)>,
    /// What a commit costs from each site, in microseconds; `None`: not measured.
    costs: Vec<(String, Option<u64>)>,
}

/// One node that is a member, or could be.
struct Row {
    node: String,
    site: String,
    number: Option<u64>,
    part: &'static str,
    position: Option<u64>,
    /// How many commits the leader has that it has not.
    behind: Option<u64>,
    /// Why it says nothing.
    silent: Option<String>,
}

impl Picture {
    /// Asks every node of layer 1. Those that do not answer are part of the picture, so this fails only when none does.
    pub(super) async fn take(deployment: &Deployment, cabinet: &Cabinet, overlay: &Overlay, within: Duration) -> anyhow::Result<Self> {
        let asked = deployment.keepers(cabinet).map(|node| async move {
            let told = ask::<Members>(overlay, cabinet, &node.identity, cabinet::MEMBERS, Vec::new(), within).await;
            (node.identity.uri().to_owned(), told.map_err(|error| error.to_string()))
        });
        let told: BTreeMap<String, Result<Members, String>> = join_all(asked).await.into_iter().collect();
        Self::of(deployment, cabinet, &told)
    }

    fn of(deployment: &Deployment, cabinet: &Cabinet, told: &BTreeMap<String, Result<Members, String>>) -> anyhow::Result<Self> {
        let answers = told.values().filter_map(|told| told.as_ref().ok()).filter(|members| members.number != 0);
        // Who leads knows most; a leader that was overtaken and has not heard of it has an older term.
        let best = answers.max_by_key(|members| (members.leader.as_deref() == Some(&members.node), members.term, members.last_index));
        let view = best.with_context(|| nobody_answered(told))?;
        let voters: Vec<&Node> =
            view.members.iter().filter(|member| member.votes).filter_map(|member| node_of(deployment, &member.node)).collect();
        Ok(Self {
            cabinet: view.cabinet.clone(),
            leader: view.leader.as_deref().map(name),
            term: view.term,
            changing: view.changing,
            rows: rows(deployment, cabinet, told, view),
            goal: cabinet.survives,
            survives: Survival::ALL.map(|goal| (goal, goal.missing(deployment, &voters))).into(),
            costs: costs(deployment, told, view),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let leader = self.leader.as_ref().map_or("no leader is known".to_owned(), |leader| format!("{leader} leads in term {}", self.term));
        let changing = if self.changing { "; a change of membership is under way" } else { "" };
        let mut text = format!("cabinet {}: {leader}{changing}\n", self.cabinet);
        let mut table = output::table(&["SITE", "NODE", "NUMBER", "PART", "POSITION", "BEHIND"]);
        for row in &self.rows {
            let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
            let part = row.silent.as_ref().map_or_else(|| row.part.to_owned(), |why| format!("{}, silent: {why}", row.part));
            table.add_row([row.site.clone(), row.node.clone(), number(row.number), part, number(row.position), number(row.behind)]);
        }
        writeln!(text, "{table}").ok();
        for (goal, missing) in &self.survives {
            let is_goal = if self.goal == Some(*goal) { " (the goal)" } else { "" };
            let answer = missing.as_ref().map_or("yes".to_owned(), |missing| format!("no: {missing}"));
            writeln!(text, "survives a {goal}{is_goal}: {answer}").ok();
        }
        let cost = |(site, cost): &(String, Option<u64>)| match cost {
            Some(cost) => format!("{} from {site}", micros(*cost)),
            None => format!("not measured from {site}"),
        };
        let costs: Vec<String> = self.costs.iter().map(cost).collect();
        write!(text, "a commit costs {}, and one sync of a disk", costs.join(", ")).ok();
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Json {
        let rows = self.rows.iter().map(|row| {
            json!({
                "node": row.node, "site": row.site, "number": row.number, "part": row.part, "position": row.position, "behind": row.behind,
                "silent": row.silent,
            })
        });
        let survives: serde_json::Map<String, Json> =
            self.survives.iter().map(|(goal, missing)| (goal.to_string(), json!({"met": missing.is_none(), "missing": missing}))).collect();
        let costs: serde_json::Map<String, Json> = self.costs.iter().map(|(site, cost)| (site.clone(), json!(cost))).collect();
        json!({
            "cabinet": self.cabinet, "leader": self.leader, "term": self.term, "changing": self.changing, "members": rows.collect::<Vec<_>>(),
            "goal": self.goal.map(|goal| goal.to_string()), "survives": survives, "commit_cost_us": costs,
        })
    }
}

/// The members as one replica knows them, for programs.
pub(super) fn members(members: &Members) -> Json {
    let member = |member: &MemberStatus| json!({"node": name(&member.node), "number": member.number, "votes": member.votes});
    members.members.iter().map(member).collect()
}

fn nobody_answered(told: &BTreeMap<String, Result<Members, String>>) -> String {
    let why = |(uri, told): (&String, &Result<Members, String>)| match told {
        Ok(_) => format!("{}: belongs to no group", name(uri)),
        Err(error) => format!("{}: {error}", name(uri)),
    };
    format!("no member of the cabinet answers ({})", told.iter().map(why).collect::<Vec<_>>().join("; "))
}

/// Every node that could keep the cabinet, and every member that the file does not have any more.
fn rows(deployment: &Deployment, cabinet: &Cabinet, told: &BTreeMap<String, Result<Members, String>>, view: &Members) -> Vec<Row> {
    let known = deployment.keepers(cabinet).map(|node| node.identity.uri());
    let all: BTreeSet<&str> = known.chain(view.members.iter().map(|member| member.node.as_str())).collect();
    let mut rows: Vec<Row> = all.into_iter().flat_map(|uri| rows_of(uri, told.get(uri), view)).collect();
    let site = |row: &Row| deployment.sites.iter().position(|site| *site == row.site).unwrap_or(usize::MAX);
    rows.sort_by_key(|row| (site(row), row.node.clone(), row.number));
    rows
}

fn rows_of(uri: &str, told: Option<&Result<Members, String>>, view: &Members) -> Vec<Row> {
    let answer = told.and_then(|told| told.as_ref().ok());
    let silent = match told {
        Some(Err(error)) => Some(error.clone()),
        Some(Ok(_)) => None,
        None => Some("it is not in the file".to_owned()),
    };
    let site = Identity::parse(uri).ok().and_then(|identity| identity.site().map(str::to_owned)).unwrap_or_default();
    let position = answer.map(|members| members.position.0);
    let row = |number, part| Row {
        node: name(uri),
        site: site.clone(),
        number,
        part,
        position,
        behind: position.map(|position| view.position.0.saturating_sub(position)),
        silent: silent.clone(),
    };
    let numbers: Vec<&MemberStatus> = view.members.iter().filter(|member| member.node == uri).collect();
    let Some(newest) = numbers.iter().map(|member| member.number).max() else {
        return vec![row(None, "outside")];
    };
    let part = |member: &MemberStatus| match member.votes {
        // Its journal was lost: the node comes back under a newer number, and this one votes for nobody until the other can.
        true if member.number < newest => "lost",
        true if view.leader.as_deref() == Some(uri) => "leader",
        true => "voter",
        false if numbers.len() > 1 => "repairing",
        false => "learner",
    };
    numbers.iter().map(|member| row(Some(member.number), part(member))).collect()
}

/// From a site to the leader, and from there to the nearest majority, each there and back.
fn costs(deployment: &Deployment, told: &BTreeMap<String, Result<Members, String>>, view: &Members) -> Vec<(String, Option<u64>)> {
    let leader = view.leader.as_ref().and_then(|leader| told.get(leader)?.as_ref().ok());
    let cost = |site: &str| {
        let servers = deployment.nodes.iter().filter(|node| node.site == site && node.layer != Layer::FrontEnd);
        let servers: Vec<&Node> = servers.collect();
        let cost = leader.and_then(|leader| Some(reach(leader, &servers)? + quorum(leader)?));
        (!servers.is_empty()).then(|| (site.to_owned(), cost))
    };
    deployment.sites.iter().filter_map(|site| cost(site)).collect()
}

/// The shortest way from the leader to one of these nodes, hosts first: they are who commits.
fn reach(leader: &Members, nodes: &[&Node]) -> Option<u64> {
    let measured = |node: &&Node| {
        let found = leader.round_trips.iter().find(|peer| peer.node == node.identity.uri());
        found.map(|peer| peer.micros).or_else(|| (node.identity.uri() == leader.node).then_some(0))
    };
    let of = |layer| nodes.iter().filter(|node| node.layer == layer).filter_map(measured).min();
    of(Layer::Host).or_else(|| of(Layer::Cabinet))
}

/// The time until a majority of the voters has answered the leader, which is one of them.
fn quorum(leader: &Members) -> Option<u64> {
    let voters: Vec<&MemberStatus> = leader.members.iter().filter(|member| member.votes).collect();
    let others = voters.iter().filter(|voter| voter.node != leader.node);
    let mut times: Vec<u64> =
        others.filter_map(|voter| leader.round_trips.iter().find(|peer| peer.node == voter.node).map(|peer| peer.micros)).collect();
    times.sort_unstable();
    match voters.len() / 2 {
        0 => Some(0),
        needed => times.get(needed - 1).copied(),
    }
}

fn node_of<'a>(deployment: &'a Deployment, uri: &str) -> Option<&'a Node> {
    deployment.nodes.iter().find(|node| node.identity.uri() == uri)
}

fn name(uri: &str) -> String {
    uri.rsplit('/').next().unwrap_or(uri).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use caps_model::Position;
    use caps_model::messages::cabinet::RoundTrip;
    use std::path::Path;

    const FILE: &str = r#"
domain = "pumps.example"
[[site]]
name = "lund"
[[site]]
name = "kiruna"
[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"
[[node]]
name = "store-kiruna"
site = "kiruna"
layer = 1
listen = "127.0.0.1:4102"
[[node]]
name = "spare-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4103"
[[node]]
name = "store-malmo"
site = "lund"
layer = 1
listen = "127.0.0.1:4104"
[[node]]
name = "host-kiruna"
site = "kiruna"
layer = 2
listen = "127.0.0.1:4201"
[cabinet]
voters = ["store-lund", "store-kiruna", "store-malmo"]
survives = "site"
"#;

    fn uri(name: &str) -> String {
        let site = if name.ends_with("kiruna") { "kiruna" } else { "lund" };
        let layer = if name.starts_with("host") { Layer::Host } else { Layer::Cabinet };
        Identity::node("pumps.example", site, layer, name).unwrap().uri().to_owned()
    }

    fn members(node: &str, number: u64, position: u64) -> Members {
        let member = |(number, name, votes)| MemberStatus { node: uri(name), number, votes, matched: None, active: None };
        let round_trips = [("store-kiruna", 18_000), ("store-malmo", 2_000), ("host-kiruna", 17_000)];
        Members {
            cabinet: "main".to_owned(),
            node: uri(node),
            number,
            incarnation: 9,
            term: 3,
            leader: Some(uri("store-lund")),
            position: Position(position),
            last_index: position,
            changing: false,
            members: [(1, "store-kiruna", true), (2, "store-lund", true), (3, "store-malmo", true), (4, "store-malmo", false)]
                .map(member)
                .into(),
            round_trips: round_trips.map(|(name, micros)| RoundTrip { node: uri(name), micros }).into(),
        }
    }

    #[test]
    fn the_picture_says_who_is_what_what_it_survives_and_what_a_commit_costs() {
        let deployment = Deployment::parse(Path::new("caps.toml"), FILE).unwrap();
        let told = [
            (uri("store-lund"), Ok(members("store-lund", 2, 100))),
            (uri("store-kiruna"), Err("nobody answers".to_owned())),
            (uri("store-malmo"), Ok(members("store-malmo", 4, 60))),
            (uri("spare-lund"), Ok(members("spare-lund", 0, 0))),
        ];
        let picture = Picture::of(&deployment, deployment.cabinet(), &told.into()).unwrap();
        let rows: Vec<_> = picture.rows.iter().map(|row| (row.node.as_str(), row.number, row.part, row.behind)).collect();
        let expected = [
            ("spare-lund", None, "outside", Some(100)),
            ("store-lund", Some(2), "leader", Some(0)),
            ("store-malmo", Some(3), "lost", Some(40)),
            ("store-malmo", Some(4), "repairing", Some(40)),
            ("store-kiruna", Some(1), "voter", None),
        ];
        assert_eq!(rows, expected);
        // To the leader itself 0, or 17 ms from the host in kiruna; then 2 ms until store-malmo, the second of three, has answered.
        assert_eq!(picture.costs, [("lund".to_owned(), Some(2_000)), ("kiruna".to_owned(), Some(19_000))]);
        let text = picture.text();
        for line in
            ["cabinet main: store-lund leads in term 3", "survives a node: yes", "survives a site (the goal): no: without lund 1 of 3"]
        {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(text.ends_with("a commit costs 2ms from lund, 19ms from kiruna, and one sync of a disk"), "{text}");
        assert_eq!(picture.json()["survives"]["site"]["met"], false);
    }
}
