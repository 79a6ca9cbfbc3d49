//! `cargo xtask paths`: the number of instructions of the allocator's fast paths, held to committed figures.
//!
//! What an allocation costs is decided by a handful of instructions, and a harmless-looking line can double them
//! without any test noticing. So the example `paths` of `millpond-heap` gives the two paths names of their own; this
//! command builds it in release, disassembles the two functions with `objdump`, and compares the number of their
//! instructions with [`GOLDEN`]. The slow roads are tail calls, so that what is counted is the fast path and the jumps
//! out of it.
//!
//! The figures are a ratchet, as the exceptions of `tidy` are: more instructions are refused, and fewer are refused
//! until the figure is lowered (`--bless` writes them). They are those of one compiler, whose version is in the file,
//! for x86-64, without flags of the environment. Under another compiler, on another processor and without `objdump`
//! the command says so and refuses nothing.
//!
//! Rejected: counting what is executed, under a tool that simulates the processor. It counts the same path, and
//! takes a minute and one more program.

use crate::Problem;
use crate::cargo;
use std::path::Path;
use std::process::Command;

/// The committed figures: the compiler, then a function and its number per line.
const GOLDEN: &str = "crates/heap/paths.golden";

/// The functions of the example.
const PATHS: [&str; 2] = ["millpond_alloc_path", "millpond_dealloc_path"];

/// The command line in short.
pub const USAGE: &str = "usage: cargo xtask paths [--bless]";

/// Counts and compares. `Ok(false)`: a path is not as long as it should be.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let bless = match arguments {
        [] => false,
        [flag] if flag == "--bless" => true,
        _ => return Err(Problem::usage("paths: an argument is not understood".to_owned(), USAGE)),
    };
    let file = root.join(GOLDEN);
    let golden =
        std::fs::read_to_string(&file).map_err(|error| format!("cannot read {GOLDEN}: {error}"));
    if let Some(reason) = obstacle(golden.as_deref().ok().filter(|_| !bless), &compiler()?) {
        println!("paths: skipped: {reason}");
        return if bless { Err(reason.into()) } else { Ok(true) };
    }
    let found = render(&compiler()?, &count(root)?);
    if bless {
        std::fs::write(&file, found).map_err(|error| format!("cannot write {GOLDEN}: {error}"))?;
        return Ok(true);
    }
    let problems = compare(&golden?, &found);
    print!("{found}");
    problems.iter().for_each(|problem| println!("paths: {problem}"));
    Ok(problems.is_empty())
}

/// Why nothing can be counted, or compared with these figures.
fn obstacle(golden: Option<&str>, compiler: &str) -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the figures are of x86-64".to_owned());
    }
    if let Some(theirs) =
        golden.and_then(|text| text.lines().next()).filter(|&line| line != compiler)
    {
        return Some(format!("{GOLDEN} is of {theirs}, this is {compiler}"));
    }
    let missing = output(Command::new("objdump").arg("--version")).err();
    missing.map(|_| "`objdump` is not here: it comes with binutils".to_owned())
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn compiler() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(output(Command::new(rustc).arg("--version"))?.trim().to_owned())
}

/// Builds the example and counts the instructions of its functions.
fn count(root: &Path) -> Result<Vec<(&'static str, usize)>, String> {
    let mut build = cargo::command(root);
    build.args(["build", "--release", "-p", "millpond-heap", "--example", "paths"]);
    // Other flags make other code.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    output(&mut build)?;
    let program = cargo::Workspace::load(root)?.target.join("release/examples/paths");
    let length = |path: &'static str| {
        let mut objdump = Command::new("objdump");
        objdump.args(["-d", "--no-show-raw-insn"]).arg(format!("--disassemble={path}"));
        Ok((path, instructions(&output(objdump.arg(&program))?)))
    };
    PATHS.into_iter().map(length).collect()
}

/// Lines of a disassembly that are instructions: an address, a colon, a tab. Padding is none.
fn instructions(disassembly: &str) -> usize {
    let code = |line: &&str| {
        line.trim_start().split_once(":\t").is_some_and(|(address, text)| {
            let padding =
                text.starts_with("nop") || text.starts_with("int3") || text.contains("nopw");
            !padding && u64::from_str_radix(address, 16).is_ok()
        })
    };
    disassembly.lines().filter(code).count()
}

fn render(compiler: &str, counts: &[(&str, usize)]) -> String {
    let lines = counts.iter().map(|(path, count)| format!("{path} {count}\n"));
    format!("{compiler}\n{}", lines.collect::<String>())
}

/// What is wrong with the figures that were found.
fn compare(golden: &str, found: &str) -> Vec<String> {
    let figure = |text: &str, path: &str| -> Option<usize> {
        text.lines().find_map(|line| line.strip_prefix(path)?.trim().parse().ok())
    };
    let judge = |path: &str| match (figure(golden, path), figure(found, path)) {
        (Some(wanted), Some(count)) if count > wanted => {
            Some(format!("{path} has {count} instructions, at most {wanted}: look at what is new"))
        }
        (Some(wanted), Some(count)) if count < wanted => Some(format!(
            "{path} has {count} instructions, not {wanted}: `cargo xtask paths --bless`"
        )),
        (Some(_), Some(count)) if count > 0 => None,
        _ => Some(format!("{path} was not found: in {GOLDEN}, or in the disassembly")),
    };
    PATHS.into_iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\nDisassembly of section .text:\n\n0000000000001000 <millpond_alloc_path>:\n    1000:\tcmp    \
                        $0x400,%rdi\n    1004:\tja     1010 <x>\n    1006:\tret\n    1007:\tnop\n";

    #[test]
    fn instructions_are_counted_and_padding_is_not() {
        assert_eq!(instructions(CODE), 3);
    }

    #[test]
    fn longer_and_shorter_paths_are_refused() {
        let text = |compiler, a, b| render(compiler, &[(PATHS[0], a), (PATHS[1], b)]);
        assert!(compare(&text("rustc 1", 3, 5), &text("rustc 1", 3, 5)).is_empty());
        assert!(compare(&text("rustc 1", 3, 5), &text("rustc 1", 4, 5))[0].contains("at most 3"));
        assert!(compare(&text("rustc 1", 3, 5), &text("rustc 1", 3, 4))[0].contains("--bless"));
        assert_eq!(compare("rustc 1\n", &text("rustc 1", 1, 1)).len(), 2);
    }

    #[test]
    fn figures_of_another_compiler_are_not_compared() {
        let reason = obstacle(Some("rustc 1\na 1\n"), "rustc 2").unwrap();
        assert!(reason.contains("x86-64") || reason.contains("of rustc 1, this is rustc 2"));
    }
}
