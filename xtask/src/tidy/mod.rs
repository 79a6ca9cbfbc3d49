//! `cargo xtask tidy`: the rules of this repository that no compiler knows.
//!
//! 1. [`tree`] reads crates and files from the disk, [`source`] takes each Rust file apart;
//! 2. each rule looks at the whole tree and adds [`Violation`]s: [`layers`], [`shape`], [`leftovers`], [`modules`],
//!    [`unsafety`];
//! 3. what is allowed in spite of a rule stands in [`exceptions`], with its reason;
//! 4. all violations are printed, sorted, one per line: `path:line: rule: what to do`.
//!
//! The guard is guarded: every rule has tests that provoke it on a tree of a few lines, because a rule that has
//! silently stopped seeing anything looks exactly like a clean repository. For the same reason an empty tree is an
//! error.
//!
//! Rejected: a `build.rs` or a test that runs the rules. They should not stop someone who is in the middle of a change.

mod exceptions;
#[cfg(test)]
mod fixture;
mod layers;
mod leftovers;
mod modules;
mod shape;
mod source;
mod tree;
mod unsafety;

use exceptions::{Exceptions, PROJECT};
use std::fmt;
use std::path::Path;
use tree::Tree;

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the root of the repository.
    path: String,
    /// Counted from 1.
    line: usize,
    /// The name of the rule.
    rule: &'static str,
    /// What is wrong and what to do.
    what: String,
}

impl Violation {
    fn new(
        path: impl Into<String>,
        line: usize,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Violation {
        Violation { path: path.into(), line, rule, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// Checks the repository at `root` and prints what it found. `Err` says how many violations there are, or why the
/// repository could not be read.
pub fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::load(root)?;
    if tree.sources.is_empty() || tree.crates.is_empty() {
        return Err(format!("tidy: found no sources below {}", root.display()));
    }
    let violations = check(&tree, &PROJECT);
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        return Err(format!("tidy: {} violations", violations.len()));
    }
    println!("tidy: {} files in {} crates are clean", tree.sources.len(), tree.crates.len());
    println!("tidy: excepted are {}", ratchet(&PROJECT));
    Ok(())
}

/// All rules, over one tree.
fn check(tree: &Tree, exceptions: &Exceptions) -> Vec<Violation> {
    let mut out = Vec::new();
    layers::check(tree, exceptions, &mut out);
    shape::check(tree, exceptions, &mut out);
    leftovers::check(tree, exceptions, &mut out);
    modules::check(tree, &mut out);
    unsafety::check(tree, exceptions, &mut out);
    out.sort();
    out.dedup();
    out
}

/// How much is excepted: the numbers that should only go down.
fn ratchet(exceptions: &Exceptions) -> String {
    format!(
        "{} sideways arrows, {} long files, {} long functions, {} files that print, {} files with unsafe code",
        exceptions.sideways.len(),
        exceptions.long_files.len(),
        exceptions.long_functions.len(),
        exceptions.output.len(),
        exceptions.unsafe_files.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixture::NONE;
    use source::Source;

    #[test]
    fn every_rule_is_run_and_the_report_is_sorted() {
        let mut tree = Tree { crates: vec![fixture::krate("new", &[])], ..Tree::default() };
        tree.sources.push(Source::new("crates/new/src/lib.rs", "fn a() { unsafe { todo!() } }\n"));
        let found = check(&tree, &NONE);
        let rules: Vec<&str> = found.iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, ["layers", "dead-file", "essay", "leftovers", "unsafe"]);
        assert!(found.is_sorted());
    }

    #[test]
    fn a_violation_is_printed_as_path_line_rule_and_advice() {
        let violation = Violation::new("a/b.rs", 7, "essay", "write one");
        assert_eq!(violation.to_string(), "a/b.rs:7: essay: write one");
    }

    #[test]
    fn a_folder_without_sources_is_not_clean() {
        let root = std::env::temp_dir();
        assert!(run(&root.join("no such folder")).is_err());
    }
}
