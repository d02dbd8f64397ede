//! The modules of the crate: which file defines each, and where a path in the code leads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

use crate::{read, root};

/// Re-exports of re-exports that are followed.
const DEPTH: u32 = 16;

/// Names from the root of the crate, as in `["wire", "peer"]`.
pub(crate) type ModulePath = Vec<String>;

/// A name that `use` brings into a module.
pub(crate) struct Use {
    name: String,
    /// What it stands for, as written.
    pub(crate) path: Vec<String>,
    is_public: bool,
}

/// A module without its tests.
#[derive(Default)]
pub(crate) struct Module {
    /// Relative to `src/`.
    pub(crate) file: PathBuf,
    pub(crate) uses: Vec<Use>,
    /// All names in items other than `use`.
    names: BTreeSet<String>,
    /// The paths of `use …::*`.
    globs: Vec<Vec<String>>,
    /// Paths of two names or more that stand in other items.
    pub(crate) paths: Vec<Vec<String>>,
    /// Whether it does more than to declare modules and to re-export.
    has_items: bool,
}

impl Module {
    /// Whether it only passes a name on: it is public, and nothing in the module uses it.
    pub(crate) fn re_exports(&self, used: &Use) -> bool {
        used.is_public && !self.names.contains(&used.name)
    }
}

/// All modules that a build without tests has.
pub(crate) struct Modules(pub(crate) BTreeMap<ModulePath, Module>);

impl Modules {
    pub(crate) fn of_the_crate() -> Self {
        let mut modules = Self(BTreeMap::new());
        modules.add_file(Vec::new(), Path::new("lib.rs"));
        modules
    }

    fn add_file(&mut self, path: ModulePath, file: &Path) {
        let text = read(&root().join("src").join(file));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(path, file, parsed.items);
    }

    fn add(&mut self, path: ModulePath, file: &Path, items: Vec<Item>) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };

        for item in items.into_iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(child) => {
                    let child_path: ModulePath = path.iter().cloned().chain([child.ident.to_string()]).collect();
                    match child.content {
                        Some((_, items)) => self.add(child_path, file, items),
                        None => {
                            let file = file_of(&child_path);
                            self.add_file(child_path, &file);
                        }
                    }
                }
                Item::Use(item) => {
                    let is_public = !matches!(item.vis, Visibility::Inherited);
                    add_uses(&mut module, is_public, Vec::new(), item.tree);
                }
                item => {
                    module.has_items = true;
                    let tokens = item.into_token_stream();
                    add_names(&mut module.names, tokens.clone());
                    add_paths(&mut module.paths, tokens);
                }
            }
        }

        self.0.insert(path, module);
    }

    /// The module that defines what a path in a module leads to; `None` if that is another crate.
    pub(crate) fn resolve(&self, from: &ModulePath, path: &[String]) -> Option<&Module> {
        self.resolve_within(from, path, DEPTH)
    }

    fn resolve_within(&self, from: &ModulePath, path: &[String], depth: u32) -> Option<&Module> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, depth),
            "self" => self.walk(from.clone(), rest, depth),
            "super" => {
                let mut parent = from.clone();
                parent.pop();
                let mut rest = rest;
                while let Some((_, further)) = rest.split_first().filter(|(name, _)| *name == "super") {
                    parent.pop();
                    rest = further;
                }
                self.walk(parent, rest, depth)
            }
            _ => self.step(from, first, rest, depth),
        }
    }

    fn walk(&self, module: ModulePath, path: &[String], depth: u32) -> Option<&Module> {
        match path.split_first() {
            // A module by itself says nothing of what is used of it: the paths that begin with its name do.
            None => None,
            Some((name, rest)) => self.step(&module, name, rest, depth).or_else(|| {
                let module = self.0.get(&module)?;
                let child = name.chars().next().is_some_and(char::is_lowercase) && rest.is_empty() && !module.has_items;
                (!child).then_some(module)
            }),
        }
    }

    /// What a name in a module leads to, if it is a child module or stands for something else.
    fn step(&self, module: &ModulePath, name: &str, rest: &[String], depth: u32) -> Option<&Module> {
        let child: ModulePath = module.iter().cloned().chain([name.to_owned()]).collect();
        if self.0.contains_key(&child) {
            return self.walk(child, rest, depth);
        }

        let own = self.0.get(module)?;
        if let Some(used) = own.uses.iter().find(|used| used.name == name) {
            let path: Vec<String> = used.path.iter().chain(rest).cloned().collect();
            return self.resolve_within(module, &path, depth);
        }

        own.globs.iter().find_map(|glob| {
            let path: Vec<String> = glob.iter().cloned().chain([name.to_owned()]).chain(rest.iter().cloned()).collect();
            self.resolve_within(module, &path, depth)
        })
    }
}

/// `a/b.rs` or `a/b/mod.rs`, whichever exists.
pub(crate) fn file_of(path: &[String]) -> PathBuf {
    let stem: PathBuf = path.iter().collect();
    let file = stem.with_extension("rs");
    if root().join("src").join(&file).exists() { file } else { stem.join("mod.rs") }
}

fn add_uses(module: &mut Module, is_public: bool, mut prefix: Vec<String>, tree: UseTree) {
    let name = match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            return add_uses(module, is_public, prefix, *path.tree);
        }
        UseTree::Group(group) => {
            return group.items.into_iter().for_each(|tree| add_uses(module, is_public, prefix.clone(), tree));
        }
        UseTree::Glob(_) => return module.globs.push(prefix),
        UseTree::Name(name) if name.ident == "self" => prefix.last().cloned().unwrap_or_default(),
        UseTree::Name(name) => {
            prefix.push(name.ident.to_string());
            name.ident.to_string()
        }
        UseTree::Rename(rename) => {
            if rename.ident != "self" {
                prefix.push(rename.ident.to_string());
            }
            rename.rename.to_string()
        }
    };
    module.uses.push(Use { name, path: prefix, is_public });
}

fn add_names(names: &mut BTreeSet<String>, tokens: TokenStream) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(names.insert(ident.to_string())),
            TokenTree::Group(group) => add_names(names, group.stream()),
            _ => {}
        }
    }
}

/// Every `a::b::c`, those in the arguments of macros included.
fn add_paths(paths: &mut Vec<Vec<String>>, tokens: TokenStream) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Ident(ident) => {
                end(paths, &mut path);
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                end(paths, &mut path);
                add_paths(paths, group.stream());
                colons = 0;
            }
            _ => {
                end(paths, &mut path);
                colons = 0;
            }
        }
    }
    end(paths, &mut path);
}

fn end(paths: &mut Vec<Vec<String>>, path: &mut Vec<String>) {
    let path = std::mem::take(path);
    if path.len() > 1 {
        paths.push(path);
    }
}

/// Whether `#[cfg(test)]`, or a `cfg` with `test` in it, keeps an item from other builds.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg") && attribute.meta.to_token_stream().to_string().contains("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
