//! The imports of `src/` against the table of layers in `docs/architecture.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::modules::{Module, Modules, Use};
use crate::{code, table};

/// For each file those that it imports from.
type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

#[test]
fn no_file_imports_from_a_higher_layer() {
    let layers: Vec<String> = table("docs/architecture.md", "## Layers")
        .iter()
        .filter_map(|row| code(&row[0]).first().map(|layer| (*layer).to_owned()))
        .collect();
    assert!(layers.len() > 10, "docs/architecture.md lists {layers:?}");
    let height = |file: &Path| {
        let first = file.components().next().unwrap().as_os_str().to_string_lossy();
        let layer = first.trim_end_matches(".rs");
        layers.iter().position(|known| known == layer).unwrap_or_else(|| panic!("no layer has {}", file.display()))
    };

    let graph = graph(|_, _| true);
    let upwards = edges(&graph).filter(|(from, to)| height(to) > height(from));
    let upwards: Vec<String> = upwards.map(|(from, to)| format!("{} -> {}", from.display(), to.display())).collect();

    assert!(upwards.is_empty(), "imports of a higher layer:\n{}", upwards.join("\n"));
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let graph = graph(|module, used| !module.re_exports(used));
    let reachable: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        graph.keys().map(|file| (file, reachable(&graph, file))).collect();

    let within_circles = edges(&graph).filter(|(from, to)| reachable.get(to).is_some_and(|files| files.contains(from)));
    let listed: Vec<String> =
        within_circles.map(|(from, to)| format!("{} -> {}", from.display(), to.display())).collect();

    assert!(listed.is_empty(), "{} imports that are part of a circle:\n{}", listed.len(), listed.join("\n"));
}

/// Of those `use` declarations that a filter keeps, and of all paths; without `lib.rs`, which is in no layer.
fn graph(counts: impl Fn(&Module, &Use) -> bool) -> Graph {
    let modules = Modules::of_the_crate();
    let mut graph = Graph::new();
    for (path, module) in modules.0.iter().filter(|(path, _)| !path.is_empty()) {
        let imports =
            module.uses.iter().filter(|used| counts(module, used)).map(|used| &used.path).chain(&module.paths);
        let targets = imports.filter_map(|import| modules.resolve(path, import)).map(|target| &target.file);
        let others = targets.filter(|target| **target != module.file && *target != Path::new("lib.rs"));
        graph.entry(module.file.clone()).or_default().extend(others.cloned());
    }
    assert!(edges(&graph).count() > 200, "imports are not found");
    graph
}

fn edges(graph: &Graph) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
    graph.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)))
}

/// All files that a file imports from, at any distance.
fn reachable<'a>(graph: &'a Graph, file: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut found = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        next.extend(graph.get(file).into_iter().flatten().filter(|target| found.insert(*target)));
    }
    found
}
