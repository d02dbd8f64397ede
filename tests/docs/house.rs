//! The rules of CONTRIBUTING.md that can be counted: sizes, and plain words.

use std::path::Path;

use crate::{files, read, root};

/// Lines of a file.
const FILE: usize = 400;
/// Lines of a function in src/ and benches/.
const FUNCTION: usize = 80;
/// Words of a translation that have plain ones, see CONTRIBUTING.md.
const STILTED: [&str; 8] = ["told", "nobody", "whoever", "anew", "abroad", "lest", "mend", "mended"];
/// Places where one of them is right, such as an example of what not to write.
const STILTED_MAX: usize = 20;

fn sources(dirs: &[&str]) -> Vec<(String, String)> {
    let paths = dirs.iter().flat_map(|dir| files(&root().join(dir), "rs"));
    paths.map(|path| (name(&path), read(&path))).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn files_are_short_and_include_no_others() {
    let mut broken = Vec::new();
    for (name, text) in sources(&["src", "tests", "benches"]) {
        let lines = text.lines().count();
        if lines > FILE {
            broken.push(format!("{name}: {lines} lines"));
        }
        if text.lines().any(|line| line.trim_start().starts_with("#[path")) {
            broken.push(format!("{name}: includes another file by its path"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut broken = Vec::new();
    for (name, text) in sources(&["src", "benches"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = code.split(" fn ").count() > 1 || code.starts_with("fn ");
            if !is_function || code.starts_with("//") || code.ends_with(';') {
                continue;
            }
            // Formatted code ends a function with a brace below the first letter of its signature.
            let indent = &line[..line.len() - code.len()];
            let end = lines[at..].iter().position(|line| **line == format!("{indent}}}")).unwrap_or(0);
            if end + 1 > FUNCTION {
                broken.push(format!("{name}:{}: {} lines: {code}", at + 1, end + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn words_are_plain() {
    let mut found = Vec::new();
    let pages = files(&root().join("docs"), "md").into_iter().chain([root().join("README.md")]);
    let pages = pages.map(|path| (name(&path), read(&path)));
    for (name, text) in sources(&["src", "tests", "benches"]).into_iter().chain(pages) {
        for (at, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let stilted = words.filter(|word| STILTED.iter().any(|stilted| word.eq_ignore_ascii_case(stilted)));
            found.extend(stilted.map(|word| format!("{name}:{}: {word}", at + 1)));
        }
    }
    assert!(found.len() < STILTED_MAX, "{} words that have plain ones:\n{}", found.len(), found.join("\n"));
}
