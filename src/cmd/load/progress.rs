//! Progress on the terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar over a number of answers, or over a time.
pub struct Bar {
    bar: ProgressBar,
    time: Option<Duration>,
}

impl Bar {
    /// A bar over a number of answers or a time; hidden unless `show`.
    pub fn new(show: bool, name: &'static str, answers: Option<u64>, time: Option<Duration>) -> Self {
        let length = answers.or(time.map(|time| time.as_millis() as u64));
        let bar = match (show, length) {
            (false, _) => ProgressBar::hidden(),
            (true, None) => ProgressBar::new_spinner(),
            (true, Some(length)) => ProgressBar::new(length),
        };
        let template = if length.is_some() { "{prefix} {wide_bar} {msg}" } else { "{prefix} {spinner} {msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style).with_prefix(name), time }
    }

    /// Shows how many requests were answered so far.
    pub fn show(&self, answers: u64) {
        let elapsed = self.bar.elapsed();
        self.bar.set_position(if self.time.is_some() { elapsed.as_millis() as u64 } else { answers });
        let rate = answers as f64 / elapsed.as_secs_f64().max(1e-3);
        self.bar.set_message(format!("{answers} answers, {rate:.0}/s"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
