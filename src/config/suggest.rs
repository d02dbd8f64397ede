//! Suggestions for misspelt names.

use super::reference::SECTIONS;

/// How similar two names must be, of 1.0, for one to be suggested for the other.
const SIMILAR: f64 = 0.75;

/// A hint for an unknown section; for the name of a key, the section that it belongs to.
pub(super) fn section(name: &str) -> String {
    if let Some(home) = home_of(name) {
        return format!(": {name} belongs below [{home}]");
    }
    match nearest(name, SECTIONS.iter().map(|section| section.name)) {
        Some(near) => format!(": did you mean [{near}]?"),
        None => format!(": the sections are {}", SECTIONS.each_ref().map(|section| section.name).join(", ")),
    }
}

/// A hint for an unknown key of a known section.
pub(super) fn key(section: &str, name: &str) -> String {
    let keys = SECTIONS.iter().find(|candidate| candidate.name == section).map_or(&[][..], |section| section.keys);
    if let Some(home) = home_of(name) {
        return format!(": did you mean {home}.{name}?");
    }
    match nearest(name, keys.iter().copied()) {
        Some(near) => format!(": did you mean {section}.{near}?"),
        None => format!(": the keys of [{section}] are {}", keys.join(", ")),
    }
}

/// A hint for an unknown environment variable.
pub(super) fn variable(name: &str) -> String {
    if name.starts_with("TIDINGS_SERVICE_") || name.starts_with("TIDINGS_PORT") {
        return ": it looks like a service link of Kubernetes: disable those with enableServiceLinks: false".into();
    }
    let known: Vec<_> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| variable_name(section.name, key))).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!(": did you mean {near}?"),
        None => ": unset it, or name it TIDINGS_SECTION__KEY as in TIDINGS_ANNOUNCE__INTERVAL".into(),
    }
}

/// The environment variable of a key.
pub(super) fn variable_name(section: &str, key: &str) -> String {
    format!("TIDINGS_{}__{}", section.to_uppercase(), key.to_uppercase())
}

/// The section that has a key of this name.
fn home_of(key: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|section| section.keys.contains(&key)).map(|section| section.name)
}

/// The candidate most similar to the name, if any is similar enough.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The comparison takes time proportional to the product of both lengths, and a name of that size is not a typo.
    if name.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
