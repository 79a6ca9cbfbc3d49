//! Unsafe code lives in few files, and each of them is listed with what it does that safe code cannot.
//!
//! - a file under `src` with unsafe code outside of its tests must be in the list; a listed file that has none any more
//!   must leave it;
//! - a crate without any says `#![forbid(unsafe_code)]` at its root, so that the compiler keeps what the list promises,
//!   through macros too.
//!
//! Tests, examples and benchmarks are free: nobody builds on them, and clippy asks for a `// SAFETY:` there as well.

use super::Violation;
use super::exceptions::{Exceptions, LISTS};
use super::modules;
use super::source::{Source, words};
use super::tree::{Crate, Tree};

const RULE: &str = "unsafe";

/// Checks the files and the roots of every crate.
pub fn check(tree: &Tree, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    let listed = |path: &str| exceptions.unsafe_files.iter().any(|entry| entry.path == path);
    let reached = modules::reached(tree);
    let mut in_code = Vec::new();
    let mut anywhere = Vec::new();
    for source in &tree.sources {
        let path = source.path.as_str();
        if !tree.crate_of(path).is_some_and(|krate| krate.holds_in_src(path)) {
            continue;
        }
        let lines = unsafe_lines(source);
        if !lines.is_empty() {
            anywhere.push(path);
        }
        let is_test_file = reached.get(path) == Some(&true);
        let Some(line) = lines.into_iter().find(|&line| !source.is_test_line(line)) else {
            continue;
        };
        if is_test_file {
            continue;
        }
        in_code.push(path);
        if !listed(path) {
            let what =
                format!("unsafe code outside the listed files: move it, or list it in {LISTS}");
            out.push(Violation::new(path, line, RULE, what));
        }
    }
    for entry in exceptions.unsafe_files {
        if !in_code.contains(&entry.path) {
            let what = format!("{} has no unsafe code: remove the entry", entry.path);
            out.push(Violation::new(LISTS, 1, RULE, what));
        }
    }
    for krate in &tree.crates {
        if !anywhere.iter().any(|path| krate.holds(path)) {
            check_root(tree, krate, out);
        }
    }
}

/// The lines with an unsafe block, function, trait, implementation or attribute. The bare word, as a macro that parses
/// Rust has it, is none.
fn unsafe_lines(source: &Source) -> Vec<usize> {
    let starts = |text: &str| {
        let text = text.trim_start();
        let follows = |(at, word): (usize, &str)| {
            at == 0 && ["fn", "impl", "trait", "extern"].contains(&word)
        };
        text.starts_with(['{', '(']) || words(text).next().is_some_and(follows)
    };
    let all = source.words();
    all.filter(|&(at, word)| word == "unsafe" && starts(&source.code[at + word.len()..]))
        .map(|(at, _)| source.line_of(at))
        .collect()
}

/// The library root, or else the program root, forbids unsafe code.
fn check_root(tree: &Tree, krate: &Crate, out: &mut Vec<Violation>) {
    let root = |name: &str| {
        let path = format!("{}/src/{name}", krate.folder);
        tree.sources.iter().find(|source| source.path == path)
    };
    let Some(source) = root("lib.rs").or_else(|| root("main.rs")) else { return };
    if !forbids(source) {
        let what = "a crate without unsafe code says so at its root: add `#![forbid(unsafe_code)]`";
        out.push(Violation::new(&source.path, 1, RULE, what));
    }
}

fn forbids(source: &Source) -> bool {
    let texts = source.attributes().into_iter().map(|range| &source.code[range]);
    texts.into_iter().any(|text| text.starts_with("#![forbid") && text.contains("unsafe_code"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::exceptions::UnsafeFile;
    use crate::tidy::fixture::{self, NONE};

    const LISTED: Exceptions = Exceptions {
        unsafe_files: &[UnsafeFile { path: "crates/a/src/lib.rs", reason: "the test" }],
        ..NONE
    };

    fn run(path: &str, text: &str, exceptions: &Exceptions) -> Vec<String> {
        let mut out = Vec::new();
        check(&fixture::file(path, text), exceptions, &mut out);
        out.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn unsafe_code_outside_the_list_is_named() {
        let text = "//! unsafe in a comment\nfn a() { unsafe { b() } }\n";
        let found = run("crates/a/src/x.rs", text, &NONE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/x.rs:2: unsafe: "));
        assert!(run("crates/a/tests/x.rs", text, &NONE).is_empty());
    }

    #[test]
    fn every_form_of_unsafe_code_is_seen_and_the_bare_word_is_not() {
        let forms = [
            "unsafe\n{",
            "unsafe fn f()",
            "unsafe impl A",
            "unsafe extern \"C\" {}",
            "#[unsafe(no_mangle)]",
        ];
        for form in forms {
            assert_eq!(run("crates/a/src/x.rs", form, &NONE).len(), 1, "{form}");
        }
        assert!(run("crates/a/src/x.rs", "Token![unsafe]>() fn unsafe_code", &NONE).is_empty());
    }

    #[test]
    fn unsafe_code_of_tests_needs_no_entry_and_forbids_nothing() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { unsafe { c() } } }\n";
        assert!(run("crates/a/src/lib.rs", text, &NONE).is_empty());
    }

    #[test]
    fn a_listed_file_passes_until_it_has_none() {
        assert!(run("crates/a/src/lib.rs", "unsafe impl Send for A {}\n", &LISTED).is_empty());
        let found = run("crates/a/src/lib.rs", "#![forbid(unsafe_code)]\n", &LISTED);
        assert!(found[0].contains("remove the entry"), "{found:?}");
    }

    #[test]
    fn a_crate_without_unsafe_code_forbids_it() {
        for text in ["", "// #![forbid(unsafe_code)]\n", "#![deny(unsafe_code)]\n"] {
            assert!(
                run("crates/a/src/lib.rs", text, &NONE)[0].contains("add `#![forbid"),
                "{text}"
            );
        }
        assert!(run("crates/a/src/main.rs", "#![forbid(unsafe_code)]\n", &NONE).is_empty());
    }
}
