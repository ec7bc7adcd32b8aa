//! Output of commands: lines for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde_json::Value;

/// Writes a line to standard output. Errors are ignored: a reader that has closed the pipe wants no
/// more output.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes a JSON value to standard output.
pub(super) fn say_json(value: &Value) {
    say(format_args!("{value:#}"));
}

/// Writes an error and its causes to standard error.
pub(super) fn say_error(cause: &anyhow::Error) {
    let _ = writeln!(io::stderr().lock(), "error: {cause:#}");
}

/// Writes a note to standard error, where it is not mistaken for the result.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with a header row.
    pub(super) fn new(names: &[&str]) -> Self {
        Self { rows: vec![names.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(super) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn print(&self) {
        for line in self.lines() {
            say(line);
        }
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Formats a member of a JSON object as a table cell: `-` if it is missing.
pub(super) fn cell(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Formats a duration for people: `850 ms`, `1.2 s`, `2 min 05 s`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let minutes = (seconds.round() / 60.0).floor();
        format!("{minutes:.0} min {:02.0} s", seconds.round() - minutes * 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "STATUS"]);
        table.row(["pbs_1".to_owned(), "running".to_owned()]);
        assert_eq!(table.lines(), ["ID     STATUS", "pbs_1  running"]);
    }

    #[test]
    fn a_duration_is_told_in_the_unit_that_suits_it() {
        assert_eq!(duration(0.85), "850 ms");
        assert_eq!(duration(1.24), "1.2 s");
        assert_eq!(duration(59.97), "1 min 00 s");
        assert_eq!(duration(125.2), "2 min 05 s");
    }
}
