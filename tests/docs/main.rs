//! The rules and the documentation against the code: sizes, words, bounds, imports by layer, links.

mod house;
mod imports;
mod limits;
mod links;
mod modules;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of each row of the tables below a heading of a page, up to the next heading.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(&root().join(page));
    let (_, section) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{page} has no {heading:?}"));
    let section = section.split("\n## ").next().unwrap_or(section);

    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    cells.filter(|cells: &Vec<String>| !cells[0].starts_with("---") && !cells[0].is_empty()).collect()
}

/// The parts of a text that stand in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// All files below a directory with an extension.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
