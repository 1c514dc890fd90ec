//! What people call the objects that others refer to.

use std::collections::{BTreeMap, BTreeSet};

use caps_model::messages::GET_MAX;
use caps_model::{Object, ObjectId, Value};

use super::catalogue::Catalogue;
use crate::{Client, ClientError};

/// Titles that were asked for; an object that may not be read has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Titles {
    known: BTreeMap<ObjectId, Option<String>>,
}

impl Titles {
    /// The title of an object.
    pub(crate) fn of(&self, id: ObjectId) -> Option<&str> {
        self.known.get(&id)?.as_deref()
    }

    /// Asks for the titles of everything that these objects refer to in the attributes that are shown, in one go.
    pub(crate) async fn learn<'a>(
        &mut self,
        client: &Client,
        catalogue: &Catalogue,
        objects: impl IntoIterator<Item = &'a Object>,
        is_shown: impl Fn(&str) -> bool,
    ) -> Result<(), ClientError> {
        let values = |object: &'a Object| {
            let shown = object.attributes.iter().filter(|(name, _)| is_shown(name.as_str()));
            shown.flat_map(|(_, values)| values.iter().take(REFERENCES_SHOWN)).filter_map(Value::as_reference).collect::<Vec<_>>()
        };
        let wanted = objects.into_iter().flat_map(values).collect();
        self.fetch(client, catalogue, wanted).await
    }

    /// Asks for the titles of these objects.
    pub(crate) async fn fetch(
        &mut self,
        client: &Client,
        catalogue: &Catalogue,
        mut wanted: BTreeSet<ObjectId>,
    ) -> Result<(), ClientError> {
        if self.known.len() > TITLES_MAX {
            self.known.clear();
        }
        wanted.retain(|id| !self.known.contains_key(id));
        let wanted: Vec<ObjectId> = wanted.into_iter().take(GET_MAX).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let got = client.get(wanted.clone()).await?;
        for (id, object) in wanted.into_iter().zip(got.objects) {
            self.known.insert(id, object.map(|object| catalogue.title(&object)));
        }
        Ok(())
    }
}

/// References of one attribute that a page shows.
pub(crate) const REFERENCES_SHOWN: usize = 20;

/// Titles that one page or stream remembers.
const TITLES_MAX: usize = 4_000;
