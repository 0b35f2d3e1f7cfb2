//! The one table a bench prints.

use std::fmt;

/// Whether a row is as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Nothing is wanted: the number is there to be known.
    Told,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Told => "",
        })
    }
}

/// One thing measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) measured: String,
    pub(crate) wanted: String,
    pub(crate) verdict: Verdict,
    /// What peers were measured at: the column's title and the text.
    pub(crate) peers: Vec<(&'static str, String)>,
}

impl Row {
    /// A row with a want, and whether that is met.
    pub(crate) fn judged(
        name: impl Into<String>,
        measured: impl Into<String>,
        wanted: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            verdict: if met { Verdict::Met } else { Verdict::Missed },
            wanted: wanted.into(),
            ..Self::told(name, measured)
        }
    }

    /// A row without a want.
    pub(crate) fn told(name: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            measured: measured.into(),
            wanted: String::new(),
            verdict: Verdict::Told,
            peers: Vec::new(),
        }
    }

    fn peer(&self, title: &str) -> &str {
        let mut peers = self.peers.iter();
        peers.find(|(other, _)| *other == title).map_or("", |(_, text)| text)
    }
}

/// Rows in order. Shown as a Markdown table: name, measured, a column for each peer there is, wanted,
/// verdict.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) Vec<Row>);

impl Table {
    /// Whether no want is missed.
    pub(crate) fn is_met(&self) -> bool {
        self.0.iter().all(|row| row.verdict != Verdict::Missed)
    }

    /// The peers' columns, in the order they first appear.
    fn peers(&self) -> Vec<&'static str> {
        let mut titles = Vec::new();
        for (title, _) in self.0.iter().flat_map(|row| &row.peers) {
            if !titles.contains(title) {
                titles.push(*title);
            }
        }
        titles
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let peers = self.peers();
        let titles = [&["name", "measured"], &peers[..], &["wanted", "verdict"]].concat();
        let mut lines = vec![titles.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for row in &self.0 {
            let mut line = vec![row.name.clone(), row.measured.clone()];
            line.extend(peers.iter().map(|title| row.peer(title).to_owned()));
            line.extend([row.wanted.clone(), row.verdict.to_string()]);
            lines.push(line);
        }
        lines
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&markdown(&self.cells()))
    }
}

/// Cells as a Markdown table whose columns line up in plain text, too; the first line is the titles.
pub(crate) fn markdown(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for (index, line) in cells.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in &widths {
                text += &format!("|{:-<1$}", "", width + 2);
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_peers_have_theirs_where_there_are_any() {
        let mut table = Table(vec![
            Row::judged("burst", "40 ms", "≤ 60 ms", true),
            Row::told("memory", "71 KiB"),
        ]);
        let plain = "| name   | measured | wanted  | verdict |\n\
                     |--------|----------|---------|---------|\n\
                     | burst  | 40 ms    | ≤ 60 ms | met     |\n\
                     | memory | 71 KiB   |         |         |\n";
        assert_eq!(table.to_string(), plain);
        assert!(table.is_met());
        table.0[0].peers.push(("nginx", "9 ms".to_owned()));
        table.0.push(Row::judged("idle", "3", "0", false));
        assert!(table.to_string().contains("| burst  | 40 ms    | 9 ms  | ≤ 60 ms | met"));
        assert!(!table.is_met());
    }
}
