//! Puts the layers upon each other and checks the result.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::{Error, Origin, Problem};
use super::layers::{self, Assignment};
use super::reference::{DEFAULTS, default_of, example_of};
use super::settings::Settings;
use super::validate;

/// Loads the settings: `flags` (each `section.key=value`) over the `environment` (`TIDINGS_SECTION__KEY`) over the `file`
/// (TOML) over the default.
///
/// # Errors
/// The first fault of any layer, even one that a higher layer covers, and settings that do not fit together.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[String],
) -> Result<Settings, Error> {
    let mut assignments = file.map_or_else(|| Ok(Vec::new()), layers::file)?;
    assignments.extend(layers::environment(environment)?);
    assignments.extend(layers::flags(flags)?);
    apply(&assignments)
}

/// The default with the assignments made in their order.
fn apply(assignments: &[Assignment]) -> Result<Settings, Error> {
    let mut table = DEFAULTS.clone();
    let mut settings = Settings::default();
    for assignment in assignments {
        settings = assign(&mut table, assignment).map_err(|problem| Error::new(assignment.origin.clone(), problem))?;
    }
    settings.validate().map_err(|invalid| {
        // The topmost layer's say among the keys in question is the likely slip.
        let origin = assignments
            .iter()
            .rev()
            .find(|made| invalid.keys.contains(&format!("{}.{}", made.section, made.key).as_str()))
            .map_or(Origin::Default, |made| made.origin.clone());
        Error::new(origin, invalid)
    })?;
    Ok(settings)
}

/// Makes one assignment. Every one is tried on its own, so that a fault is known to be its.
fn assign(table: &mut Table, assignment: &Assignment) -> Result<Settings, Problem> {
    let Assignment { section, key, value, .. } = assignment;
    let name = format!("{section}.{key}");
    let default = default_of(section, key);
    let value = &match value {
        // Who writes 1 for a share means all of it.
        Value::Integer(number) if default.is_float() => Value::Float(*number as f64),
        other => other.clone(),
    };
    if !value.same_type(default) {
        return Err(Problem::WrongType {
            key: name,
            expected: kind(default),
            found: format!("{} {}", kind(value), brief(value)),
            example: example_of(section, key),
        });
    }
    if let Value::Integer(number) = value {
        validate::check_range(&name, *number)?;
    }
    table[*section][*key] = value.clone();
    Settings::deserialize(table.clone()).map_err(|error| Problem::Unusable {
        key: name,
        value: brief(value),
        reason: error.message().replace('\n', ", "),
        example: example_of(section, key),
    })
}

/// The type of a value in the words of an operator.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a boolean (true or false)",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The value as TOML on one line, cut short if long.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
