//! Columns that line up, and sentences that do not run out of the screen.

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lines of cells, each column as wide as it must be.
#[derive(Debug)]
pub(super) struct Grid {
    aligns: Vec<Align>,
    lines: Vec<Vec<String>>,
}

impl Grid {
    /// An empty grid with a heading over each column.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(name, _)| printable(name)).collect();
        Self { aligns: columns.iter().map(|(_, align)| *align).collect(), lines: vec![heading] }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// All lines, with two blanks between columns and none at the end.
    pub(super) fn print(&self) -> String {
        let widths: Vec<usize> = (0..self.aligns.len()).map(|column| self.width(column)).collect();
        self.lines.iter().map(|line| self.print_line(line, &widths)).collect()
    }

    fn width(&self, column: usize) -> usize {
        self.lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn print_line(&self, line: &[String], widths: &[usize]) -> String {
        let cells = line.iter().zip(widths).zip(&self.aligns).map(|((cell, width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let cells: Vec<String> = cells.collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}

/// A sentence, its lines at most so wide; those after the first stand a little further in.
pub(super) fn wrapped(indent: &str, sentence: &str, width: usize) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in printable_words(sentence) {
        let line = lines.last_mut().expect("there is always a line");
        let taken = line.chars().count();
        if taken + 1 + word.chars().count() > width && !line.trim().is_empty() {
            lines.push(format!("{indent}    {word}"));
        } else {
            line.push_str(if line.trim().is_empty() { "" } else { " " });
            line.push_str(&word);
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Numbers stay with their units.
fn printable_words(sentence: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in sentence.split_whitespace().map(without_controls) {
        let unit = UNITS.contains(&word.trim_end_matches([',', ';', ')', '.']));
        match words.last_mut() {
            Some(last) if unit && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(&word);
            }
            _ => words.push(word),
        }
    }
    words
}

/// A cell that is not longer than it should be, and does not tell the terminal what to do.
fn printable(cell: &str) -> String {
    let mut plain: String = without_controls(cell).chars().take(CELL_MAX).collect();
    if cell.chars().count() > CELL_MAX {
        plain.push('…');
    }
    plain
}

fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const CELL_MAX: usize = 60;
const UNITS: [&str; 6] = ["ms", "s", "min", "h", "%", "round"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters_not_bytes() {
        let mut grid = Grid::new(&[("at", Align::Left), ("p95", Align::Right)]);
        grid.line(["São Paulo".to_owned(), "1 ms".to_owned()]);
        grid.line(["Oslo".to_owned(), "12 ms".to_owned()]);
        assert_eq!(grid.print(), "at           p95\nSão Paulo   1 ms\nOslo       12 ms\n");
    }

    #[test]
    fn sentences_break_between_words_and_never_before_a_unit() {
        assert_eq!(wrapped("  ", "it takes 12 ms there", 14), "  it takes\n      12 ms\n      there\n");
    }
}
