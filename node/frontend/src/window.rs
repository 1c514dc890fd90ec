//! The first objects of an order, kept as they are told.

use caps_model::messages::{ObjectChange, Update};
use caps_model::{Object, Position};

/// A copy of a window that is followed: at most as many objects as its limit says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    objects: Vec<Object>,
    /// More of the present at this position is to come.
    coming: Option<Position>,
}

impl Window {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }

    /// The objects, in order.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Takes in an update; `true` if what there is to see is whole and different. Places beyond the end, which no store tells, count as the end.
    pub fn take(&mut self, update: &Update) -> bool {
        match update {
            Update::Present { position, objects, complete, .. } => {
                // At another position it begins anew: another host tells it.
                if self.coming != Some(*position) {
                    self.objects.clear();
                }
                // At the same one, what is told again is told from its beginning.
                self.objects.retain(|known| objects.iter().all(|object| object.id != known.id));
                self.objects.extend(objects.iter().cloned());
                self.coming = (!complete).then_some(*position);
                *complete
            }
            Update::Changes { changes, places, .. } => {
                self.objects.retain(|object| changes.iter().all(|change| change.id() != object.id));
                for (object, place) in changes.iter().filter_map(ObjectChange::object).zip(places) {
                    let place = usize::try_from(*place).unwrap_or(usize::MAX).min(self.objects.len());
                    self.objects.insert(place, object.clone());
                }
                true
            }
            Update::Progress { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use caps_model::{Name, ObjectId, Record};

    use super::*;

    fn object(id: u128) -> Object {
        Object::new(ObjectId(id), Name::fixed("case"), Position(1), Record::new())
    }

    fn ids(window: &Window) -> Vec<u128> {
        window.objects().iter().map(|object| object.id.0).collect()
    }

    #[test]
    fn a_window_follows_what_it_is_told() {
        let mut window = Window::new();
        let present_at = |position, ids: &[u128], complete| {
            let objects = ids.iter().map(|id| object(*id)).collect();
            Update::Present { position: Position(position), moment: None, objects, complete }
        };
        let present = |ids: &[u128], complete| present_at(1, ids, complete);
        assert!(!window.take(&present(&[1, 2], false)));
        assert!(window.take(&present(&[3], true)));
        assert_eq!(ids(&window), [1, 2, 3]);
        let changes = vec![ObjectChange::Removed(ObjectId(2)), ObjectChange::Added(object(4)), ObjectChange::Changed(object(1))];
        let places = vec![0, 2];
        assert!(window.take(&Update::Changes { position: Position(2), moment: None, changes, places, coalesced_from: None }));
        assert_eq!(ids(&window), [4, 3, 1]);
        // A present that nobody waits for is a new start.
        assert!(window.take(&present(&[5], true)));
        assert_eq!(ids(&window), [5]);
        // So is one that begins again in the middle, at another host that is elsewhere.
        assert!(!window.take(&present_at(7, &[6], false)));
        assert!(!window.take(&present_at(8, &[7], false)));
        assert!(!window.take(&present_at(8, &[7, 8], false)));
        assert!(window.take(&present_at(8, &[9], true)));
        assert_eq!(ids(&window), [7, 8, 9]);
    }
}
