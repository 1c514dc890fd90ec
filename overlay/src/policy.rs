//! Who may dial whom.

use caps_certs_gen::{Layer, Role};

use crate::bugs::{self, Bug};
use crate::service::Caller;

/// Who may dial whom, decided from certificates alone.
///
/// A table of pairs: whoever asks, and the layer that is asked. What is not in it is refused. The overlay itself gives
/// layers no meaning; [`layered`](Self::layered) is what CAPS uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pairs: Vec<(Caller, Layer)>,
}

impl Policy {
    /// The table that admits nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also admits `from` at nodes of layer `to`.
    pub fn admit(mut self, from: Caller, to: Layer) -> Self {
        if !self.pairs.contains(&(from, to)) {
            self.pairs.push((from, to));
        }
        self
    }

    /// 4 to 2, 2 to 1, 1 to 1, and administrators to any.
    pub fn layered() -> Self {
        let front_ends = Self::new().admit(Caller::Layer(Layer::FrontEnd), Layer::Host);
        let servers = front_ends.admit(Caller::Layer(Layer::Host), Layer::Cabinet).admit(Caller::Layer(Layer::Cabinet), Layer::Cabinet);
        Layer::ALL.into_iter().fold(servers, |policy, layer| policy.admit(Caller::Admin, layer))
    }

    /// Whether `from` may dial `to`. Nobody may dial an administrator.
    pub fn may_dial(&self, from: Role<'_>, to: Role<'_>) -> bool {
        match to {
            Role::Node { layer, .. } => self.pairs.contains(&(Caller::of(from), layer)) || bugs::has(Bug::LayerUnchecked),
            Role::Admin => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn node(layer: Layer) -> Role<'static> {
        Role::Node { site: "lund", layer }
    }

    #[test]
    fn layered_policy_admits_neighbours_and_administrators_only() {
        let policy = Policy::layered();
        let (one, two, four) = (node(Layer::Cabinet), node(Layer::Host), node(Layer::FrontEnd));
        let admitted = [(four, two), (two, one), (one, one), (Role::Admin, one), (Role::Admin, two), (Role::Admin, four)];
        for from in [one, two, four, Role::Admin] {
            for to in [one, two, four, Role::Admin] {
                assert_eq!(policy.may_dial(from, to), admitted.contains(&(from, to)), "{from:?} to {to:?}");
            }
        }
    }
}
