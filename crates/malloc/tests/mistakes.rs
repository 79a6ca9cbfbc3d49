//! Mistakes of a program of C: what is always found, and what the checked mode finds, with stacks that lead to the
//! functions that allocated, freed, and erred.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::{command, compile, symbols, text};
use std::path::Path;

/// What is said about a mistake. The process must have ended by itself.
fn said(program: &Path, mistake: &str, check: Option<&str>) -> String {
    let mut command = command(program, true);
    let output = command
        .arg(mistake)
        .envs(check.map(|rate| ("MILLPOND_HEAP_CHECK", rate)))
        .output()
        .unwrap();
    let text = text(&output);
    assert!(!output.status.success() && !text.contains("nobody noticed"), "{mistake}: {text}");
    text
}

/// The names of the functions that the addresses below a heading lie in, as `nm` knows them: the program is linked to a
/// fixed address.
fn functions(program: &Path, text: &str, heading: &str) -> Vec<String> {
    let symbols = symbols(program);
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with(heading));
    assert!(lines.next().is_some(), "expected {heading:?} in:\n{text}");
    let addresses = lines.map_while(|line| line.trim().strip_prefix("0x"));
    let name = |address: &str| {
        // A return address may be the first of the next function.
        let address = u64::from_str_radix(address, 16).ok()?.checked_sub(1)?;
        symbols.name(address).map(str::to_owned)
    };
    addresses.filter_map(name).collect()
}

fn leads_to(program: &Path, text: &str, heading: &str, function: &str) {
    let found = functions(program, text, heading);
    assert!(found.iter().any(|name| name == function), "{heading}: {found:?}\n{text}");
}

#[test]
fn the_checked_mode_finds_what_was_planted_and_shows_both_stacks() {
    let program = compile("planted.c", "planted", &["-O0", "-no-pie", "-Wno-free-nonheap-object"]);
    let said = |mistake| said(&program, mistake, Some("1"));
    let text = said("overflow");
    assert!(
        text.contains("millpond heap: overflow at 0x") && text.contains("object of 112 B"),
        "{text}"
    );
    leads_to(&program, &text, "allocated by thread", "allocates_here");
    let text = said("overflow that free finds");
    assert!(text.contains("found by free"), "{text}");
    leads_to(&program, &text, "allocated by thread", "allocates_here");
    leads_to(&program, &text, "this free by thread", "frees_here");
    let text = said("underflow");
    assert!(text.contains("millpond heap: underflow at 0x"), "{text}");
    leads_to(&program, &text, "allocated by thread", "allocates_here");
    let text = said("use after free");
    assert!(text.contains("millpond heap: use after free at 0x"), "{text}");
    leads_to(&program, &text, "allocated by thread", "allocates_here");
    leads_to(&program, &text, "freed by thread", "frees_here");
    let text = said("double free");
    assert!(text.contains("millpond heap: double free at 0x"), "{text}");
    leads_to(&program, &text, "freed by thread", "frees_here");
    leads_to(&program, &text, "this free by thread", "frees_again_here");
}

#[test]
fn some_mistakes_are_found_without_being_looked_for() {
    let program = compile("planted.c", "planted unchecked", &["-O0", "-Wno-free-nonheap-object"]);
    let found = [
        ("double free", "expected a block in use, found one that is free"),
        ("foreign", "found a pointer from elsewhere"),
        ("middle", "expected the start of a block, found an address 16 B into the block"),
    ];
    for (mistake, message) in found {
        let text = said(&program, mistake, None);
        assert!(text.contains(message), "{mistake}: {text}");
    }
}
