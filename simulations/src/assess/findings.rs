//! What an assessment found: the data of every report.

use serde::Serialize;

/// What an assessment of a deployment found. Times are milliseconds, all of them simulated.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// The deployment file.
    pub file: String,
    /// Its trust domain.
    pub domain: String,
    /// The seed: the same gives the same findings.
    pub seed: u64,
    /// The replica that led while all this was found out: the first voter of the file. Another leader has other commit costs.
    pub leader: String,
    /// Everybody who does something somewhere, in the file's order.
    pub rows: Vec<Row>,
    /// The lines and links, with what passed them while everybody worked.
    pub links: Vec<LinkUse>,
    /// What a commit costs at each site, near a host there, with nobody else at work.
    pub commits: Vec<CommitCost>,
    /// What each site's loss does to the others.
    pub losses: Vec<SiteLoss>,
    /// Operations that cross wide-area lines more often than they should.
    pub chatty: Vec<Chatty>,
    /// Changes that were tried, the best first; only those that help.
    pub advice: Vec<Advice>,
    /// How long everybody was asked to work.
    pub length_seconds: f64,
    /// How long everybody worked, until the last one had finished.
    pub rehearsed_seconds: f64,
    /// How many changes were tried.
    pub tried: usize,
}

/// Some users who do something at one front end.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What they do.
    pub operation: String,
    /// Where.
    pub site: String,
    /// At which front end.
    pub front_end: String,
    /// The front end's own line, if it has one.
    pub line: Option<String>,
    /// How many they are.
    pub users: u32,
    /// The mean time between two starts of one user.
    pub every_ms: Option<f64>,
    /// What they accept at p95.
    pub limit_ms: Option<f64>,
    /// How it feels while everybody works.
    pub felt: Felt,
    /// How it feels, at p50, when nobody else is at work.
    pub quiet_ms: Option<f64>,
    /// Where the time goes at p50; `None` for consoles that stay open.
    pub parts: Option<Parts>,
    /// Round trips between sites, one after the other, that it takes.
    pub round_trips: Option<RoundTrips>,
    /// Bytes that it carries over the front end's network, both ways.
    pub bytes: Option<f64>,
    /// Whether it is as it should be.
    pub verdict: Verdict,
}

/// How something feels.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Felt {
    /// How often it was done.
    pub samples: usize,
    /// How often it failed.
    pub failed: u64,
    /// For half of them it took at most this.
    pub p50_ms: Option<f64>,
    /// For 95 of 100.
    pub p95_ms: Option<f64>,
    /// For 99 of 100.
    pub p99_ms: Option<f64>,
    /// All of them, in order of length.
    #[serde(skip)]
    pub all_ms: Vec<f64>,
}

/// Where the time of an operation goes, at p50. Found by taking one thing after the other out of the world.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Parts {
    /// Shaking hands with a host, where it connects anew.
    pub handshake_ms: f64,
    /// On the way between front end and host, sending included.
    pub front_end_to_host_ms: f64,
    /// On the way between host and cabinet.
    pub host_to_cabinet_ms: f64,
    /// On the way between the replicas, until a majority has it.
    pub consensus_ms: f64,
    /// Until it is on the disks.
    pub disk_ms: f64,
    /// Logic, and everything else that machines do.
    pub logic_ms: f64,
    /// Waiting for what others do.
    pub queueing_ms: f64,
}

/// Round trips between sites that one run of an operation waits for, by who talks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RoundTrips {
    /// Between front end and host.
    pub front_end_to_host: f64,
    /// Between host and cabinet.
    pub host_to_cabinet: f64,
    /// Between replicas.
    pub replicas: f64,
}

impl RoundTrips {
    /// All of them.
    pub fn sum(&self) -> f64 {
        self.front_end_to_host + self.host_to_cabinet + self.replicas
    }
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// p95 is within the limit, and nothing failed that counts.
    Pass,
    /// It is not.
    Fail,
    /// There is no limit, or nothing to hold against it.
    Open,
}

/// One line or link, in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct LinkUse {
    /// Which.
    pub name: String,
    /// Its figures, in words.
    pub figures: String,
    /// The share of its rate that was used, 0 to 1; `None`: it has no bound.
    pub used: Option<f64>,
    /// Bits a second that passed.
    pub carried_bps: f64,
    /// The mean wait in front of the bottleneck.
    pub queueing_mean_ms: f64,
    /// The longest.
    pub queueing_max_ms: f64,
    /// The share of datagrams that were lost on the way or dropped by a full queue.
    pub lost: f64,
}

/// What a commit costs at a site.
#[derive(Clone, Debug, Serialize)]
pub struct CommitCost {
    /// The site.
    pub site: String,
    /// Half of the commits take at most this.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
}

/// What the loss of a site does to the others.
#[derive(Clone, Debug, Serialize)]
pub struct SiteLoss {
    /// The site.
    pub site: String,
    /// Whether commits go on elsewhere.
    pub commits_go_on: bool,
    /// The longest pause between two commits after the loss.
    pub longest_pause_ms: Option<f64>,
    /// What no longer works or no longer is within its limit, elsewhere: operation, front end, and why.
    pub broken: Vec<(String, String, String)>,
}

/// An operation that crosses wide-area lines too often.
#[derive(Clone, Debug, Serialize)]
pub struct Chatty {
    /// The operation.
    pub operation: String,
    /// Where it is worst.
    pub front_end: String,
    /// Round trips one after the other.
    pub round_trips: f64,
    /// What to do about it.
    pub why: String,
}

/// A change that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// The change, in words.
    pub change: String,
    /// Operations that fail their limit now, and with it.
    pub fails: (usize, usize),
    /// What all users together wait in an hour of work, in seconds, now and with it.
    pub waiting_seconds_an_hour: (f64, f64),
    /// What it does to those whom it concerns most: operation, front end, p50 now, p50 with it (ms).
    pub most_concerned: Vec<(String, String, f64, f64)>,
    /// What it costs besides, in words: what gets slower, what no longer survives.
    pub drawbacks: Vec<String>,
}
