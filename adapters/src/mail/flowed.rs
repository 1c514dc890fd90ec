//! Text that was wrapped for the way (RFC 3676, `format=flowed`).

/// Joins the lines that the sender's program broke: a line that ends in a blank goes on in the next one of the same quote depth.
/// With `delete_blank` (`DelSp=yes`) that blank is not part of the text.
pub(super) fn unwrap(text: &str, delete_blank: bool) -> String {
    let mut joined = String::with_capacity(text.len());
    // The quote depth of the line that the next one continues.
    let mut open = None;
    for line in text.lines() {
        let (depth, content) = split_quote(line);
        let flows = content.ends_with(' ') && content != SIGNATURE;
        if open != Some(depth) || content == SIGNATURE {
            start_line(&mut joined, depth);
        }
        let kept = if flows && delete_blank { &content[..content.len() - 1] } else { content };
        joined.push_str(kept);
        open = flows.then_some(depth);
    }
    joined
}

/// The quote depth of a line, and the line without its quote marks and without its stuffed blank (sections 4.4 and 4.5).
fn split_quote(line: &str) -> (usize, &str) {
    let unquoted = line.trim_start_matches('>');
    let depth = line.len() - unquoted.len();
    (depth, unquoted.strip_prefix(' ').unwrap_or(unquoted))
}

fn start_line(joined: &mut String, depth: usize) {
    if !joined.is_empty() {
        joined.push('\n');
    }
    joined.extend(std::iter::repeat_n('>', depth));
    if depth > 0 {
        joined.push(' ');
    }
}

/// Section 4.3: it ends in a blank and yet does not flow.
const SIGNATURE: &str = "-- ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_breaks_are_joined() {
        assert_eq!(unwrap("The pump \nstands \nstill.\nHelp!", false), "The pump stands still.\nHelp!");
    }

    #[test]
    fn deleted_blanks_join_words() {
        assert_eq!(unwrap("ポン \nプ", true), "ポンプ");
    }

    #[test]
    fn quotes_of_another_depth_do_not_join() {
        assert_eq!(unwrap("> one \n> two\n>> three \nfour", false), "> one two\n>> three \nfour");
    }

    #[test]
    fn signature_line_stays_and_stuffing_goes() {
        assert_eq!(unwrap("Regards \n-- \nAnna\n >x", false), "Regards \n-- \nAnna\n>x");
    }
}
