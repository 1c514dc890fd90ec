//! What is to be done in the world and is not done, as far as whoever asks may see it.

use caps_frontend::Client;
use caps_model::{Filter, Name, Object, Query, Value};
use serde_json::{Value as Json, json};

use crate::output;

/// Effects that are not done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// They are to be tried, or are tried now.
    waiting: usize,
    /// Of these, those that were tried in vain before.
    put_off: usize,
    /// They were given up.
    dead: usize,
    /// There are more than these.
    more: bool,
    /// What the other side said of one of them, with where it went: of one that was put off, or else of one that was given up.
    said: Option<(String, String)>,
}

impl Effects {
    /// `None`: whoever asks may see none, or nobody answers.
    pub(super) async fn take(client: &Client) -> Option<Self> {
        let open = Filter::one_of(Name::fixed("status"), ["waiting", "claimed", "dead"].map(Value::text));
        let query = Query { filter: open, ..Query::all(Name::fixed("effect")) }.by(Name::fixed("next_at"), false);
        let found = client.query(query).await.ok()?;
        Some(Self { more: found.more, ..Self::of(&found.objects) })
    }

    fn of(effects: &[Object]) -> Self {
        let is_dead = |effect: &&Object| effect.text("status") == Some("dead");
        let is_put_off = |effect: &&Object| !is_dead(effect) && effect.text("outcome").is_some();
        let dead = effects.iter().filter(is_dead).count();
        let telling = effects.iter().find(is_put_off).or_else(|| effects.iter().find(is_dead));
        let text = |effect: &Object, name: &str| effect.text(name).unwrap_or_default().to_owned();
        let said = telling.map(|effect| (format!("{} to {}", text(effect, "kind"), text(effect, "towards")), text(effect, "outcome")));
        Self { waiting: effects.len() - dead, put_off: effects.iter().filter(is_put_off).count(), dead, more: false, said }
    }

    /// For people; nothing, if there is nothing to tell.
    pub(super) fn line(&self) -> Option<String> {
        if self.waiting + self.dead == 0 {
            return None;
        }
        let least = if self.more { "at least " } else { "" };
        let said = self
            .said
            .as_ref()
            .map(|(what, said)| format!("; {what}: {}", output::values(&[Value::text(said.as_str())])))
            .unwrap_or_default();
        let Self { waiting, put_off, dead, .. } = self;
        Some(format!(
            "effects: {least}{waiting} wait ({put_off} of them tried in vain), {dead} given up{said} (`caps mail queue` shows them)"
        ))
    }

    /// For programs.
    pub(super) fn json(&self) -> Json {
        json!({"waiting": self.waiting, "put_off": self.put_off, "dead": self.dead, "more": self.more})
    }
}

#[cfg(test)]
mod tests {
    use caps_model::{ObjectId, Position, Record};

    use super::*;

    #[test]
    fn what_waits_and_why_is_one_line() {
        let effect = |id: u128, status: &str, outcome: &[&str]| {
            let texts = [("status", vec![status]), ("kind", vec!["mail"]), ("towards", vec!["a.example"]), ("outcome", outcome.to_vec())];
            let attributes: Record =
                texts.into_iter().map(|(name, texts)| (Name::fixed(name), texts.into_iter().map(Value::text).collect())).collect();
            Object::new(ObjectId(id), Name::fixed("effect"), Position(1), attributes)
        };
        assert_eq!(Effects::of(&[]).line(), None);
        let effects = Effects::of(&[effect(1, "waiting", &[]), effect(2, "dead", &["no such user"]), effect(3, "claimed", &["refused"])]);
        let line = "effects: 2 wait (1 of them tried in vain), 1 given up; mail to a.example: refused (`caps mail queue` shows them)";
        assert_eq!(effects.line().as_deref(), Some(line));
        let dead = Effects::of(&[effect(2, "dead", &["no such user"])]);
        assert!(dead.line().unwrap().contains("0 wait (0 of them tried in vain), 1 given up; mail to a.example: no such user"));
    }
}
