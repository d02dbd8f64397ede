//! Applies the layers in order and checks the result.

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
/// The first error of any layer, even if a higher layer overrides the value, or settings that contradict each other.
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

/// Applies the assignments to the defaults, in order.
fn apply(assignments: &[Assignment]) -> Result<Settings, Error> {
    let mut table = DEFAULTS.clone();
    let mut settings = Settings::default();
    for assignment in assignments {
        settings = assign(&mut table, assignment).map_err(|problem| Error::new(assignment.origin.clone(), problem))?;
    }
    settings.validate().map_err(|invalid| {
        // Among the keys of the rule, the one set by the highest layer is the likely mistake.
        let origin = assignments
            .iter()
            .rev()
            .find(|made| invalid.keys.contains(&format!("{}.{}", made.section, made.key).as_str()))
            .map_or(Origin::Default, |made| made.origin.clone());
        Error::new(origin, invalid)
    })?;
    Ok(settings)
}

/// Applies one assignment. Each one is checked on its own, so that an error is known to be its.
fn assign(table: &mut Table, assignment: &Assignment) -> Result<Settings, Problem> {
    let Assignment { section, key, value, .. } = assignment;
    let name = format!("{section}.{key}");
    let default = default_of(section, key);
    let value = &match value {
        // A share may be written as 1 instead of 1.0.
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

/// The name of a value's type for operators.
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

/// The value as TOML on one line, truncated if long.
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
