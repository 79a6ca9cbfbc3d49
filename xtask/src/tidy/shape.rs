//! The shape of a file: it opens with an essay, it is short, its lines are narrow, its functions fit a screen.
//!
//! - *essay*: every file under `src` opens with `//!`, and at least [`ESSAY_LINES`] lines of it are prose (code blocks,
//!   headings and tables do not count). `tests/` is free of it: a test file is read by the names of its tests.
//! - *file-length*, *line-width*, *function-length*: the limits below. Files and functions that are longer for a
//!   reason are listed with their length; the list is a ratchet, so an entry that is too generous is a violation as
//!   well.

use super::Violation;
use super::exceptions::{Allowed, Exceptions, settle};
use super::source::Source;
use super::tree::Tree;

/// The least prose that an essay has, in lines.
pub const ESSAY_LINES: usize = 3;

/// The longest file, in lines.
pub const FILE_LINES: usize = 600;

/// The widest line, in characters.
pub const LINE_WIDTH: usize = 120;

/// The longest function, in lines from `fn` to the closing brace.
pub const FUNCTION_LINES: usize = 120;

/// Checks every source of the tree.
pub fn check(tree: &Tree, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    let mut long_files = Vec::new();
    let mut long_functions = Vec::new();
    for source in &tree.sources {
        if tree.crate_of(&source.path).is_some_and(|krate| krate.holds_in_src(&source.path)) {
            check_essay(source, out);
        }
        check_width(source, out);
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            long_files.push((source.path.clone(), 1, lines));
        }
        for (name, line, lines) in functions(source) {
            if lines > FUNCTION_LINES {
                long_functions.push((format!("{}::{name}", source.path), line, lines));
            }
        }
    }
    report(&long_files, exceptions.long_files, "file-length", FILE_LINES, "split it by story", out);
    let advice = "give its parts names";
    let functions = exceptions.long_functions;
    report(&long_functions, functions, "function-length", FUNCTION_LINES, advice, out);
}

/// Compares what is too long with what is listed.
fn report(
    found: &[(String, usize, usize)],
    allowed: &[Allowed],
    rule: &'static str,
    limit: usize,
    advice: &str,
    out: &mut Vec<Violation>,
) {
    let sizes: Vec<(&str, usize)> = found.iter().map(|(what, _, n)| (what.as_str(), *n)).collect();
    for subject in settle(&sizes, allowed, rule, out) {
        let (what, line, lines) = &found[subject];
        let (path, name) = what.split_once("::").unwrap_or((what, "the file"));
        let problem = format!("{name} has {lines} lines, at most {limit}: {advice}");
        out.push(Violation::new(path, *line, rule, problem));
    }
}

fn check_essay(source: &Source, out: &mut Vec<Violation>) {
    let head = source.text.lines().map_while(|line| line.strip_prefix("//!"));
    let (mut prose, mut in_block) = (0, false);
    for line in head.map(str::trim) {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block && !line.is_empty() && !line.starts_with(['#', '|']) {
            prose += 1;
        }
    }
    if prose < ESSAY_LINES {
        let what = format!(
            "the file opens with {prose} lines of `//!` prose, at least {ESSAY_LINES}: say what it \
             owns, how it works, and what was rejected"
        );
        out.push(Violation::new(&source.path, 1, "essay", what));
    }
}

fn check_width(source: &Source, out: &mut Vec<Violation>) {
    for (index, line) in source.text.lines().enumerate() {
        let width = line.chars().count();
        if width > LINE_WIDTH {
            let what = format!("{width} characters, at most {LINE_WIDTH}: break the line");
            out.push(Violation::new(&source.path, index + 1, "line-width", what));
        }
    }
}

/// Every function with a body: name, line, length in lines.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut words = source.words().peekable();
    while let Some((offset, word)) = words.next() {
        if word != "fn" {
            continue;
        }
        // A name follows; `fn(..)` is a type.
        let Some(&(name_at, name)) = words.peek() else { break };
        if !source.code[offset + 2..name_at].trim().is_empty() {
            continue;
        }
        if let Some(end) = source.item_end(name_at)
            && source.code.as_bytes()[end] == b'}'
        {
            let first = source.line_of(offset);
            found.push((name.to_owned(), first, source.line_of(end) - first + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{self, NONE};

    const ESSAY: &str = "//! One.\n//! Two.\n//! Three.\n";

    fn problems(path: &str, text: &str, exceptions: &Exceptions) -> Vec<String> {
        let mut out = Vec::new();
        check(&fixture::file(path, text), exceptions, &mut out);
        out.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn an_essay_is_prose_at_the_head_of_the_file() {
        let path = "crates/a/src/x.rs";
        assert!(problems(path, ESSAY, &NONE).is_empty());
        let bad = [
            "",
            "fn a() {}\n",
            "//! One.\n//!\n//! Two.\n",
            "//! # Head\n//! One.\n//! ```\n//! code\n//! ```\n//! | table |\n",
            "#![forbid(unsafe_code)]\n//! One.\n//! Two.\n//! Three.\n",
        ];
        for text in bad {
            let found = problems(path, text, &NONE);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with("crates/a/src/x.rs:1: essay: "), "{found:?}");
        }
        assert!(problems("crates/a/tests/x.rs", "", &NONE).is_empty());
    }

    #[test]
    fn a_wide_line_is_counted_in_characters() {
        let line = |n: usize| format!("{ESSAY}//{}\n", "é".repeat(n - 2));
        assert!(problems("crates/a/src/x.rs", &line(LINE_WIDTH), &NONE).is_empty());
        let found = problems("crates/a/src/x.rs", &line(LINE_WIDTH + 1), &NONE);
        assert!(found[0].starts_with("crates/a/src/x.rs:4: line-width: 121 "), "{found:?}");
    }

    #[test]
    fn a_long_file_is_refused_or_listed_exactly() {
        let text = |lines: usize| format!("{ESSAY}{}", "\n".repeat(lines - 3));
        const LISTED: Exceptions = Exceptions {
            long_files: &[Allowed { what: "crates/a/src/x.rs", limit: 610, reason: "a table" }],
            ..NONE
        };
        let run = |lines, exceptions| problems("crates/a/src/x.rs", &text(lines), exceptions);
        assert!(run(FILE_LINES, &NONE).is_empty());
        assert!(run(FILE_LINES + 1, &NONE)[0].contains("file-length"));
        assert!(run(610, &LISTED).is_empty());
        assert!(run(611, &LISTED)[0].contains("611 lines"));
        assert!(run(605, &LISTED)[0].contains("lower the limit to 605"));
        assert!(run(600, &LISTED)[0].contains("remove the entry"));
    }

    #[test]
    fn a_long_function_is_found_by_its_braces() {
        let body = "    x();\n".repeat(FUNCTION_LINES - 1);
        let long = format!(
            "{ESSAY}fn f(a: [u8; 3], g: fn(u8)) -> u8 {{ let s = \"}}\";\n{body}}}\nfn g() {{}}\n"
        );
        let found = problems("crates/a/src/x.rs", &long, &NONE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/x.rs:4: function-length: f has 121 lines"));
        let short = long.replacen("    x();\n", "", 1);
        assert!(problems("crates/a/src/x.rs", &short, &NONE).is_empty());
    }
}
