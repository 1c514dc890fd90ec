//! Who depends on whom: a directed graph with labelled edges, and the cycles in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Nodes are numbers from 0; between two nodes there is at most one edge of a label.
#[derive(Clone, Debug)]
pub(super) struct Graph<L> {
    edges: Vec<BTreeSet<(usize, L)>>,
}

impl<L: Copy + Ord> Graph<L> {
    pub(super) fn new(nodes: usize) -> Self {
        Self { edges: vec![BTreeSet::new(); nodes] }
    }

    /// Adds an edge. One from a node to itself says nothing and is left out.
    pub(super) fn join(&mut self, from: usize, to: usize, label: L) {
        if from != to {
            self.edges[from].insert((to, label));
        }
    }

    /// The edges whose label is wanted: from, to, label.
    pub(super) fn edges(&self, wanted: impl Fn(L) -> bool) -> impl Iterator<Item = (usize, usize, L)> {
        let all = self.edges.iter().enumerate().flat_map(|(from, edges)| edges.iter().map(move |(to, label)| (from, *to, *label)));
        all.filter(move |(_, _, label)| wanted(*label))
    }

    /// A shortest way along wanted edges, as the edges on it; `None`: there is none.
    pub(super) fn way(&self, from: usize, to: usize, wanted: impl Fn(L) -> bool) -> Option<Vec<(usize, usize, L)>> {
        let mut came: BTreeMap<usize, (usize, L)> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for (next, label) in self.edges[at].iter().filter(|(_, label)| wanted(*label)) {
                if *next != from && !came.contains_key(next) {
                    came.insert(*next, (at, *label));
                    queue.push_back(*next);
                }
            }
            if came.contains_key(&to) {
                break;
            }
        }
        let (mut way, mut at) = (Vec::new(), to);
        while at != from {
            let (before, label) = *came.get(&at)?;
            way.push((before, at, label));
            at = before;
        }
        way.reverse();
        Some(way)
    }

    /// The sets of more than one node in which everybody reaches everybody along wanted edges: for each node the number of its set, if it is in
    /// one. Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972), without recursion.
    pub(super) fn knots(&self, wanted: impl Fn(L) -> bool) -> BTreeMap<usize, usize> {
        let mut tarjan = Tarjan::new(self.edges.len());
        for root in 0..self.edges.len() {
            if tarjan.number[root].is_some() {
                continue;
            }
            let mut path = vec![(root, self.successors(root, &wanted))];
            tarjan.enter(root);
            while let Some((at, successors)) = path.last_mut() {
                let at = *at;
                match successors.pop() {
                    Some(next) if tarjan.number[next].is_none() => {
                        tarjan.enter(next);
                        path.push((next, self.successors(next, &wanted)));
                    }
                    Some(next) => tarjan.meet(at, next),
                    None => {
                        path.pop();
                        tarjan.leave(at, path.last().map(|(before, _)| *before));
                    }
                }
            }
        }
        tarjan.knots
    }

    fn successors(&self, of: usize, wanted: &impl Fn(L) -> bool) -> Vec<usize> {
        self.edges[of].iter().filter(|(_, label)| wanted(*label)).map(|(to, _)| *to).collect()
    }
}

struct Tarjan {
    count: usize,
    number: Vec<Option<usize>>,
    low: Vec<usize>,
    stack: Vec<usize>,
    on_stack: Vec<bool>,
    knots: BTreeMap<usize, usize>,
}

impl Tarjan {
    fn new(nodes: usize) -> Self {
        let (number, low, on_stack) = (vec![None; nodes], vec![0; nodes], vec![false; nodes]);
        Self { count: 0, number, low, stack: Vec::new(), on_stack, knots: BTreeMap::new() }
    }

    fn enter(&mut self, node: usize) {
        self.number[node] = Some(self.count);
        self.low[node] = self.count;
        self.count += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn meet(&mut self, at: usize, next: usize) {
        if let Some(number) = self.number[next].filter(|_| self.on_stack[next]) {
            self.low[at] = self.low[at].min(number);
        }
    }

    fn leave(&mut self, node: usize, before: Option<usize>) {
        if let Some(before) = before {
            self.low[before] = self.low[before].min(self.low[node]);
        }
        if self.number[node] != Some(self.low[node]) {
            return;
        }
        let from = self.stack.iter().rposition(|member| *member == node).expect("a node that is left was entered");
        let members = self.stack.split_off(from);
        for member in &members {
            self.on_stack[*member] = false;
        }
        if members.len() > 1 {
            self.knots.extend(members.into_iter().map(|member| (member, node)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize, char)]) -> Graph<char> {
        let mut graph = Graph::new(8);
        edges.iter().for_each(|(from, to, label)| graph.join(*from, *to, *label));
        graph
    }

    #[test]
    fn knots_are_what_reaches_itself() {
        let graph = graph(&[(0, 1, 'a'), (1, 2, 'a'), (2, 0, 'b'), (2, 3, 'a'), (3, 4, 'a'), (4, 3, 'a'), (5, 5, 'a')]);
        let knots = graph.knots(|_| true);
        assert_eq!(knots.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(knots[&0] == knots[&2] && knots[&0] != knots[&3]);
        assert_eq!(graph.knots(|label| label == 'a').keys().copied().collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn ways_are_short_and_go_along_wanted_edges() {
        let graph = graph(&[(0, 1, 'a'), (1, 2, 'a'), (0, 2, 'b'), (2, 3, 'a')]);
        assert_eq!(graph.way(0, 3, |_| true).unwrap().len(), 2);
        assert_eq!(graph.way(0, 3, |label| label == 'a').unwrap(), [(0, 1, 'a'), (1, 2, 'a'), (2, 3, 'a')]);
        assert_eq!(graph.way(3, 0, |_| true), None);
    }
}
