//! Logs, to standard error.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::trace::TraceExport;
use super::trace::names::TARGET;

/// Environment variable with the level, or with directives like `info,tidings::frontend=debug`.
pub const LEVEL_VARIABLE: &str = "TIDINGS_LOG";
/// Environment variable with the format: `plain` or `json`.
pub const FORMAT_VARIABLE: &str = "TIDINGS_LOG_FORMAT";

/// The log level or format in the environment is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    #[error(
        "{LEVEL_VARIABLE}: {0:?} is no log level: write off, error, warn, info, debug or trace, or directives such as info,tidings::frontend=debug"
    )]
    Level(String),
    #[error("{FORMAT_VARIABLE}: {0:?} is no log format: write plain or json")]
    Format(String),
}

/// Log configuration.
#[derive(Debug)]
pub struct Logs {
    filter: EnvFilter,
    json: bool,
}

impl Logs {
    /// Reads the configuration from the environment; the default is level `info` in plain text.
    ///
    /// # Errors
    /// See [`LogsError`].
    pub fn from_env() -> Result<Self, LogsError> {
        let text = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        Self::new(&text(LEVEL_VARIABLE), &text(FORMAT_VARIABLE))
    }

    /// Takes a level or directives, and a format; an empty string selects the default.
    ///
    /// # Errors
    /// See [`LogsError`].
    pub fn new(level: &str, format: &str) -> Result<Self, LogsError> {
        // A single word that is not a level would be parsed as a module name, which turns all other logs off.
        let is_word = !level.is_empty() && !level.contains(['=', ',']);
        if is_word && level.parse::<LevelFilter>().is_err() {
            return Err(LogsError::Level(level.into()));
        }
        // Info messages of these libraries are for their developers, and their spans would make every line longer.
        let level_of_all = if is_word { level } else { "info" };
        let directives = if level.contains(['=', ',']) {
            level.to_owned()
        } else {
            format!("{level_of_all},chitchat=error,ractor=error,hyper=warn,rustls=warn")
        };
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(directives);
        let json = match format {
            "" | "plain" => false,
            "json" => true,
            _ => return Err(LogsError::Format(format.into())),
        };
        Ok(Self { filter: filter.map_err(|_| LogsError::Level(level.into()))?, json })
    }

    /// Installs this configuration as the global subscriber, with span export if configured. Does nothing if a subscriber
    /// is already installed.
    pub fn install(self, traces: Option<&TraceExport>) {
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        let lines = if self.json { lines.json().boxed() } else { lines.boxed() };
        // Spans made for export would otherwise prefix every line.
        let filter = self.filter.and(FilterFn::new(|metadata| metadata.target() != TARGET));
        let subscriber = registry().with(lines.with_filter(filter)).with(traces.map(|traces| traces.layer()));
        // The only error is that a subscriber is already installed.
        let _ = subscriber.try_init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_levels_directives_and_formats_are_accepted() {
        for level in
            ["", "off", "error", "warn", "info", "DEBUG", "trace", "warn,tidings::frontend=debug", "tidings=info"]
        {
            for format in ["", "plain", "json"] {
                assert!(Logs::new(level, format).is_ok(), "{level:?} {format:?}");
            }
        }
        let filter = Logs::new("", "").unwrap().filter.to_string();
        assert!(filter.contains("chitchat=error") && filter.ends_with("info"), "{filter}");
        assert_eq!(Logs::new("tidings=debug", "").unwrap().filter.to_string(), "tidings=debug");
    }

    #[test]
    fn invalid_levels_and_formats_are_errors() {
        for level in ["inof", "verbose", "tidings=loud", "=,="] {
            assert_eq!(Logs::new(level, "").unwrap_err(), LogsError::Level(level.into()));
        }
        assert_eq!(Logs::new("", "JSONL").unwrap_err(), LogsError::Format("JSONL".into()));
    }
}
