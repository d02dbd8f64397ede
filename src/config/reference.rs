//! The keys and their doc comments in [`Settings`], and the default file that is generated from them.

use std::sync::LazyLock;

use documented::{Documented, DocumentedFields};
use toml::{Table, Value};

use super::settings::{AccessList, Announce, Cluster, Limits, Node, Ops, Settings, Telemetry, Tls};

/// A section of the settings with its doc comments.
pub(super) struct Section {
    pub(super) name: &'static str,
    docs: &'static str,
    pub(super) keys: &'static [&'static str],
    key_docs: &'static [&'static str],
}

impl Section {
    const fn of<T: Documented + DocumentedFields>(name: &'static str) -> Self {
        Self { name, docs: T::DOCS, keys: T::FIELD_NAMES, key_docs: T::FIELD_DOCS }
    }

    /// The keys, each with its doc comment.
    fn documented_keys(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.keys.iter().copied().zip(self.key_docs.iter().copied())
    }
}

/// Every section, in the order of [`Settings`].
pub(super) static SECTIONS: [Section; 8] = [
    Section::of::<Node>("node"),
    Section::of::<Announce>("announce"),
    Section::of::<Tls>("tls"),
    Section::of::<Ops>("ops"),
    Section::of::<Limits>("limits"),
    Section::of::<AccessList>("access_list"),
    Section::of::<Cluster>("cluster"),
    Section::of::<Telemetry>("telemetry"),
];

/// Every key with its default value.
pub(super) static DEFAULTS: LazyLock<Table> =
    LazyLock::new(|| Table::try_from(Settings::default()).expect("the default settings have a TOML form"));

/// The default of a key that exists.
pub(super) fn default_of(section: &str, key: &str) -> &'static Value {
    &DEFAULTS[section][key]
}

/// A valid value of the key, as TOML: the example of its doc comment, or else its default.
pub(super) fn example_of(section: &str, key: &str) -> String {
    let docs = SECTIONS
        .iter()
        .filter(|candidate| candidate.name == section)
        .flat_map(Section::documented_keys)
        .find_map(|(name, docs)| (name == key).then_some(docs));
    match docs.and_then(|docs| docs.rsplit_once(EXAMPLE)) {
        Some((_, example)) => example.trim().trim_matches('`').into(),
        None => default_of(section, key).to_string(),
    }
}

/// The marker of the example in a doc comment.
const EXAMPLE: &str = "Example:";

/// The default settings as a TOML file with a comment for every key. An optional key without a value is commented out.
pub fn default_file() -> String {
    let mut file = String::from(
        "# The settings of Tidings with their defaults. Keys that are left out keep their default.\n\
         # `--set section.key=value` and the variable TIDINGS_SECTION__KEY override this file;\n\
         # \"off\" unsets an optional key.\n",
    );
    for section in &SECTIONS {
        file.push('\n');
        comment(&mut file, section.docs);
        file.push_str(&format!("[{}]\n", section.name));
        for (key, docs) in section.documented_keys() {
            let default = default_of(section.name, key);
            let optional = is_unset(section.name, key);
            let (text, _) = docs.split_once(EXAMPLE).filter(|_| optional).unwrap_or((docs, ""));
            file.push('\n');
            comment(&mut file, text);
            if optional {
                file.push_str(&format!("#{key} = {}\n", example_of(section.name, key)));
            } else {
                file.push_str(&format!("{key} = {default}\n"));
            }
        }
    }
    file
}

/// Whether the key is optional and has no value by default. (`access_list.mode` is "off" too, but that is a value.)
fn is_unset(section: &str, key: &str) -> bool {
    default_of(section, key).as_str() == Some("off") && (section, key) != ("access_list", "mode")
}

/// Appends a doc comment as comment lines.
fn comment(file: &mut String, docs: &str) {
    for line in docs.trim().lines().filter(|line| !line.is_empty()) {
        file.push_str(&format!("# {}\n", line.replace('`', "")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_are_those_of_the_settings() {
        let mut listed: Vec<_> = SECTIONS.iter().flat_map(|s| s.keys.iter().map(|key| (s.name, *key))).collect();
        listed.sort_unstable();
        let known: Vec<_> = DEFAULTS
            .iter()
            .flat_map(|(name, keys)| keys.as_table().unwrap().keys().map(|key| (name.as_str(), key.as_str())))
            .collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_printed_file_parses_to_the_default() {
        assert_eq!(toml::from_str::<Settings>(&default_file()).unwrap(), Settings::default());
    }

    #[test]
    fn every_key_is_printed_below_a_comment() {
        let file = default_file();
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            let lines: Vec<_> = file.lines().collect();
            let at = lines
                .iter()
                .position(|line| line.trim_start_matches('#').starts_with(&format!("{key} = ")))
                .unwrap_or_else(|| panic!("{key} is not printed"));
            assert!(lines[at - 1].starts_with("# "), "{key} has no comment");
        }
    }

    #[test]
    fn the_printed_file_is_valid_with_its_optional_keys_too() {
        let commented_in: String = default_file()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let settings: Settings = toml::from_str(&commented_in).unwrap();
        assert_eq!(settings.validate(), Ok(()));
        assert!(settings.node.data_dir.is_some() && settings.cluster.gossip.is_some());
        assert!(
            !Table::try_from(settings).unwrap()["tls"].as_table().unwrap().values().any(|v| v.as_str() == Some("off"))
        );
    }

    #[test]
    fn every_example_is_a_value_of_its_key() {
        for section in &SECTIONS {
            for key in section.keys {
                let file = format!("[{}]\n{key} = {}", section.name, example_of(section.name, key));
                if let Err(error) = toml::from_str::<Settings>(&file) {
                    panic!("{file}: {error}");
                }
            }
        }
    }
}
