//! What a misspelt name was probably meant to be.

use super::reference::SECTIONS;

/// How alike two names have to be, of 1.0, for one to be suggested for the other.
const ALIKE: f64 = 0.75;

/// A hint for an unknown section. The name of a key is told its section.
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
        return ": it looks like a service link of Kubernetes, to be switched off by enableServiceLinks: false".into();
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

/// The candidate that is most like the name, if any is alike enough.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The comparison takes the product of both lengths: a name of that size is no slip of the pen.
    if name.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
