//! The layers above the defaults, each parsed into assignments of one key.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::error::{Error, Origin, Problem};
use super::reference::{SECTIONS, Section, default_of, example_of};
use super::suggest;

/// A key that a layer sets to a value.
pub(super) struct Assignment {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Variables that share the prefix of the settings and are read elsewhere.
const OTHER_VARIABLES: [&str; 2] = ["TIDINGS_LOG", "TIDINGS_LOG_FORMAT"];

/// The assignments of a settings file, from top to bottom.
pub(super) fn file(path: &Path) -> Result<Vec<Assignment>, Error> {
    let text =
        fs::read_to_string(path).map_err(|error| Error::new(Origin::File(path.into()), Problem::Unreadable(error)))?;
    parse_file(path, &text)
}

/// The assignments in a settings file's text.
pub(super) fn parse_file(path: &Path, text: &str) -> Result<Vec<Assignment>, Error> {
    let at = |offset: usize| {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        Origin::Line(path.into(), 1 + before.iter().filter(|byte| **byte == b'\n').count())
    };
    let document = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Error::new(at(start), Problem::Syntax(error.message().replace('\n', ", ")))
    })?;
    let mut assignments = Vec::new();
    for (name, content) in by_line(document.into_inner()) {
        let fail = |problem| Error::new(at(name.span().start), problem);
        let section = find_section(name.get_ref()).map_err(fail)?;
        let DeValue::Table(content) = content.into_inner() else {
            return Err(fail(Problem::NotASection(section.name)));
        };
        for (key, value) in by_line(content) {
            let origin = at(key.span().start);
            let fail = |problem| Error::new(origin.clone(), problem);
            let key = find_key(section, key.get_ref()).map_err(fail)?;
            let written = text[value.span()].to_string();
            // The only valid TOML that is rejected here is a number of more than 64 bits.
            let value = Value::deserialize(ValueDeserializer::from(value)).map_err(|_| {
                fail(Problem::Unusable {
                    key: format!("{}.{key}", section.name),
                    value: written,
                    reason: "the number is too large".into(),
                    example: example_of(section.name, key),
                })
            })?;
            assignments.push(Assignment { section: section.name, key, value, origin });
        }
    }
    Ok(assignments)
}

/// The entries of a table in the order of the file, so that the first error is reported first.
fn by_line<'i>(table: DeTable<'i>) -> Vec<(Spanned<toml::de::DeString<'i>>, Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The assignments of the environment: every variable named `TIDINGS_SECTION__KEY`.
pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<Assignment>, Error> {
    let mut assignments = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if !name.starts_with("TIDINGS_") || OTHER_VARIABLES.contains(&&*name) {
            continue;
        }
        let origin = Origin::Variable(name.to_string());
        let Some((section, key)) = find_variable(&name) else {
            return Err(Error::new(origin, Problem::UnknownVariable { hint: suggest::variable(&name) }));
        };
        let Some(text) = value.to_str() else {
            return Err(Error::new(origin, Problem::NotText));
        };
        assignments.push(Assignment { section, key, value: parse_value(section, key, text), origin });
    }
    Ok(assignments)
}

/// The assignments of the `--set section.key=value` flags.
pub(super) fn flags(flags: &[String]) -> Result<Vec<Assignment>, Error> {
    flags
        .iter()
        .map(|flag| parse_flag(flag).map_err(|problem| Error::new(Origin::Flag(flag.clone()), problem)))
        .collect()
}

fn parse_flag(flag: &str) -> Result<Assignment, Problem> {
    let (name, text) = flag.split_once('=').ok_or(Problem::NotAnAssignment)?;
    let (section, key) = name.trim().split_once('.').ok_or(Problem::NotAnAssignment)?;
    let section = find_section(section)?;
    let key = find_key(section, key)?;
    let value = parse_value(section.name, key, text.trim());
    Ok(Assignment { section: section.name, key, value, origin: Origin::Flag(flag.into()) })
}

/// A value given outside a file: TOML, or plain text where a string is expected (so `node.id=7` needs no quotes).
fn parse_value(section: &str, key: &str, text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(value) if value.is_str() || !default_of(section, key).is_str() => value,
        _ => Value::String(text.into()),
    }
}

fn find_section(name: &str) -> Result<&'static Section, Problem> {
    SECTIONS
        .iter()
        .find(|section| section.name == name)
        .ok_or_else(|| Problem::UnknownSection { name: name.into(), hint: suggest::section(name) })
}

fn find_key(section: &Section, name: &str) -> Result<&'static str, Problem> {
    section.keys.iter().find(|key| **key == name).copied().ok_or_else(|| Problem::UnknownKey {
        name: format!("{}.{name}", section.name),
        hint: suggest::key(section.name, name),
    })
}

fn find_variable(name: &str) -> Option<(&'static str, &'static str)> {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.name, *key)))
        .find(|(section, key)| suggest::variable_name(section, key) == name)
}
