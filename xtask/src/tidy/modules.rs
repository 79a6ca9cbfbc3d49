//! No dead files: every Rust file is the root of a target, or a `mod` leads to it.
//!
//! A file that nothing mentions is not compiled, not linted and not tested, and looks as alive as its neighbours.
//! The walk:
//!
//! 1. start at the target roots that cargo knows;
//! 2. in each file find `mod name;`, with the inline modules that it stands in and the `#[path]` in front of it;
//! 3. what was never reached is dead.
//!
//! `cfg` is ignored: a module of another platform or of a loom build is alive. Programs that must not compile live in a
//! `compile_fail` folder and are read by their test.

use super::Violation;
use super::source::Source;
use super::tree::Tree;
use std::collections::{HashMap, HashSet};

/// Folders whose files are data of a test.
const DATA: &[&str] = &["/compile_fail/"];

/// Checks that every source of the tree is reached.
pub fn check(tree: &Tree, out: &mut Vec<Violation>) {
    let reached = reached(tree);
    for source in &tree.sources {
        let is_data = DATA.iter().any(|folder| source.path.contains(folder));
        if !reached.contains_key(source.path.as_str()) && !is_data {
            let what =
                "no target and no `mod` leads to this file: name it in its parent or remove it";
            out.push(Violation::new(&source.path, 1, "dead-file", what));
        }
    }
}

/// Every file that a target reaches; the value says whether only tests do.
pub fn reached(tree: &Tree) -> HashMap<&str, bool> {
    let by_path: HashMap<&str, &Source> =
        tree.sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let roots: HashSet<&str> =
        tree.crates.iter().flat_map(|krate| &krate.roots).map(String::as_str).collect();
    let mut reached: HashMap<&str, bool> = HashMap::new();
    let mut open: Vec<(&str, bool)> = roots.iter().map(|&root| (root, false)).collect();
    while let Some((path, is_test)) = open.pop() {
        let Some((&path, source)) = by_path.get_key_value(path) else { continue };
        // Seen before, and nothing new: a file that tests reach may be reached by the program too.
        if reached.get(path).is_some_and(|&known| !known || is_test) {
            continue;
        }
        reached.insert(path, is_test);
        for child in children(source, roots.contains(path)) {
            if let Some((&file, _)) = by_path.get_key_value(child.path.as_str()) {
                open.push((file, is_test || child.is_test));
            }
        }
    }
    reached
}

/// A file that a `mod` may mean.
struct Child {
    path: String,
    /// The `mod` stands under `cfg(test)`.
    is_test: bool,
}

/// Every file that a `mod` of this one may mean.
fn children(source: &Source, is_root: bool) -> Vec<Child> {
    let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = name.trim_end_matches(".rs");
    let own_folder =
        if is_root || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut found = Vec::new();
    // The inline modules around the place: name, and where each ends.
    let mut inside: Vec<(&str, usize)> = Vec::new();
    let mut words = source.words().peekable();
    while let Some((offset, word)) = words.next() {
        if word != "mod" {
            continue;
        }
        let Some(&(name_at, name)) = words.peek() else { break };
        inside.retain(|&(_, end)| offset < end);
        let name_end = name_at + name.len();
        let rest = source.code[name_end..].trim_start();
        if rest.starts_with('{') {
            let open = source.code.len() - rest.len();
            inside.push((name, source.closing(open).unwrap_or(source.code.len())));
        } else if rest.starts_with(';') {
            let mut place = own_folder.clone();
            inside.iter().for_each(|(name, _)| place = format!("{place}/{name}"));
            let paths = match path_attribute(source, offset) {
                // Relative to the folder of the file, or of the inline module.
                Some(path) => {
                    let base = if inside.is_empty() { folder } else { &place };
                    vec![normal(&format!("{base}/{path}"))]
                }
                None => vec![format!("{place}/{name}.rs"), format!("{place}/{name}/mod.rs")],
            };
            let is_test = source.is_test_line(source.line_of(offset));
            found.extend(paths.into_iter().map(|path| Child { path, is_test }));
        }
    }
    found
}

/// The value of the `#[path = ".."]` that belongs to the `mod` at `offset`.
fn path_attribute(source: &Source, offset: usize) -> Option<String> {
    let before = source.attributes().into_iter().rev().find(|range| {
        range.end <= offset
            && source.code[range.clone()].starts_with("#[path")
            && !source.code[range.end..offset].contains([';', '}'])
    })?;
    let first = source.line_of(before.start);
    let line = source.line(first);
    let value = line.split_once("path")?.1.split_once('"')?.1;
    Some(value.split_once('"')?.0.to_owned())
}

/// Resolves `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let mut krate = fixture::krate("a", &[]);
        krate.roots = vec!["crates/a/src/lib.rs".to_owned()];
        let sources = files.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        let mut out = Vec::new();
        check(&Tree { crates: vec![krate], sources, texts: Vec::new() }, &mut out);
        out.into_iter().map(|violation| violation.path).collect()
    }

    #[test]
    fn modules_are_followed_through_files_and_folders() {
        let files = [
            ("crates/a/src/lib.rs", "pub mod b;\n#[cfg(loom)] mod c;\n"),
            ("crates/a/src/b.rs", "mod d;\n"),
            ("crates/a/src/b/d.rs", ""),
            ("crates/a/src/c/mod.rs", "mod e;\n"),
            ("crates/a/src/c/e.rs", ""),
        ];
        assert!(dead(&files).is_empty());
    }

    #[test]
    fn inline_modules_and_path_attributes_are_followed() {
        let root = "mod a { mod b; }\nmod c;\n#[path = \"x/../d_std.rs\"]\n#[cfg(x)]\nmod d;\n";
        let files = [
            ("crates/a/src/lib.rs", root),
            ("crates/a/src/a/b.rs", ""),
            ("crates/a/src/c.rs", ""),
            ("crates/a/src/d_std.rs", ""),
            ("crates/a/src/d.rs", ""),
        ];
        assert_eq!(dead(&files), ["crates/a/src/d.rs"]);
    }

    #[test]
    fn a_file_is_a_test_when_only_tests_lead_to_it() {
        let root = "mod a;\n#[cfg(all(test, loom))]\nmod b;\n#[cfg(test)]\n#[path = \"a.rs\"]\nmod again;\n";
        let mut tree = fixture::file("crates/a/src/lib.rs", root);
        tree.crates[0].roots = vec!["crates/a/src/lib.rs".to_owned()];
        for (path, text) in [("a.rs", ""), ("b.rs", "mod c;"), ("b/c.rs", "")] {
            tree.sources.push(Source::new(format!("crates/a/src/{path}"), text));
        }
        let mut tests: Vec<&str> =
            reached(&tree).into_iter().filter_map(|(path, test)| test.then_some(path)).collect();
        tests.sort_unstable();
        assert_eq!(tests, ["crates/a/src/b.rs", "crates/a/src/b/c.rs"]);
    }

    #[test]
    fn a_file_that_only_a_comment_names_is_dead() {
        let files = [
            ("crates/a/src/lib.rs", "// mod b;\nconst S: &str = \"mod b;\";\n"),
            ("crates/a/src/b.rs", "mod c;\n"),
            ("crates/a/src/b/c.rs", ""),
            ("crates/a/tests/compile_fail/x.rs", ""),
        ];
        assert_eq!(dead(&files), ["crates/a/src/b.rs", "crates/a/src/b/c.rs"]);
    }
}
