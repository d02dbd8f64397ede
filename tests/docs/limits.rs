//! `docs/limits.md` against the constants and the defaults of the settings.

use std::path::{Path, PathBuf};

use serde_json::Value;
use syn::{BinOp, Expr, File, Item, Lit, Member};
use tidings::config::Settings;

use crate::modules::file_of;
use crate::{code, files, read, root, table};

/// Counts and bytes as they are, times in milliseconds.
type Number = f64;

#[test]
fn limits_are_those_of_the_code() {
    let settings = serde_json::to_value(Settings::default()).unwrap();

    let rows = table("docs/limits.md", "## Bounds");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in rows.iter().skip(1).filter(|row| !row[1].is_empty()) {
        assert_eq!(row.len(), 4, "{row:?} has other columns than the table");
        let stated = numbers(&row[1]);
        let sources = code(&row[2]);
        if sources.is_empty() {
            wrong.push(format!("{}: names no constant and no setting", row[0]));
        }
        for (at, source) in sources.into_iter().enumerate() {
            let actual = actual(&settings, source);
            // The bounds of a row are in the order of their sources.
            if actual != stated.get(at).copied() {
                wrong.push(format!("{}: {source} is {actual:?}, the page says {:?}", row[0], stated.get(at)));
            }
            checked += 1;
        }
    }

    assert!(wrong.is_empty(), "docs/limits.md is wrong:\n{}", wrong.join("\n"));
    assert!(checked > 40, "only {checked} bounds were found");
}

#[test]
fn no_bound_is_there_twice() {
    let rows = table("docs/limits.md", "## Bounds");
    let mut sources: Vec<&str> = rows.iter().skip(1).flat_map(|row| code(&row[2])).collect();
    sources.sort_unstable();
    let twice: Vec<_> = sources.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "docs/limits.md has {twice:?} more than once");
}

/// Of `section.key` the default; of `a::b::CONST` the constant in that module or, if it has none, below it; of `a::b::Type.field` what `Default` gives the field.
fn actual(settings: &Value, source: &str) -> Option<Number> {
    let Some((module, name)) = source.rsplit_once("::") else {
        let (section, key) = source.split_once('.')?;
        let value = settings.get(section)?.get(key)?.as_f64()?;
        let unit = if SECONDS.contains(&source) { 1000.0 } else { 1.0 };
        return Some(value * unit);
    };
    let path: Vec<String> = module.split("::").map(str::to_owned).collect();
    let value = |file: &Path| {
        let file = parse(file);
        match name.split_once('.') {
            Some((_, field)) => default_of(&file, field),
            None => constant(&file, name),
        }
    };

    let own = root().join("src").join(file_of(&path));
    if let Some(found) = own.exists().then(|| value(&own)).flatten() {
        return Some(found);
    }
    let below = root().join("src").join(path.iter().collect::<PathBuf>());
    let sources = files(&below, "rs").into_iter().filter(|file| read(file).contains(name));
    let found: Vec<Number> = sources.filter_map(|file| value(&file)).collect();
    // A name that a folder has twice says nothing.
    (found.len() == 1).then(|| found[0])
}

/// Settings in seconds; other times are in milliseconds, and what is no time has no unit.
const SECONDS: [&str; 2] = ["limits.http_idle", "cluster.leave_timeout"];

fn parse(file: &Path) -> File {
    syn::parse_file(&read(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A constant of a file, or of an `impl` in it.
fn constant(file: &File, name: &str) -> Option<Number> {
    let expression = file.items.iter().find_map(|item| match item {
        Item::Const(item) if item.ident == name => Some(&*item.expr),
        Item::Impl(item) => item.items.iter().find_map(|item| match item {
            syn::ImplItem::Const(item) if item.ident == name => Some(&item.expr),
            _ => None,
        }),
        _ => None,
    });
    evaluate(file, expression?)
}

/// What the `Default` of a file gives a field.
fn default_of(file: &File, name: &str) -> Option<Number> {
    let defaults = file.items.iter().filter_map(|item| match item {
        Item::Impl(item) if item.trait_.as_ref().is_some_and(|(_, path, _)| path.is_ident("Default")) => Some(item),
        _ => None,
    });
    let functions = defaults.flat_map(|item| &item.items).filter_map(|item| match item {
        syn::ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    functions.flat_map(|function| &function.block.stmts).find_map(|statement| {
        let syn::Stmt::Expr(Expr::Struct(literal), _) = statement else { return None };
        let field = literal.fields.iter().find(|field| matches!(&field.member, Member::Named(own) if own == name))?;
        evaluate(file, &field.expr)
    })
}

fn evaluate(file: &File, expression: &Expr) -> Option<Number> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            Lit::Float(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Paren(inner) => evaluate(file, &inner.expr),
        Expr::Tuple(tuple) => evaluate(file, tuple.elems.last()?),
        Expr::Path(path) => constant(file, &path.path.get_ident()?.to_string()),
        Expr::Binary(binary) => {
            let (left, right) = (evaluate(file, &binary.left)?, evaluate(file, &binary.right)?);
            match binary.op {
                BinOp::Add(_) => Some(left + right),
                BinOp::Sub(_) => Some(left - right),
                BinOp::Mul(_) => Some(left * right),
                BinOp::Shl(_) => Some(left * right.exp2()),
                _ => None,
            }
        }
        Expr::Call(call) => {
            let Expr::Path(function) = &*call.func else { return None };
            let unit = match function.path.segments.last()?.ident.to_string().as_str() {
                "from_secs" => 1000.0,
                "from_millis" => 1.0,
                _ => return None,
            };
            Some(evaluate(file, call.args.first()?)? * unit)
        }
        _ => None,
    }
}

/// The numbers in a text with their units: `16,384`, `8 MiB`, `250 ms`, `5 s`, `10 min`.
fn numbers(text: &str) -> Vec<Number> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ';').filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Ok(number) = word.trim_end_matches(',').replace(',', "").parse::<Number>() else { continue };
        let unit = match words.get(at + 1).map_or("", |unit| unit.trim_end_matches([',', '.'])) {
            "KiB" => 1024.0,
            "MiB" => f64::from(1 << 20),
            "s" => 1000.0,
            "min" => 60_000.0,
            _ => 1.0,
        };
        found.push(number * unit);
    }
    found
}
