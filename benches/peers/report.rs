//! Samples, their medians, and the table made of them.

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::Args;
use crate::machine::Machine;
use crate::memory::{self, Memory};
use crate::subject::Subject;

/// One server in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Length of the window.
    pub seconds: f64,
    /// Replies in the window, errors not among them.
    pub replies: f64,
    /// Error replies, refused connections and the like.
    pub errors: f64,
    /// User and system time of the server in the window.
    pub cpu_seconds: f64,
    /// Mean peers in a reply to an announce.
    pub peers_per_reply: f64,
    /// HTTP: mean bytes of a reply's body.
    pub body_bytes: Option<f64>,
    /// Resident memory of the server at the end of the window.
    pub resident_bytes: u64,
    /// Whether the server knew every peer when the window opened.
    pub filled: bool,
}

impl Sample {
    /// Replies per second of the clock.
    pub fn per_second(&self) -> f64 {
        self.replies / self.seconds
    }

    /// Replies per second of CPU time that the server used.
    pub fn per_cpu_second(&self) -> f64 {
        self.replies / self.cpu_seconds
    }
}

/// The samples of one server, one a round.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The server.
    pub subject: Subject,
    /// In the order of the rounds.
    pub samples: Vec<Sample>,
}

impl Row {
    /// The median of a figure over the rounds.
    pub fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(figure))
    }
}

/// The servers of one part.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    /// Adds a sample to the server's row.
    pub fn push(&mut self, subject: Subject, sample: Sample) {
        match self.0.iter_mut().find(|row| row.subject == subject) {
            Some(row) => row.samples.push(sample),
            None => self.0.push(Row { subject, samples: vec![sample] }),
        }
    }

    /// The least mean of peers in a reply among the trackers: with it the bare responder has the easiest work of all.
    pub fn least_peers(&self) -> Option<usize> {
        self.least(|sample| Some(sample.peers_per_reply))
    }

    /// The least mean of body bytes among the trackers.
    pub fn least_body(&self) -> Option<usize> {
        self.least(|sample| sample.body_bytes)
    }

    fn least(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<usize> {
        let trackers = self.0.iter().filter(|row| !row.subject.is_bare());
        trackers
            .flat_map(|row| &row.samples)
            .filter_map(figure)
            .min_by(f64::total_cmp)
            .map(|least| least.round() as usize)
    }

    /// Median over the rounds of `subject`'s figure divided by that of `base` in the same round.
    fn ratio(&self, subject: Subject, base: Subject, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        let samples = |wanted| self.0.iter().find(|row| row.subject == wanted).map(|row| &row.samples);
        let pairs = samples(subject)?.iter().zip(samples(base)?);
        Some(median(pairs.map(|(one, other)| figure(one) / figure(other))))
    }
}

/// Everything that one run has measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Rounds of the run.
    pub rounds: usize,
    /// Length of a window in seconds.
    pub seconds: u64,
    /// Where it ran.
    pub machine: Machine,
    /// UDP samples.
    pub udp: Rows,
    /// HTTP samples.
    pub http: Rows,
    /// Resident memory.
    pub memory: Vec<Memory>,
}

impl Report {
    /// An empty report of this machine.
    pub fn new(args: &Args) -> Self {
        Self {
            rounds: args.rounds,
            seconds: args.seconds,
            machine: Machine::here(),
            udp: Rows::default(),
            http: Rows::default(),
            memory: Vec::new(),
        }
    }

    /// All tables, in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\nMedians of {} rounds, windows of {} s.\n", self.machine, self.rounds, self.seconds);
        for (title, rows) in [("UDP", &self.udp), ("HTTP", &self.http)] {
            if !rows.0.is_empty() {
                write!(text, "\n### {title}\n\n{}", table(rows)).expect("writing into a string cannot fail");
            }
        }
        if !self.memory.is_empty() {
            text += &format!(
                "\n### Memory, {} swarms and {} peers\n\n",
                thousands(memory::SWARMS),
                thousands(memory::PEERS)
            );
            text += "| Server | empty | full | above empty |\n| --- | ---: | ---: | ---: |\n";
            for row in &self.memory {
                let (empty, full, growth) = (
                    megabytes(row.empty_bytes as f64),
                    megabytes(row.full_bytes as f64),
                    megabytes(row.growth() as f64),
                );
                text += &format!("| {} | {empty} | {full} | {growth} |\n", row.subject);
            }
        }
        text
    }
}

fn table(rows: &Rows) -> String {
    let mut text =
        "| Server | Replies/s | of aquatic | of bare | Replies per server CPU second | of aquatic | of bare \
                    | Peers per reply | Resident |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            .to_owned();
    for row in &rows.0 {
        let ratios = |figure: fn(&Sample) -> f64| {
            [Subject::Aquatic, Subject::Bare].map(|base| match rows.ratio(row.subject, base, figure) {
                Some(ratio) => format!("{ratio:.2}"),
                None => "–".to_owned(),
            })
        };
        let [of_aquatic, of_bare] = ratios(Sample::per_second);
        let [cpu_of_aquatic, cpu_of_bare] = ratios(Sample::per_cpu_second);
        text += &format!(
            "| {} | {} | {of_aquatic} | {of_bare} | {} | {cpu_of_aquatic} | {cpu_of_bare} | {} | {} |\n",
            row.subject,
            thousands(row.median(Sample::per_second) as u32),
            thousands(row.median(Sample::per_cpu_second) as u32),
            peers(row),
            megabytes(row.median(|sample| sample.resident_bytes as f64)),
        );
    }
    if let Some(ratio) = rows.ratio(Subject::Tidings, Subject::Reference, Sample::per_cpu_second) {
        text += &format!("\nReplies per server CPU second of {}: {ratio:.3} of the reference.\n", Subject::Tidings);
    }
    for row in &rows.0 {
        let errors: f64 = row.samples.iter().map(|sample| sample.errors).sum();
        if errors >= 1.0 {
            text += &format!("\n{} answered with {errors:.0} errors.\n", row.subject);
        }
        let unfilled = row.samples.iter().filter(|sample| !sample.filled).count();
        if unfilled > 0 {
            text += &format!("\n{} did not know every peer yet in {unfilled} rounds.\n", row.subject);
        }
    }
    text
}

fn peers(row: &Row) -> String {
    match row.median(|sample| sample.peers_per_reply) {
        mean if mean > 0.0 => format!("{mean:.1}"),
        _ => "–".to_owned(),
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[length / 2],
        length => (figures[length / 2 - 1] + figures[length / 2]) / 2.0,
    }
}
