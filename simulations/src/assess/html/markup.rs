//! Pieces of markup: nothing that came from a file reaches the page unescaped.

/// Text as it may stand between tags and inside quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A section with its heading and what to know before reading it; both are text, `body` is markup.
pub(super) fn section(id: &str, heading: &str, intro: &str, body: &str) -> String {
    let intro = if intro.is_empty() { String::new() } else { format!("<p class=\"intro\">{}</p>\n", escaped(intro)) };
    format!("<section id=\"{id}\">\n<h2>{}</h2>\n{intro}{body}</section>\n", escaped(heading))
}

/// A table that scrolls by itself where it does not fit. `head` and `body` are markup.
pub(super) fn table(class: &str, label: &str, head: &str, body: &str) -> String {
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n<table class=\"{class}\">\n<caption>{label}</caption>\n\
         <thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n",
        label = escaped(label),
    )
}

/// A heading of a column.
pub(super) fn column(name: &str, class: &str) -> String {
    format!("<th scope=\"col\"{}>{}</th>", class_attribute(class), escaped(name))
}

/// A cell with text.
pub(super) fn cell(class: &str, text: &str) -> String {
    format!("<td{}>{}</td>", class_attribute(class), escaped(text))
}

/// What a row is about, with a remark below it.
pub(super) fn row_head(name: &str, remark: &str) -> String {
    let remark = if remark.is_empty() { String::new() } else { format!("<small>{}</small>", escaped(remark)) };
    format!("<th scope=\"row\">{}{remark}</th>", escaped(name))
}

fn class_attribute(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") }
}
