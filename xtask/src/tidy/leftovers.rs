//! What was meant to go before the commit, and did not.
//!
//! - in code: the macros for unfinished work and for debugging; printing from a library crate, which belongs to the
//!   program and not to the library (the listed files speak to the operator on purpose); `#[ignore]` and
//!   `#[allow(..)]` that give no reason;
//! - in comments: the markers for work that is still to do. An open question is an issue, where someone will find it;
//! - anywhere, texts and scripts included: paths of one developer's machine.
//!
//! The words themselves are assembled with `concat!` below where the rule would otherwise find them in this file.

use super::Violation;
use super::exceptions::{Exceptions, settle};
use super::source::{Source, words};
use super::tree::Tree;

const RULE: &str = "leftovers";

/// Macros of unfinished work and of debugging, anywhere.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Macros that print.
const PRINTS: &[&str] = &["print", "println", "eprint", "eprintln"];

/// Crates that are programs, where printing is the purpose, by the beginning of their names.
const PROGRAMS: &[&str] = &["bench-", "millpond-cli", "xtask"];

/// Words that mark a comment as a promise.
const MARKERS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Use", "rs/"),
    concat!("/tmp/tar", "get"),
    concat!("/tmp/bri", "ef"),
];

/// Checks every source and every other text of the tree.
pub fn check(tree: &Tree, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    let mut prints = Vec::new();
    for source in &tree.sources {
        check_macros(source, out);
        check_markers(source, out);
        check_attributes(source, out);
        check_paths(&source.path, &source.text, out);
        let krate = tree.crate_of(&source.path);
        let in_library = krate.is_some_and(|krate| {
            krate.holds_in_src(&source.path)
                && !PROGRAMS.iter().any(|program| krate.name.starts_with(program))
        });
        if in_library && let Some((line, count)) = printing(source) {
            prints.push((source.path.as_str(), line, count));
        }
    }
    let sizes: Vec<(&str, usize)> = prints.iter().map(|&(path, _, count)| (path, count)).collect();
    for index in settle(&sizes, exceptions.output, RULE, out) {
        let (path, line, count) = prints[index];
        let what = format!(
            "a library prints ({count} times in this file): return it, or list the file in \
             xtask/src/tidy/exceptions.rs with the reason"
        );
        out.push(Violation::new(path, line, RULE, what));
    }
    for (path, text) in &tree.texts {
        check_paths(path, text, out);
    }
}

/// The offsets of calls of one of these macros.
fn calls<'a>(source: &'a Source, names: &'a [&str]) -> impl Iterator<Item = (usize, &'a str)> {
    source.words().filter(move |&(offset, word)| {
        names.contains(&word) && source.code[offset + word.len()..].starts_with('!')
    })
}

fn check_macros(source: &Source, out: &mut Vec<Violation>) {
    for (offset, name) in calls(source, MACROS) {
        let what = format!("`{name}!` is left over: finish the work or remove it");
        out.push(Violation::new(&source.path, source.line_of(offset), RULE, what));
    }
}

/// Where a file prints outside its tests: the first line, and how often.
fn printing(source: &Source) -> Option<(usize, usize)> {
    let lines: Vec<usize> = calls(source, PRINTS)
        .map(|(offset, _)| source.line_of(offset))
        .filter(|&line| !source.is_test_line(line))
        .collect();
    lines.first().map(|&line| (line, lines.len()))
}

fn check_markers(source: &Source, out: &mut Vec<Violation>) {
    for (index, comment) in source.comments.lines().enumerate() {
        if let Some((_, marker)) = words(comment).find(|(_, word)| MARKERS.contains(word)) {
            let what =
                format!("the comment says {marker}: do it, or open an issue and say why not");
            out.push(Violation::new(&source.path, index + 1, RULE, what));
        }
    }
}

/// `#[ignore]` and `#[allow(..)]` say why.
fn check_attributes(source: &Source, out: &mut Vec<Violation>) {
    for range in source.attributes() {
        let attribute = &source.code[range.clone()];
        let line = source.line_of(range.start);
        let mut parts = words(attribute).map(|(_, word)| word);
        let first = parts.next();
        let what = match first {
            Some("ignore") if !attribute.contains('=') => {
                "a test is ignored without a reason: `#[ignore = \"..\"]`"
            }
            Some("allow" | "expect") if !parts.any(|word| word == "reason") => {
                "a lint is silenced without a reason: add `reason = \"..\"`"
            }
            _ => continue,
        };
        out.push(Violation::new(&source.path, line, RULE, what));
    }
}

fn check_paths(path: &str, text: &str, out: &mut Vec<Violation>) {
    for (index, line) in text.lines().enumerate() {
        if let Some(found) = MACHINE_PATHS.iter().find(|machine| starts_path(line, machine)) {
            let what = format!("{found} exists on one machine only: name the place by its role");
            out.push(Violation::new(path, index + 1, RULE, what));
        }
    }
}

/// Does an absolute path in this line begin with `machine`? `https://host/x/` is none.
fn starts_path(line: &str, machine: &str) -> bool {
    line.match_indices(machine).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/$}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::exceptions::Allowed;
    use crate::tidy::fixture::{self, NONE};

    fn run(tree: &Tree, exceptions: &Exceptions) -> Vec<String> {
        let mut out = Vec::new();
        check(tree, exceptions, &mut out);
        out.iter().map(Violation::to_string).collect()
    }

    fn lines(text: &str) -> Vec<String> {
        let found = run(&fixture::file("crates/a/src/x.rs", text), &NONE);
        found.iter().map(|v| v.split(':').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn macros_of_unfinished_work_are_found_in_code_only() {
        assert_eq!(
            lines("fn a() {\n todo!()\n}\nfn b() { dbg!(1); unimplemented!(\"x\") }\n"),
            ["2", "4", "4"]
        );
        assert!(lines("// todo!()\nlet s = \"dbg!\"; let todo = 1; if a != todo {}\n").is_empty());
    }

    #[test]
    fn markers_are_found_in_comments_only() {
        for marker in MARKERS {
            assert_eq!(lines(&format!("\n/* a {marker}: b */\nlet s = \"{marker}\";\n")), ["2"]);
            assert!(lines(&format!("// {}\n", marker.to_lowercase())).is_empty());
        }
    }

    #[test]
    fn a_library_prints_only_where_that_is_listed() {
        const TWO: Exceptions = Exceptions {
            output: &[Allowed { what: "crates/a/src/x.rs", limit: 2, reason: "the report" }],
            ..NONE
        };
        let text = |n: usize| {
            let prints = "eprintln!(\"x\");\n".repeat(n);
            format!(
                "fn a() {{\n{prints}}}\n#[cfg(test)]\nmod tests {{ fn b() {{ println!(); }} }}\n"
            )
        };
        let found = |n, exceptions| run(&fixture::file("crates/a/src/x.rs", &text(n)), exceptions);
        assert!(found(0, &NONE).is_empty());
        assert!(found(1, &NONE)[0].starts_with("crates/a/src/x.rs:2: leftovers: a library prints"));
        assert!(found(2, &TWO).is_empty());
        assert!(found(3, &TWO)[0].contains("3 times"));
        assert!(found(1, &TWO)[0].contains("lower the limit to 1"));
        let program = Tree {
            crates: vec![fixture::krate("xtask", &[])],
            sources: vec![Source::new("crates/xtask/src/main.rs", text(1))],
            ..Tree::default()
        };
        assert!(run(&program, &NONE).is_empty());
    }

    #[test]
    fn silence_needs_a_reason() {
        assert_eq!(lines("#[ignore]\n#[ignore = \"slow\"]\n"), ["1"]);
        assert_eq!(lines("#[allow(dead_code)]\n#![expect(x)]\n"), ["1", "2"]);
        assert!(lines("#[allow(\n  dead_code,\n  reason = \"x\"\n)]\n#[allowed]\n").is_empty());
    }

    #[test]
    fn machine_paths_are_found_everywhere_but_in_addresses() {
        for machine in MACHINE_PATHS {
            assert_eq!(lines(&format!("let p = \"{machine}x\";\n// see {machine}y\n")), ["1", "2"]);
            assert!(lines(&format!("// https://example.org{machine}x\n")).is_empty());
        }
        let mut tree = Tree::default();
        tree.texts.push(("README.md".to_owned(), format!("\ncd {}x\n", MACHINE_PATHS[0])));
        assert!(run(&tree, &NONE)[0].starts_with("README.md:2: leftovers: "));
    }
}
