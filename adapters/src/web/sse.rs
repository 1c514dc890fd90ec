//! Server-sent events: the framing (HTML standard, section 9.2).

use std::fmt::Write as _;

/// An event on its way to a browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Where a reader goes on that has seen this: it comes back as `Last-Event-ID`.
    pub id: Option<&'a str>,
    /// What kind it is; `message` if it does not say.
    pub kind: Option<&'a str>,
    /// What it says.
    pub data: &'a str,
}

impl Event<'_> {
    /// The bytes of the event. Line ends in the data stay line ends; kinds and ids are cut at their first one.
    pub fn frame(&self) -> String {
        let mut frame = String::with_capacity(self.data.len() + 48);
        let mut line = |name: &str, text: &str| writeln!(frame, "{name}: {text}").expect("writing to a string does not fail");
        let first = |text: &str| text.split(['\n', '\r', '\0']).next().unwrap_or_default().to_owned();
        if let Some(id) = self.id {
            line("id", &first(id));
        }
        if let Some(kind) = self.kind {
            line("event", &first(kind));
        }
        let data = self.data.replace("\r\n", "\n").replace('\r', "\n");
        data.split('\n').for_each(|text| line("data", text));
        frame.push('\n');
        frame
    }
}

/// How long a browser waits before it comes back.
pub fn retry_frame(milliseconds: u32) -> String {
    format!("retry: {milliseconds}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_event_makes_another_one() {
        let event = Event { id: Some("1\nevent: x"), kind: Some("row\r\ndata: y"), data: "a\r\nb\n\nevent: z" };
        assert_eq!(event.frame(), "id: 1\nevent: row\ndata: a\ndata: b\ndata: \ndata: event: z\n\n");
        assert_eq!(Event::default().frame(), "data: \n\n");
    }
}
