//! A plain text table for the terminal: words to the left, numbers to the right.

use std::fmt;

/// Cells under headers. It prints one line per row, without borders, the columns two spaces apart.
///
/// ```
/// use copla::report::table::Table;
///
/// let table = Table::new(["modelo", "bits"]).row(["Kneser-Ney", "2.41"]).row(["décima", "12.3"]);
/// assert_eq!(
///     table.to_string(),
///     "modelo      bits\n──────────  ────\nKneser-Ney  2.41\ndécima      12.3\n"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    /// The headers first; no row is longer than they are.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<C: Into<String>>(headers: impl IntoIterator<Item = C>) -> Self {
        let table = Table { rows: Vec::new() };
        table.row(headers)
    }

    /// Adds a row. A cell that is not given is empty; one more than the headers widens the table.
    pub fn row<C: Into<String>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        // A row is one line, whatever a file's text brings into a cell.
        self.rows
            .push(cells.into_iter().map(|cell| cell.into().replace(['\n', '\r'], " ")).collect());
        self
    }

    fn cell(row: &[String], column: usize) -> &str {
        row.get(column).map_or("", String::as_str)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<Column> = (0..self.rows.iter().map(Vec::len).max().unwrap_or(0))
            .map(|column| Column::of(self.rows.iter().map(|row| Self::cell(row, column))))
            .collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells =
                columns.iter().enumerate().map(|(c, column)| column.align(Self::cell(row, c)));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            if i == 0 {
                let rules: Vec<_> = columns.iter().map(|column| "─".repeat(column.width)).collect();
                writeln!(f, "{}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

struct Column {
    /// In characters: a composed Spanish accent is one of them and takes one place.
    width: usize,
    numeric: bool,
}

impl Column {
    /// `cells` begins with the header, which says nothing about what the column holds.
    fn of<'a>(cells: impl Iterator<Item = &'a str> + Clone) -> Self {
        let mut filled = cells.clone().skip(1).filter(|cell| !cell.is_empty()).peekable();
        Column {
            width: cells.map(|cell| cell.chars().count()).max().unwrap_or(0),
            numeric: filled.peek().is_some() && filled.all(is_number),
        }
    }

    fn align(&self, cell: &str) -> String {
        // The formatter's width counts characters too, not bytes.
        match self.numeric {
            true => format!("{cell:>0$}", self.width),
            false => format!("{cell:<0$}", self.width),
        }
    }
}

/// `-1.5e3`, `50,257`, `82 %`, `1.3x`; a dash stands for a number that is not there.
fn is_number(cell: &str) -> bool {
    let digits = cell.trim_end_matches([' ', '%', 'x', '×']).replace(',', "");
    matches!(cell, "-" | "–" | "—") || digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_take_one_place() {
        let table = Table::new(["autor", "verso"]).row(["Núñez", "a"]).row(["Ñandú ágil", "b"]);
        assert_eq!(
            table.to_string(),
            "autor       verso\n──────────  ─────\nNúñez       a\nÑandú ágil  b\n"
        );
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let table = Table::new(["name", "count", "share"])
            .row(["wte", "50,257", "9.5 %"])
            .row(["a longer one", "-7", "—"])
            .row(["nan", "", "100 %"]);
        let lines: Vec<String> = table.to_string().lines().map(str::to_string).collect();
        assert_eq!(lines[0], "name           count  share");
        assert_eq!(lines[2], "wte           50,257  9.5 %");
        assert_eq!(lines[3], "a longer one      -7      —");
        assert_eq!(lines[4], "nan                   100 %");
    }

    #[test]
    fn ragged_rows_and_line_breaks_keep_the_table_a_table() {
        let table = Table::new(["a"]).row(["x", "y\nz"]).row(Vec::<String>::new());
        assert_eq!(table.to_string(), "a\n─  ───\nx  y z\n\n");
    }
}
