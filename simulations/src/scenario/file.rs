//! The shape of a scenario file, and one clear complaint for each way to get it wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use caps_certs_gen::{Identity, Layer};
use caps_node::deployment::profile::Profile;
use caps_node::deployment::{Deployment, DeploymentError, FrontEnd, Node};
use serde::Deserialize;
use toml::Spanned;

use super::fault::{Planned, Target};
use super::storm::KINDS;
use super::surroundings::{FileMachine, FileNat, FileSchedule, Surroundings};
use super::{Expect, Load, Scenario, Storm};
use crate::machine::Speed;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{}: {cause}; scenarios are files such as simulations/scenarios/mixed-faults.toml", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {problem}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to change.
        problem: String,
    },
    /// The deployment that it names is wrong.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    deployment: Spanned<String>,
    length: Spanned<String>,
    heal: Option<Spanned<String>>,
    real_limit: Option<Spanned<String>>,
    #[serde(default)]
    crowd: Vec<Crowd>,
    #[serde(default)]
    load: FileLoad,
    #[serde(default)]
    speed: FileSpeed,
    #[serde(default)]
    nat: Vec<FileNat>,
    #[serde(default)]
    machine: Vec<FileMachine>,
    #[serde(default)]
    schedule: Vec<FileSchedule>,
    #[serde(default)]
    fault: Vec<Spanned<Planned>>,
    storm: Option<Spanned<FileStorm>>,
    #[serde(default)]
    expect: FileExpect,
}

/// Front ends that the deployment file does not name one by one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Crowd {
    site: Spanned<String>,
    count: Spanned<u32>,
    line: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileLoad {
    every: Option<Spanned<String>>,
    writes: Option<Spanned<f64>>,
    watchers: Option<usize>,
    patience: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSpeed {
    pub(super) datagram: Option<Spanned<String>>,
    pub(super) sync: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStorm {
    every: Spanned<String>,
    kinds: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    without: Vec<Spanned<String>>,
    lasts: Option<(Spanned<String>, Spanned<String>)>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileExpect {
    acknowledged_min: Option<u64>,
    write_gap_max: Option<Spanned<String>>,
    failed_max: Option<u64>,
    lateness_max: Option<Spanned<String>>,
    datagrams_max: Option<u64>,
}

/// The byte where something is wrong, and what.
pub(super) type Complaint = (usize, String);

pub(super) fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ScenarioError::Unreadable { path: path.to_owned(), cause })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Scenario, ScenarioError> {
    let wrong = |(at, problem): Complaint| {
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        ScenarioError::Wrong { path: path.to_owned(), line, problem }
    };
    let file: File =
        toml::from_str(text).map_err(|error| wrong((error.span().map_or(0, |span| span.start), error.message().to_owned())))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let deployment = base.join(file.deployment.get_ref());
    if !deployment.exists() {
        let problem = format!("there is no deployment {}: the path starts where the scenario is", deployment.display());
        return Err(wrong((file.deployment.span().start, problem)));
    }
    let deployment = Deployment::read(&deployment)?;
    if deployment.cabinets.len() > 1 {
        let problem = format!("the deployment has {} cabinets, and what a scenario checks is one", deployment.cabinets.len());
        return Err(wrong((file.deployment.span().start, problem)));
    }
    scenario(path, file, deployment).map_err(wrong)
}

fn scenario(path: &Path, file: File, mut deployment: Deployment) -> Result<Scenario, Complaint> {
    for crowd in &file.crowd {
        add_crowd(&mut deployment, crowd)?;
    }
    let (length, speed) = (within(&file.length, LENGTH)?, file.speed.understand(Speed::default())?);
    let timetable = file.fault.iter().map(|fault| planned(fault, &deployment, length)).collect::<Result<Vec<_>, _>>()?;
    Ok(Scenario {
        path: path.to_owned(),
        about: file.about,
        speed,
        surroundings: Surroundings::understand(&deployment, length, speed, &file.nat, &file.machine, &file.schedule)?,
        length,
        heal: file.heal.as_ref().map_or(Ok(HEAL), |text| within(text, LENGTH))?,
        real_limit: file.real_limit.as_ref().map_or(Ok(REAL_LIMIT), |text| within(text, LENGTH))?,
        load: load(&file.load)?,
        timetable,
        storm: file.storm.as_ref().map(storm).transpose()?,
        expect: Expect {
            acknowledged_min: file.expect.acknowledged_min.unwrap_or(1),
            write_gap_max: file.expect.write_gap_max.as_ref().map(|text| within(text, LENGTH)).transpose()?,
            failed_max: file.expect.failed_max,
            lateness_max: file.expect.lateness_max.as_ref().map(|text| within(text, LENGTH)).transpose()?,
            datagrams_max: file.expect.datagrams_max,
        },
        deployment,
    })
}

fn add_crowd(deployment: &mut Deployment, crowd: &Crowd) -> Result<(), Complaint> {
    let (site, count) = (crowd.site.get_ref(), *crowd.count.get_ref());
    known_site(deployment, site).map_err(|problem| (crowd.site.span().start, problem))?;
    if !(1..=CROWD_MAX).contains(&count) {
        return Err((crowd.count.span().start, format!("a crowd has 1 to {CROWD_MAX} front ends, not {count}")));
    }
    let line = match &crowd.line {
        None => None,
        Some(line) => Some(Profile::named(line.get_ref()).ok_or_else(|| {
            let known = Profile::names();
            (line.span().start, format!("there is no link profile {:?}; there are {known}", line.get_ref()))
        })?),
    };
    for number in 1..=count {
        let name = format!("crowd-{site}-{number}");
        let identity = Identity::node(&deployment.domain, site, Layer::FrontEnd, &name)
            .map_err(|error| (crowd.site.span().start, error.to_string()))?;
        if let Some(line) = line {
            deployment.network.nodes.insert(name.clone(), line);
        }
        let cabinets = vec![deployment.cabinet().name.clone()];
        deployment.nodes.push(Node {
            name,
            identity,
            site: site.clone(),
            layer: Layer::FrontEnd,
            listen: None,
            announce: None,
            cabinets,
            front_end: FrontEnd::default(),
        });
    }
    Ok(())
}

fn load(load: &FileLoad) -> Result<Load, Complaint> {
    let writes = match &load.writes {
        None => 0.5,
        Some(share) if (0.0..=1.0).contains(share.get_ref()) => *share.get_ref(),
        Some(share) => return Err((share.span().start, format!("writes are a share from 0 to 1, not {}", share.get_ref()))),
    };
    Ok(Load {
        every: load.every.as_ref().map_or(Ok(EVERY), |text| within(text, LENGTH))?,
        writes,
        watchers: load.watchers.unwrap_or(2),
        patience: load.patience.as_ref().map_or(Ok(PATIENCE), |text| within(text, LENGTH))?,
    })
}

impl FileSpeed {
    /// What it says, and the usual where it says nothing.
    pub(super) fn understand(&self, usual: Speed) -> Result<Speed, Complaint> {
        let or = |text: &Option<Spanned<String>>, usual| text.as_ref().map_or(Ok(usual), |text| within(text, (Duration::ZERO, LENGTH.1)));
        Ok(Speed {
            datagram: or(&self.datagram, usual.datagram)?,
            sync: or(&self.sync, usual.sync)?,
            password: or(&self.password, usual.password)?,
        })
    }
}

fn planned(fault: &Spanned<Planned>, deployment: &Deployment, length: Duration) -> Result<Planned, Complaint> {
    let complain = |problem: String| Err((fault.span().start, problem));
    let planned = fault.get_ref();
    if planned.at >= length {
        return complain(format!("this fault begins at {:?}, and the scenario is over at {length:?}", planned.at));
    }
    if let Some(Target::Node(name)) = planned.fault.node()
        && let Err(error) = deployment.node(name)
    {
        return complain(error.to_string());
    }
    for site in planned.fault.sites() {
        if let Err(problem) = known_site(deployment, site) {
            return complain(problem);
        }
    }
    Ok(planned.clone())
}

fn storm(storm: &Spanned<FileStorm>) -> Result<Storm, Complaint> {
    let storm = storm.get_ref();
    let known = |kind: &Spanned<String>| match KINDS.contains(&kind.get_ref().as_str()) {
        true => Ok(kind.get_ref().clone()),
        false => Err((kind.span().start, format!("there is no fault {:?}; there are {}", kind.get_ref(), KINDS.join(", ")))),
    };
    let mut kinds = match &storm.kinds {
        Some(kinds) => kinds.iter().map(known).collect::<Result<Vec<_>, _>>()?,
        None => KINDS.map(str::to_owned).to_vec(),
    };
    let without = storm.without.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    kinds.retain(|kind| !without.contains(kind));
    if kinds.is_empty() {
        return Err((storm.every.span().start, "this storm has no kinds of faults left".to_owned()));
    }
    let lasts = match &storm.lasts {
        None => LASTS,
        Some((shortest, longest)) => {
            let (least, most) = (within(shortest, LENGTH)?, within(longest, LENGTH)?);
            if least > most {
                return Err((shortest.span().start, format!("the shortest fault lasts {least:?}, longer than the longest, {most:?}")));
            }
            (least, most)
        }
    };
    Ok(Storm { every: within(&storm.every, LENGTH)?, kinds, lasts })
}

pub(super) fn known_site(deployment: &Deployment, site: &str) -> Result<(), String> {
    match deployment.sites.iter().any(|known| known == site) {
        true => Ok(()),
        false => Err(format!("there is no site {site:?}; the deployment has {}", deployment.sites.join(", "))),
    }
}

pub(super) fn within(text: &Spanned<String>, (least, most): (Duration, Duration)) -> Result<Duration, Complaint> {
    let written = text.get_ref();
    let complain = |problem| Err((text.span().start, problem));
    match humantime::parse_duration(written) {
        Err(_) => complain(format!("{written:?} is not a duration: write it as 50ms, 2s or 5m20s")),
        Ok(duration) if duration < least || duration > most => {
            let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
            complain(format!("this is between {least} and {most}, not {written}"))
        }
        Ok(duration) => Ok(duration),
    }
}

/// The shortest and the longest time that a scenario may name: ten days show what happens in ten days.
pub(super) const LENGTH: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(10 * 86_400));
const HEAL: Duration = Duration::from_secs(60);
const REAL_LIMIT: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(15);
const LASTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
const CROWD_MAX: u32 = 10_000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const DEPLOYMENT: &str = r#"
domain = "pumps.example"
[[site]]
name = "lund"
[[site]]
name = "kiruna"
[[link]]
between = ["lund", "kiruna"]
rtt = "20ms"
[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "10.0.0.1:4433"
[[node]]
name = "host-lund"
site = "lund"
layer = 2
listen = "10.0.0.2:4433"
[[node]]
name = "desk-kiruna"
site = "kiruna"
layer = 4
[cabinet]
voters = ["store-lund"]
"#;

    pub(in crate::scenario) fn deployment() -> Deployment {
        Deployment::parse(Path::new("caps.toml"), DEPLOYMENT).unwrap()
    }

    const GOOD: &str = r#"about = "A leader dies."
deployment = "caps.toml"
length = "1m"

[load]
every = "200ms"
writes = 0.5

[[fault]]
at = "10s"
for = "2s"
kind = "crash"
node = "leader"

[storm]
every = "3s"
kinds = ["pause"]
"#;

    fn read(text: &str) -> Result<Scenario, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("caps.toml"), DEPLOYMENT).unwrap();
        let path = directory.path().join("scenario.toml");
        std::fs::write(&path, text).unwrap();
        Scenario::read(&path).map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn good_file_is_understood() {
        let scenario = read(GOOD).unwrap();
        assert_eq!(scenario.timetable.len(), 1);
        assert_eq!(scenario.plan(1), scenario.plan(1));
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let table = [
            ("about =", "abuot =", "scenario.toml:1: unknown field `abuot`"),
            ("caps.toml", "other.toml", "scenario.toml:2: there is no deployment other.toml"),
            ("length = \"1m\"", "length = \"long\"", "scenario.toml:3: \"long\" is not a duration"),
            ("length = \"1m\"", "length = \"30d\"", "scenario.toml:3: this is between 1ms and 10days, not 30d"),
            ("length = \"1m\"", "length = \"5s\"", "scenario.toml:9: this fault begins at 10s, and the scenario is over at 5s"),
            ("writes = 0.5", "writes = 1.5", "scenario.toml:7: writes are a share from 0 to 1, not 1.5"),
            ("\"leader\"", "\"store-lind\"", "scenario.toml:9: "),
            ("kind = \"crash\"", "kind = \"flood\"", "scenario.toml:9: unknown variant `flood`"),
            ("node = \"leader\"", "", "scenario.toml:9: missing field `node`"),
            ("[\"pause\"]", "[\"rain\"]", "scenario.toml:17: there is no fault \"rain\"; there are crash, "),
            ("[\"pause\"]", "[]", "scenario.toml:16: this storm has no kinds of faults left"),
            (
                "[load]",
                "[[nat]]\nsite = \"oslo\"\nfiltering = \"address\"\ntimeout = \"30s\"\n[load]",
                "scenario.toml:6: there is no site \"oslo\"",
            ),
            ("[load]", "[[nat]]\nfiltering = \"address\"\ntimeout = \"30s\"\n[load]", "scenario.toml:7: nobody is behind this NAT"),
            (
                "[load]",
                "[[nat]]\nfront_ends = [\"host-lund\"]\nfiltering = \"address\"\ntimeout = \"30s\"\n[load]",
                "scenario.toml:6: host-lund is a server",
            ),
            ("[load]", "[[machine]]\nnode = \"store-lund\"\nsync = \"slow\"\n[load]", "scenario.toml:7: \"slow\" is not a duration"),
            ("[load]", "[[machine]]\nnode = \"store-oslo\"\n[load]", "scenario.toml:6: "),
            (
                "[load]",
                "[[schedule]]\nat = \"5s\"\nlink = { between = [\"lund\", \"oslo\"], rtt = \"5ms\" }\n[load]",
                "scenario.toml:7: there is no site \"oslo\"",
            ),
            (
                "[load]",
                "[[schedule]]\nat = \"2m\"\nlink = { between = [\"lund\", \"kiruna\"], rtt = \"5ms\" }\n[load]",
                "scenario.toml:6: this link changes at 120s, and the scenario is over at 60s",
            ),
            ("[load]", "[[crowd]]\nsite = \"oslo\"\ncount = 5\n[load]", "scenario.toml:6: there is no site \"oslo\""),
            ("[load]", "[[crowd]]\nsite = \"lund\"\ncount = 0\n[load]", "scenario.toml:7: a crowd has 1 to 10000 front ends, not 0"),
        ];
        for (from, to, expected) in table {
            assert!(GOOD.contains(from), "{from}");
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
    }
}
