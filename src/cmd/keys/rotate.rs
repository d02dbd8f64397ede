//! Replaces a key that all nodes share, in steps that interrupt nothing.

use std::path::Path;

use super::error::KeysError;
use super::files::replace;
use super::node_dirs::{node_dirs, shared};
use crate::cluster::gossip::keyring::MAX_KEYS;
use crate::cluster::key_dir::{GOSSIP_KEYS, SECRET};

/// The key to rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum What {
    /// The key that encrypts gossip, in gossip.keys
    Gossip,
    /// The key that signs UDP connection ids, in secret; the placement key stays
    #[value(alias = "cookie")]
    ConnectionIds,
}

/// A step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Step {
    /// Append a new key: accepted, not used yet
    Add,
    /// Put the new key first: used, the old one still accepted
    Use,
    /// Remove the old keys
    Drop,
}

/// The start of a comment at the end of a file with more than one key, which names the last step.
const MARK: &str = "# step: ";

/// The keys in a file, as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keys {
    /// The text before the first key: the placement key in a secret.
    prefix: String,
    /// The keys, the one in use first.
    keys: Vec<String>,
    /// The last step, if a rotation is under way.
    last: Option<Step>,
}

/// Does a step, by default the next one, and returns what the operator has to do then.
pub(super) fn rotate(dir: &Path, what: What, step: Option<Step>) -> Result<String, KeysError> {
    let name = what.file();
    let text = shared(dir, name)?;
    let Some(mut keys) = Keys::parse(what, &text) else {
        return Err(KeysError::Usage(format!("{name} in {} was not created by tidings keys", dir.display())));
    };
    let step = keys.check(step).map_err(KeysError::Usage)?;
    keys.apply(step, || hex::encode(rand::random::<[u8; 32]>())[..what.digits()].to_owned());
    let (text, dirs) = (keys.to_text(), node_dirs(dir)?);
    for node in &dirs {
        replace(&node.join(name), &text)?;
    }
    let again = format!("tidings keys rotate {} {}", dir.display(), what.name());
    Ok(format!("{}\n{}\n", step.done(), step.next(name, dirs.len(), &again)))
}

impl What {
    fn file(self) -> &'static str {
        match self {
            Self::Gossip => GOSSIP_KEYS,
            Self::ConnectionIds => SECRET,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::ConnectionIds => "connection-ids",
        }
    }

    /// Hexadecimal digits of a key.
    fn digits(self) -> usize {
        match self {
            Self::Gossip => 64,
            Self::ConnectionIds => 32,
        }
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Use => "use",
            Self::Drop => "drop",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Add => "Step 1 of 3, add: a new key is accepted, but not used yet.",
            Self::Use => "Step 2 of 3, use: the new key is used, and the old one still accepted.",
            Self::Drop => "Step 3 of 3, drop: the old key is gone.",
        }
    }

    fn next(self, name: &str, nodes: usize, again: &str) -> String {
        let copy = format!("Now copy {name} to each of the {nodes} nodes and send it SIGHUP");
        match self {
            Self::Add => format!("{copy}. When all have it, run again: {again}"),
            Self::Use => format!("{copy}. When all have had it for three minutes, run again: {again}"),
            Self::Drop => format!("{copy}. Then the rotation is complete."),
        }
    }
}

impl Keys {
    fn parse(what: What, text: &str) -> Option<Self> {
        let last = text.lines().find_map(|line| line.strip_prefix(MARK)).and_then(|step| match step.trim() {
            "add" => Some(Step::Add),
            "use" => Some(Step::Use),
            _ => None,
        });
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut keys: Vec<String> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let first = keys.first_mut()?;
        let prefix = match what {
            What::Gossip => String::new(),
            What::ConnectionIds if first.is_char_boundary(32) => {
                let key = first.split_off(32);
                std::mem::replace(first, key)
            }
            What::ConnectionIds => return None,
        };
        let is_key = |key: &String| key.len() == what.digits() && key.bytes().all(|digit| digit.is_ascii_hexdigit());
        let last = last.filter(|_| keys.len() > 1);
        keys.iter().all(is_key).then_some(Self { prefix, keys, last })
    }

    fn to_text(&self) -> String {
        let lines: String = self.keys.iter().map(|key| format!("{key}\n")).collect();
        let mark = self.last.map(|step| format!("{MARK}{}\n", step.name())).unwrap_or_default();
        format!("{}{lines}{mark}", self.prefix)
    }

    /// The step to do: the given one, if it is its turn, or the next one.
    fn check(&self, wanted: Option<Step>) -> Result<Step, String> {
        let due = match (self.keys.len(), self.last) {
            (0 | 1, _) => Step::Add,
            (_, Some(Step::Add)) => Step::Use,
            (_, Some(_)) => Step::Drop,
            // Keys that were written by hand have no mark, so the operator must name the step.
            (_, None) => match wanted {
                Some(Step::Add) if self.keys.len() >= MAX_KEYS => {
                    return Err(format!("there are already {MAX_KEYS} keys: remove old ones with --step drop"));
                }
                Some(step) => return Ok(step),
                None => {
                    return Err(
                        "there are several keys, and the file does not say which step is next: name it with --step"
                            .into(),
                    );
                }
            },
        };
        match wanted {
            Some(step) if step != due => {
                Err(format!("--step {} is not next: the next step is {}", step.name(), due.name()))
            }
            _ => Ok(due),
        }
    }

    fn apply(&mut self, step: Step, new_key: impl FnOnce() -> String) {
        match step {
            Step::Add => self.keys.push(new_key()),
            Step::Use => self.keys.rotate_right(1),
            Step::Drop => self.keys.truncate(1),
        }
        self.last = (step != Step::Drop).then_some(step);
    }
}
