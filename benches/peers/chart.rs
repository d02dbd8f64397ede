//! The chart: horizontal bars as a plain SVG that reads on light and dark pages.

use crate::report::{Report, Rows, Sample, thousands};
use crate::subject::Subject;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 150.0;
const VALUES: f64 = 90.0;
const BAR: f64 = 22.0;
const STEP: f64 = 30.0;
const TITLE: f64 = 44.0;

/// One group of bars with a scale of its own.
struct Group {
    title: &'static str,
    bars: Vec<(Subject, f64)>,
    unit: &'static str,
}

/// Draws what `report` holds.
pub fn svg(report: &Report) -> String {
    let speed = |rows: &Rows| rows.0.iter().map(|row| (row.subject, row.median(Sample::per_cpu_second))).collect();
    let memory = report.memory.iter().map(|row| (row.subject, row.growth() as f64 / 1e6)).collect();
    let groups = [
        Group { title: "UDP: replies per server CPU second (more is better)", bars: speed(&report.udp), unit: "" },
        Group { title: "HTTP: replies per server CPU second (more is better)", bars: speed(&report.http), unit: "" },
        Group { title: "Memory of 1,000,000 swarms, 2,000,000 peers (less is better)", bars: memory, unit: " MB" },
    ];

    let mut y = 0.0;
    let mut body = String::new();
    for group in groups.iter().filter(|group| !group.bars.is_empty()) {
        y += TITLE;
        body += &format!("<text class=\"title\" x=\"0\" y=\"{}\">{}</text>\n", y - 14.0, group.title);
        let longest = group.bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        for &(subject, value) in &group.bars {
            let length = (WIDTH - LABELS - VALUES) * value / longest;
            let middle = y + BAR / 2.0 + 5.0;
            body += &format!(
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{subject}</text>\n\
                 <rect x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{}\"/>\n\
                 <text x=\"{:.1}\" y=\"{middle}\">{}{}</text>\n",
                LABELS - 10.0,
                colour(subject),
                LABELS + length + 8.0,
                thousands(value.round() as u32),
                group.unit,
            );
            y += STEP;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\">\n\
         <title>Tidings, aquatic and a bare responder compared</title>\n\
         <style>text {{ font: 14px system-ui, sans-serif; fill: #24292f }} .title {{ font-weight: 600 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} }}</style>\n{body}</svg>\n"
    )
}

fn colour(subject: Subject) -> &'static str {
    match subject {
        Subject::Tidings | Subject::TidingsWildcard | Subject::Reference => "#0f766e",
        Subject::Aquatic | Subject::AquaticWildcard => "#7c8ea3",
        Subject::Bare | Subject::BareWildcard => "#c9a227",
    }
}
