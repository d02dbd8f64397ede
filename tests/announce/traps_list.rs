//! `docs/traps.md` names a test for each trap, and those tests exist.

use std::collections::HashSet;
use std::path::Path;

/// The names of all functions in the Rust files below `directory`.
fn functions(directory: &Path, names: &mut HashSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = |line: &str| Some(line.trim().strip_prefix("fn ")?.split('(').next()?.to_owned());
            names.extend(text.lines().filter_map(name));
        }
    }
}

#[test]
fn every_trap_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = HashSet::new();
    ["src", "tests"].iter().for_each(|directory| functions(&root.join(directory), &mut names));
    let list = std::fs::read_to_string(root.join("docs/traps.md")).unwrap();
    let mut numbers = Vec::new();
    let mut listed = HashSet::new();
    for row in list.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
    {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let number: u8 = cells[1].parse().unwrap();
        numbers.push(number);
        let tests: Vec<_> = cells[3].split('`').filter(|text| text.starts_with("trap_")).collect();
        assert!(!tests.is_empty() || cells[3].starts_with("not tested:"), "trap {number} has neither test nor reason");
        for test in tests {
            assert!(test.starts_with(&format!("trap_{number:02}_")), "{test} is not about trap {number}");
            assert!(names.contains(test), "there is no test {test}");
            listed.insert(test.to_owned());
        }
    }
    assert_eq!(numbers, (1..=38).collect::<Vec<_>>());
    let unlisted: Vec<_> = names.iter().filter(|name| name.starts_with("trap_") && !listed.contains(*name)).collect();
    assert!(unlisted.is_empty(), "docs/traps.md does not name {unlisted:?}");
}
