//! What users do, how often, and how long they accept to wait: the `[[operation]]` and `[[users]]` of the deployment file.
//!
//! An operation is a named sequence of what a front end asks of layer 2. [`crate::workload`] executes it, over real lines and simulated ones;
//! `caps record` writes one down from what somebody does.

pub(super) mod check;
mod declared;
pub(super) mod file;
mod template;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caps_model::{Name, Query};

pub(crate) use template::escaped;
pub use template::{Piece, Source, Template};

/// Everything that users do.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// The operations, in the file's order.
    pub operations: Vec<Arc<Operation>>,
    /// Who does them, in the file's order.
    pub users: Vec<Users>,
}

/// One thing that users do.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its name, unique in the deployment.
    pub name: String,
    /// One sentence for people.
    pub about: Option<String>,
    /// How long 95 of 100 runs may take, from the start to the last reply, thinking not counted; none for what never ends.
    pub limit: Option<Duration>,
    /// What is done, in this order. Never empty.
    pub steps: Vec<Step>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Starts as a fresh front end: whatever connections there are, are gone.
    Connect,
    /// Acts for a user from now on.
    Login {
        /// The login name.
        user: String,
        /// The password.
        password: Password,
    },
    /// Asks for objects. Texts in the filter are templates: see [`Template::of_text`].
    Query {
        /// For which.
        query: Query,
        /// Which of the objects that are found counts as the first: the first, or any.
        pick: Pick,
    },
    /// Asks for objects by id. Those that are there count as found.
    Get {
        /// Which: `$found` stands for all of them.
        objects: Vec<Template>,
        /// At most this many; 1 to [`caps_model::messages::GET_MAX`].
        at_most: usize,
    },
    /// Asks what happened to an object.
    History {
        /// Which.
        object: Template,
        /// At most this many events.
        limit: u32,
    },
    /// Calls a method of a module.
    Call {
        /// The module.
        module: Name,
        /// The method.
        method: Name,
        /// Its arguments.
        arguments: Vec<(Name, Vec<Template>)>,
    },
    /// Files a mail that nobody filed before, as a gateway does.
    FileMail {
        /// How its text begins. The first line is the subject too.
        text: Template,
        /// About how large it is, headers included.
        size_bytes: usize,
    },
    /// Opens a console and leaves it open.
    Watch {
        /// What it shows.
        query: Query,
        /// How long it stays open.
        length: Duration,
    },
    /// Does nothing: the user reads, or thinks.
    Think(Duration),
}

/// Which of the objects that a query finds is `$found`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pick {
    /// The first.
    #[default]
    First,
    /// Any of them, drawn anew in each run: many users do not all take the same case.
    Any,
}

/// A secret that is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

/// Some users who do the same at the same place.
#[derive(Debug, Clone)]
pub struct Users {
    /// What they do.
    pub operation: Arc<Operation>,
    /// The site that they are at.
    pub site: String,
    /// The front ends that they use, by turns. Never empty, all of that site.
    pub front_ends: Vec<String>,
    /// How many they are; at least 1.
    pub count: u32,
    /// The mean time between two starts by one user, exponentially distributed; none: a user starts again as soon as the last run has ended.
    pub every: Option<Duration>,
    /// What these users accept, where it differs from what the operation says.
    pub own_limit: Option<Duration>,
}

/// What a step asks for, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// [`Step::Connect`].
    Connect,
    /// [`Step::Login`].
    Login,
    /// [`Step::Query`].
    Query,
    /// [`Step::Get`].
    Get,
    /// [`Step::History`].
    History,
    /// [`Step::Call`].
    Call,
    /// [`Step::FileMail`].
    FileMail,
    /// [`Step::Watch`].
    Watch,
    /// [`Step::Think`].
    Think,
}

impl Workload {
    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|operation| operation.name == name)
    }

    /// Who works at a front end, and how many of them do: users of a site are dealt out to its front ends by turns.
    pub fn at<'a>(&'a self, front_end: &'a str) -> impl Iterator<Item = (&'a Users, u32)> {
        let here = move |users: &'a Users| {
            let count = (0..users.count).filter(|number| users.front_end(*number) == front_end).count();
            u32::try_from(count).ok().filter(|count| *count > 0).map(|count| (users, count))
        };
        self.users.iter().filter_map(here)
    }
}

impl Operation {
    /// Whether somebody who does it again and again rests in between.
    pub fn rests(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Watch { .. } | Step::Think(_)))
    }
}

impl Users {
    /// How long they accept to wait.
    pub fn limit(&self) -> Option<Duration> {
        self.own_limit.or(self.operation.limit)
    }

    /// The front end that the user of this number, from 0, sits at.
    pub fn front_end(&self, number: u32) -> &str {
        &self.front_ends[number as usize % self.front_ends.len()]
    }
}

impl Step {
    /// What it asks for.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Connect => StepKind::Connect,
            Self::Login { .. } => StepKind::Login,
            Self::Query { .. } => StepKind::Query,
            Self::Get { .. } => StepKind::Get,
            Self::History { .. } => StepKind::History,
            Self::Call { .. } => StepKind::Call,
            Self::FileMail { .. } => StepKind::FileMail,
            Self::Watch { .. } => StepKind::Watch,
            Self::Think(_) => StepKind::Think,
        }
    }
}

/// The word that the deployment file has for it.
impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect",
            Self::Login => "login",
            Self::Query => "query",
            Self::Get => "get",
            Self::History => "history",
            Self::Call => "call",
            Self::FileMail => "file_mail",
            Self::Watch => "watch",
            Self::Think => "think",
        })
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests;
