//! The figures, as tables for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table as Drawing, presets};
use serde::Serialize;

use crate::machine::Machine;
use crate::samples::{Samples, Summary};
use crate::watch::prometheus::OwnFigures;

#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) tables: Vec<Table>,
    /// What the project aims at, and what was reached.
    pub(crate) aims: Vec<Aim>,
    /// weft's own figures at the end of runs, for a closer look.
    pub(crate) own_figures: BTreeMap<String, OwnFigures>,
}

#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Figure(Summary),
    Count(u64),
    Text(String),
    Empty,
}

#[derive(Serialize)]
pub(crate) struct Aim {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) at_most: f64,
    pub(crate) reached: f64,
}

// === impl Report ===

impl Report {
    pub(crate) fn aim(
        &mut self,
        what: &'static str,
        unit: &'static str,
        at_most: f64,
        reached: Option<f64>,
    ) {
        self.aims.extend(reached.map(|reached| Aim {
            what,
            unit,
            at_most,
            reached,
        }));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        if self.aims.is_empty() {
            return Ok(());
        }
        let mut drawing = Drawing::new();
        drawing
            .load_preset(presets::NOTHING)
            .set_header(["aim", "at most", "reached", ""]);
        for aim in &self.aims {
            let verdict = if aim.reached <= aim.at_most {
                "yes"
            } else {
                "NOT YET"
            };
            drawing.add_row([
                aim.what.to_owned(),
                format!("{} {}", aim.at_most, aim.unit),
                format!("{:.1} {}", aim.reached, aim.unit),
                verdict.to_owned(),
            ]);
        }
        write!(f, "{drawing}")
    }
}

// === impl Table ===

impl Table {
    /// The first column has the rows' names.
    pub(crate) fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(
        &mut self,
        name: impl Into<String>,
        cells: impl IntoIterator<Item = Cell>,
    ) -> &mut Self {
        self.rows.push(Row {
            name: name.into(),
            cells: cells.into_iter().collect(),
        });
        self
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut drawing = Drawing::new();
        drawing
            .load_preset(presets::NOTHING)
            .set_header(self.columns.iter().copied());
        for row in &self.rows {
            drawing.add_row(
                std::iter::once(row.name.clone()).chain(row.cells.iter().map(ToString::to_string)),
            );
        }
        for column in drawing.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "\n{}\n{drawing}", self.title)?;
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  {note}"))
    }
}

// === impl Cell ===

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(summary) => summary.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Empty => f.write_str("-"),
        }
    }
}

impl From<&Samples> for Cell {
    fn from(samples: &Samples) -> Self {
        samples.summary().map_or(Self::Empty, Self::Figure)
    }
}

impl From<Samples> for Cell {
    fn from(samples: Samples) -> Self {
        Self::from(&samples)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::from(Samples::from_iter([value]))
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
