//! Puts the tables into `docs/performance.md`, between two markers, and the chart beside it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::chart;
use crate::report::Report;

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Replaces the measured part of the page, and the chart.
pub fn write(report: &Report) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = docs.join("performance.md");
    let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("{} has lost its markers for the tables", page.display()))?;
    let tables = report.markdown();
    std::fs::write(
        &page,
        format!("{before}{BEGIN}\n![Chart of the tables below](performance.svg)\n\n{tables}\n{END}{after}"),
    )
    .with_context(|| format!("cannot write {}", page.display()))?;
    let chart = docs.join("performance.svg");
    std::fs::write(&chart, chart::svg(report)).with_context(|| format!("cannot write {}", chart.display()))
}
