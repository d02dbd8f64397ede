//! Errors in the settings and where they are: one sentence for the operator.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::validate::Invalid;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct Error {
    pub origin: Origin,
    /// The error and its likely fix.
    pub problem: Box<Problem>,
}

impl Error {
    pub(super) fn new(origin: Origin, problem: impl Into<Problem>) -> Self {
        Self { origin, problem: Box::new(problem.into()) }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The defaults, which are valid together.
    Default,
    /// The settings file as a whole.
    File(PathBuf),
    /// A line of the settings file, counted from 1.
    Line(PathBuf, usize),
    /// An environment variable, by name.
    Variable(String),
    /// The text of a `--set` flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default settings"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(text) => write!(f, "--set {text}"),
        }
    }
}

/// An error in the settings. The `hint` of a variant is empty or begins with `": "`.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(
        "cannot read the settings file ({0}): check its path and permissions, or leave out --config for the defaults"
    )]
    Unreadable(#[source] io::Error),
    #[error("this is not valid TOML ({0}): `tidings config` prints a file to start from")]
    Syntax(String),
    #[error("there is no section [{name}]{hint}")]
    UnknownSection {
        name: String,
        /// What was probably meant.
        hint: String,
    },
    /// A plain value under the name of a section.
    #[error("{0} is a section: write [{0}] on a line of its own and its keys below")]
    NotASection(&'static str),
    #[error("there is no key {name}{hint}")]
    UnknownKey {
        /// `section.key` as written.
        name: String,
        /// What was probably meant.
        hint: String,
    },
    /// A variable of the environment that begins with `TIDINGS_` and names no key.
    #[error("this environment variable names no setting{hint}")]
    UnknownVariable {
        /// What was probably meant.
        hint: String,
    },
    #[error("write it as --set section.key=value, such as --set announce.interval=1800")]
    NotAnAssignment,
    #[error("{key} takes {expected}, not {found}: write it like {example}")]
    WrongType {
        /// `section.key`.
        key: String,
        expected: &'static str,
        /// The value and its type.
        found: String,
        /// A value of the right type.
        example: String,
    },
    /// A value of the right type that the key does not accept.
    #[error("{key} cannot be {value} ({reason}): write it like {example}")]
    Unusable {
        /// `section.key`.
        key: String,
        value: String,
        reason: String,
        example: String,
    },
    #[error("the value is not valid UTF-8: set it to plain text")]
    NotText,
    /// A value out of range, or values that contradict each other.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}
