//! The score as tables, and as a verdict.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use crate::score::{Links, Row, Score, Tally};
use crate::truth::{Attach, Sharing, Truth};

/// Between these lines of a document stands the table.
pub const BEGIN: &str = "<!-- truth: begin -->";
pub const END: &str = "<!-- truth: end -->";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Text,
    Markdown,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    #[error("{0} wrong links")]
    WrongLinks(u64),
    #[error("{0} duplicate spans")]
    Duplicates(u64),
    #[error("{0} traces mix requests")]
    Mixed(u64),
    #[error("coverage is {found:.3} %, less than {wanted} %")]
    Coverage { found: f64, wanted: f64 },
    #[error("{0} spans with a wrong method or status")]
    Content(u64),
    #[error("nothing was expected: no request was answered")]
    Nothing,
}

/// Least coverage of streams that are older than the agent, in percent: where their frames begin shows only by and by.
const MIN_LATE_STREAMS: f64 = 95.0;

/// What speaks against the agent; nothing, if all is well.
pub fn failures(truth: &Truth, score: &Score, min_coverage: f64) -> Vec<Failure> {
    let total = score.total();
    let mut failures = Vec::new();
    let mut check = |failed: bool, failure: Failure| {
        if failed {
            failures.push(failure);
        }
    };
    let content = total.wrong_method + total.wrong_status;
    check(
        total.wrong_links() > 0,
        Failure::WrongLinks(total.wrong_links()),
    );
    check(total.duplicates > 0, Failure::Duplicates(total.duplicates));
    check(score.mixed > 0, Failure::Mixed(score.mixed));
    check(content > 0, Failure::Content(content));
    check(total.expected == 0, Failure::Nothing);
    let is_late = |row: &Row| truth.is_late_stream(&row.cell);
    let late = score.sum(is_late).coverage();
    let others = score.sum(|row| !is_late(row)).coverage();
    for (found, wanted) in [(others, min_coverage), (late, MIN_LATE_STREAMS)] {
        check(found < wanted, Failure::Coverage { found, wanted });
    }
    failures
}

/// Both tables and what they do not show.
pub fn report(truth: &Truth, score: &Score, style: Style) -> String {
    let total = score.total();
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{}\n", programs(truth, score, style));
    let _ = writeln!(text, "{}\n", conditions(truth, score, style));
    let _ = write!(
        text,
        "{} spans expected, {:.3} % found, {} of them partial; {} duplicates, {} unexpected, {} mixed traces; \
         links: {} wrong; fields: {} wrong methods, {} wrong statuses, {} wrong times.",
        total.expected,
        total.coverage(),
        total.partial + total.nameless,
        total.duplicates,
        total.unexpected,
        score.mixed,
        total.wrong_links(),
        total.wrong_method,
        total.wrong_status,
        total.wrong_time,
    );
    text
}

/// A row for each scenario, attachment and number of clients: where things go wrong.
pub fn details(truth: &Truth, score: &Score) -> String {
    let mut cells: Vec<_> = score.rows.keys().map(|row| row.cell).collect();
    cells.dedup();
    let rows = cells.into_iter().map(|cell| {
        let scenario = truth
            .scenarios
            .get(cell.scenario)
            .map_or("", |scenario| &scenario.name)
            .to_owned();
        let head = vec![scenario, cell.attach.to_string(), cell.clients.to_string()];
        (head, score.sum(|row| row.cell == cell))
    });
    table(&["scenario", "agent", "clients"], rows, Style::Text)
}

/// Examples of each kind of fault.
pub fn examples(score: &Score) -> String {
    let mut text = String::new();
    let mut last = None;
    for ((fault, _), examples) in &score.examples {
        if last.replace(*fault) != Some(*fault) {
            let _ = writeln!(text, "{fault:?}, for example:");
        }
        for example in examples {
            let _ = writeln!(text, "  {example}");
        }
    }
    text
}

/// Puts `table` between the two markers of the document.
pub fn insert(document: &Path, table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document)?;
    let replaced = replace(&text, table).ok_or_else(|| {
        anyhow::anyhow!("{} has no lines `{BEGIN}` and `{END}`", document.display())
    })?;
    Ok(std::fs::write(document, replaced)?)
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

fn programs(truth: &Truth, score: &Score, style: Style) -> String {
    let of = |row: &Row| (&truth.programs[row.program.0], row.kind);
    let mut keys: Vec<_> = score
        .rows
        .keys()
        .map(of)
        .map(|(p, k)| (p.name.as_str(), p.model, k))
        .collect();
    keys.sort_by_key(|(name, _, kind)| (*name, *kind));
    keys.dedup();
    let rows = keys.into_iter().map(|(name, model, kind)| {
        let tally = score.sum(|row| of(row).0.name == name && row.kind == kind);
        (
            vec![name.to_owned(), model.to_string(), kind.to_string()],
            tally,
        )
    });
    let total = (["total", "", ""].map(str::to_owned).to_vec(), score.total());
    table(&["program", "model", "kind"], rows.chain([total]), style)
}

fn conditions(truth: &Truth, score: &Score, style: Style) -> String {
    let of = |row: &Row| {
        let scenario = truth.scenarios.get(row.cell.scenario);
        let sharing = scenario.map_or(Sharing::Own, |scenario| scenario.sharing);
        (row.cell.attach, sharing, row.cell.clients)
    };
    let mut keys: Vec<(Attach, Sharing, usize)> = score.rows.keys().map(of).collect();
    keys.sort_unstable();
    keys.dedup();
    let rows = keys.into_iter().map(|key| {
        let (attach, sharing, clients) = key;
        let head = vec![attach.to_string(), format!("{clients} {sharing}")];
        (head, score.sum(|row| of(row) == key))
    });
    table(&["agent", "clients on"], rows, style)
}

fn table(keys: &[&str], rows: impl Iterator<Item = (Vec<String>, Tally)>, style: Style) -> String {
    let figures = [
        "expected",
        "found",
        "partial",
        "dup",
        "unexp",
        "wrong field",
        "roots",
        "hop links",
        "in-process links",
    ];
    let mut table = Table::new();
    table.load_preset(match style {
        Style::Text => presets::NOTHING,
        Style::Markdown => presets::ASCII_MARKDOWN,
    });
    table.set_header(keys.iter().copied().chain(figures));
    for (mut cells, tally) in rows {
        let wrong = tally.wrong_method + tally.wrong_status + tally.wrong_time;
        let counts = [
            tally.expected,
            tally.found,
            tally.partial + tally.nameless,
            tally.duplicates,
            tally.unexpected,
            wrong,
        ];
        cells.extend(counts.iter().map(u64::to_string));
        cells.extend(
            [tally.roots, tally.hops, tally.in_process]
                .iter()
                .map(links),
        );
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(keys.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// `right / missed / wrong`
fn links(links: &Links) -> String {
    let Links {
        right,
        missed,
        wrong,
    } = links;
    if right + missed + wrong == 0 {
        return "-".to_owned();
    }
    format!("{right} / {missed} / {wrong}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_goes_between_the_markers() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let expected = format!("a\n{BEGIN}\nnew\n{END}\nb\n");
        assert_eq!(replace(&document, "new"), Some(expected));
        assert_eq!(replace("a", "new"), None);
    }
}
