//! Text from HTML, for messages that bring nothing else.

use mail_parser::decoders::html::html_to_text;

/// What HTML says, as lines; not yet tidy. `mail-parser` breaks lines at `<br>` and `</p>` only, so that the rows of a table and mails written in
/// `<div>` would run together; the edges of other blocks are marked for it, where a line is open.
pub(super) fn text(html: &str) -> String {
    let mut marked = String::with_capacity(html.len() + html.len() / 8);
    let mut line_is_open = false;
    for (index, piece) in html.split('<').enumerate() {
        let mut text = piece;
        if index > 0 {
            let edge = Edge::before(piece);
            marked.push_str(edge.mark(line_is_open));
            marked.push('<');
            line_is_open &= matches!(edge, Edge::None | Edge::Cell);
            text = piece.split_once('>').map_or("", |(_, text)| text);
        }
        marked.push_str(piece);
        line_is_open |= !text.trim().is_empty();
    }
    let text = html_to_text(&marked);
    text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

/// What lies at a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// The text goes on.
    None,
    /// The end of a cell: the next one stands beside it.
    Cell,
    /// The beginning or the end of a block.
    Block,
    /// A line break that needs no mark.
    Break,
}

impl Edge {
    /// Reads the tag at the beginning of `piece`, its `<` already gone.
    fn before(piece: &str) -> Self {
        let (closes, piece) = match piece.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, piece),
        };
        let length = piece.bytes().take(TAG_BYTES_MAX).take_while(u8::is_ascii_alphanumeric).count();
        let tag = piece[..length].to_ascii_lowercase();
        match tag.as_str() {
            "br" => Self::Break,
            "p" if closes => Self::Break,
            "td" | "th" if closes => Self::Cell,
            tag if BLOCKS.contains(&tag) => Self::Block,
            _ => Self::None,
        }
    }

    fn mark(self, line_is_open: bool) -> &'static str {
        match self {
            Self::Block if line_is_open => "<br>",
            Self::Cell => " ",
            Self::None | Self::Block | Self::Break => "",
        }
    }
}

/// What begins on a line of its own and ends it.
const BLOCKS: [&str; 15] = ["p", "div", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "pre"];

/// The longest name in [`BLOCKS`].
const TAG_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_lines() {
        let table = [
            ("one<div>two &amp; tv&aring;</div>three", "one\ntwo & två\nthree"),
            ("<div>one</div><div>two</div>", "one\ntwo"),
            ("<p>one</p>\r\n<p>two</p>", "one\ntwo"),
            ("<tr><td>a</td><td>b</td></tr><TR><TD>c</TD></TR>", "a b\nc"),
            ("<ul><li>a</li><li>b</li></ul>c", "a\nb\nc"),
            ("a<br><br>b <b>c</b>d", "a\n\nb cd"),
            ("<style>p { color: red }</style><!-- no -->a < b", "a"),
        ];
        for (html, expected) in table {
            assert_eq!(text(html).trim(), expected, "{html}");
        }
    }
}
