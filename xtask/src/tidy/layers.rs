//! Arrows between crates point down only.
//!
//! [`LAYERS`] is the picture of the design as a table. A crate may depend on crates of lower layers and on nothing
//! else; an arrow between two crates of one layer, and an arrow upwards that only tests use, has to be listed in
//! the exceptions with its reason. A crate that is not in the table has no place yet, and the rule says so.
//!
//! The benchmarks stand above everything and see what a user sees: the facade, and each other.
//!
//! The manifest decides what cargo links; the paths in the sources decide what a file talks to. Both are checked,
//! because a dev-dependency of the manifest is visible to every unit test in `src`.

use super::Violation;
use super::exceptions::{Exceptions, Sideways};
use super::source::Source;
use super::tree::{Arrow, Crate, Tree};

/// Each crate and its layer. `xtask` stands outside: it may depend on none of them.
const LAYERS: &[(&str, u8)] = &[
    ("millpond-prim", 0),
    ("millpond-policy", 0),
    ("millpond-pprof", 0),
    ("millpond-sys", 0),
    ("millpond-heap", 1),
    ("millpond-stack", 1),
    ("millpond-frames", 1),
    ("millpond-rt", 2),
    ("millpond-malloc", 2),
    ("millpond-sync", 3),
    ("millpond-net", 3),
    ("millpond-observe", 3),
    ("millpond-service", 4),
    ("millpond-macros", 5),
    ("millpond", 5),
    ("millpond-cli", 6),
    ("millpond-fuzz", 6),
];

const RULE: &str = "layers";

/// What users depend on.
const FACADE: &str = "millpond";

/// The packages of the other workspace.
fn is_benchmark(name: &str) -> bool {
    name.starts_with("bench-")
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(krate, _)| *krate == name).map(|&(_, layer)| layer)
}

/// Checks the manifests and the paths in the sources.
pub fn check(tree: &Tree, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    for krate in &tree.crates {
        check_manifest(krate, exceptions, out);
    }
    for source in &tree.sources {
        if let Some(krate) = tree.crate_of(&source.path) {
            check_paths(krate, source, exceptions, out);
        }
    }
    for listed in exceptions.sideways {
        let used = |c: &Crate| c.name == listed.from && c.arrows.iter().any(|a| listed.fits(a));
        if !tree.crates.iter().any(used) {
            let what =
                format!("no manifest has {} -> {}: remove the entry", listed.from, listed.to);
            out.push(Violation::new("xtask/src/tidy/exceptions.rs", 1, RULE, what));
        }
    }
}

impl Sideways {
    fn fits(&self, arrow: &Arrow) -> bool {
        self.to == arrow.to && self.dev == arrow.dev
    }
}

fn check_manifest(krate: &Crate, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    let manifest = format!("{}/Cargo.toml", krate.folder);
    if krate.name != "xtask" && !is_benchmark(&krate.name) && layer(&krate.name).is_none() {
        let what = format!("{} has no layer: give it one in xtask/src/tidy/layers.rs", krate.name);
        out.push(Violation::new(&manifest, 1, RULE, what));
        return;
    }
    for arrow in &krate.arrows {
        if let Some(problem) = judge(&krate.name, arrow, exceptions) {
            out.push(Violation::new(&manifest, 1, RULE, problem));
        }
    }
}

/// Looks for `millpond_x` in the code: the crate has to be one that this one may depend on.
fn check_paths(krate: &Crate, source: &Source, exceptions: &Exceptions, out: &mut Vec<Violation>) {
    for (offset, word) in source.words() {
        if !word.starts_with("millpond_") {
            continue;
        }
        let to = word.replace('_', "-");
        let line = source.line_of(offset);
        if to == krate.name || layer(&to).is_none() {
            continue;
        }
        let dev = !krate.holds_in_src(&source.path) || source.is_test_line(line);
        if let Some(problem) = judge(&krate.name, &Arrow { to, dev }, exceptions) {
            out.push(Violation::new(&source.path, line, RULE, problem));
        }
    }
}

/// What is wrong with one arrow, if anything is.
fn judge(from: &str, arrow: &Arrow, exceptions: &Exceptions) -> Option<String> {
    let to = &arrow.to;
    if from == "xtask" {
        return Some(format!("xtask must build when {to} does not: remove the dependency"));
    }
    if is_benchmark(from) {
        let seen = to == FACADE || is_benchmark(to);
        return (!seen).then(|| format!("a benchmark sees what users see, {FACADE}, and not {to}"));
    }
    if let (Some(above), Some(below)) = (layer(from), layer(to))
        && above > below
    {
        return None;
    }
    // A unit test may use what the crate itself may use.
    let listed = |s: &Sideways| s.from == from && s.to == *to && (s.dev == arrow.dev || arrow.dev);
    if exceptions.sideways.iter().any(listed) {
        return None;
    }
    let kind = if arrow.dev { "the dev-dependency" } else { "the dependency" };
    Some(format!(
        "{kind} {from} -> {to} does not point down: move the code that needs it up, or what it \
         needs down (layers: xtask/src/tidy/layers.rs)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{self, NONE};

    const MACROS: Exceptions = Exceptions {
        sideways: &[Sideways {
            from: "millpond",
            to: "millpond-macros",
            dev: false,
            reason: "facade",
        }],
        ..NONE
    };

    fn problems(tree: &Tree, exceptions: &Exceptions) -> Vec<String> {
        let mut out = Vec::new();
        check(tree, exceptions, &mut out);
        out.iter().map(Violation::to_string).collect()
    }

    fn tree(crates: &[(&str, &[(&str, bool)])]) -> Tree {
        Tree {
            crates: crates.iter().map(|(n, a)| fixture::krate(n, a)).collect(),
            ..Tree::default()
        }
    }

    #[test]
    fn arrows_that_point_down_pass() {
        let tree = tree(&[("millpond-rt", &[("millpond-prim", false), ("millpond-stack", true)])]);
        assert!(problems(&tree, &NONE).is_empty());
    }

    #[test]
    fn arrows_up_and_between_siblings_are_named() {
        for (from, to) in [("millpond-stack", "millpond-rt"), ("millpond-net", "millpond-sync")] {
            for dev in [false, true] {
                let found = problems(&tree(&[(from, &[(to, dev)])]), &NONE);
                assert_eq!(found.len(), 1, "{from} -> {to}");
                assert!(found[0].starts_with(&format!("crates/{from}/Cargo.toml:1: layers: ")));
            }
        }
    }

    #[test]
    fn a_listed_arrow_passes_and_a_stale_entry_does_not() {
        let used = tree(&[("millpond", &[("millpond-macros", false)])]);
        assert!(problems(&used, &MACROS).is_empty());
        assert!(problems(&tree(&[("millpond", &[])]), &MACROS)[0].contains("remove the entry"));
    }

    #[test]
    fn a_benchmark_sees_the_facade_and_nothing_below_it() {
        let arrows: &[(&str, bool)] = &[("millpond", false), ("bench-common", false)];
        assert!(problems(&tree(&[("bench-millpond", arrows)]), &NONE).is_empty());
        let below = tree(&[("bench-millpond", &[("millpond-rt", false)])]);
        assert!(problems(&below, &NONE)[0].contains("what users see"));
        let above = tree(&[("millpond", &[("bench-common", true)])]);
        assert_eq!(problems(&above, &NONE).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_and_an_arrow_of_xtask_are_refused() {
        assert!(problems(&tree(&[("millpond-new", &[])]), &NONE)[0].contains("has no layer"));
        let xtask = tree(&[("xtask", &[("millpond-policy", false)])]);
        assert!(problems(&xtask, &NONE)[0].contains("must build when"));
    }

    #[test]
    fn a_path_in_the_source_is_an_arrow_too() {
        let mut tree = tree(&[("millpond-stack", &[])]);
        let text = "// millpond_rt in a comment\nuse millpond_sys::mem;\nuse millpond_rt::park;\n";
        tree.sources.push(Source::new("crates/millpond-stack/src/lib.rs", text));
        let found = problems(&tree, &NONE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/millpond-stack/src/lib.rs:3: layers: "));
    }
}
