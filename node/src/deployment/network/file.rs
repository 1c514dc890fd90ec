//! The shape of `[[link]]`, with the place of each value.

use std::fmt;

use serde::Deserialize;
use toml::Spanned;

/// What lies between two sites, as somebody wrote it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub(super) between: Spanned<Vec<Spanned<String>>>,
    pub(super) profile: Option<Spanned<String>>,
    pub(super) rtt: Option<Spanned<Written>>,
    pub(super) delay: Option<Spanned<Written>>,
    pub(super) jitter: Option<Spanned<Written>>,
    pub(super) rate: Option<Spanned<Written>>,
    pub(super) queue: Option<Spanned<Written>>,
    pub(super) loss: Option<Spanned<Written>>,
    pub(super) burst: Option<Spanned<Written>>,
    pub(super) reorder: Option<Spanned<Written>>,
    pub(super) duplicate: Option<Spanned<Written>>,
    pub(super) mtu: Option<Spanned<Written>>,
    pub(super) mark_above: Option<Spanned<Written>>,
    pub(super) back: Option<Figures>,
}

/// Figures of one direction.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figures {
    pub(super) delay: Option<Spanned<Written>>,
    pub(super) jitter: Option<Spanned<Written>>,
    pub(super) rate: Option<Spanned<Written>>,
    pub(super) queue: Option<Spanned<Written>>,
    pub(super) loss: Option<Spanned<Written>>,
    pub(super) burst: Option<Spanned<Written>>,
    pub(super) reorder: Option<Spanned<Written>>,
    pub(super) duplicate: Option<Spanned<Written>>,
    pub(super) mtu: Option<Spanned<Written>>,
    pub(super) mark_above: Option<Spanned<Written>>,
}

/// A figure as somebody wrote it: with a unit in quotes, or bare. Which of them makes sense is for the reader of each figure to say.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or a figure and its unit in quotes")]
pub(super) enum Written {
    Number(f64),
    Text(String),
}

impl Link {
    /// The figures that stand beside `between`: both directions have them, as far as `back` does not say otherwise.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            delay: self.delay.clone(),
            jitter: self.jitter.clone(),
            rate: self.rate.clone(),
            queue: self.queue.clone(),
            loss: self.loss.clone(),
            burst: self.burst.clone(),
            reorder: self.reorder.clone(),
            duplicate: self.duplicate.clone(),
            mtu: self.mtu.clone(),
            mark_above: self.mark_above.clone(),
        }
    }
}

impl Figures {
    /// These, and where they say nothing, those.
    pub(super) fn or(self, those: Self) -> Self {
        Self {
            delay: self.delay.or(those.delay),
            jitter: self.jitter.or(those.jitter),
            rate: self.rate.or(those.rate),
            queue: self.queue.or(those.queue),
            loss: self.loss.or(those.loss),
            burst: self.burst.or(those.burst),
            reorder: self.reorder.or(those.reorder),
            duplicate: self.duplicate.or(those.duplicate),
            mtu: self.mtu.or(those.mtu),
            mark_above: self.mark_above.or(those.mark_above),
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}
