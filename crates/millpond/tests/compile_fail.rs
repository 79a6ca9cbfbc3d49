//! What must not compile: each program here is a memory error or a dead end that the types stop.
//!
//! `bounds/`, `context/` and `scope/` hold programs that rustc refuses because of the bounds on our functions and the
//! types of a context's values; the expected text is rustc's own, so it is compared only under the version that it was
//! written with. `macros/` holds misuse of the macros; that text is ours and is compared under every version. To write
//! the texts anew after a deliberate change: `TRYBUILD=overwrite cargo test -p millpond --test compile_fail`.

/// The compiler whose messages the files outside `macros/` hold.
const WRITTEN_WITH: &str = "rustc 1.95.";

fn compiler_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("--version").output();
    let output = output.expect("`rustc --version` runs wherever a test was just compiled");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn programs_that_break_the_rules_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/macros/*.rs");
    let version = compiler_version();
    if version.starts_with(WRITTEN_WITH) {
        cases.compile_fail("tests/compile_fail/bounds/*.rs");
        cases.compile_fail("tests/compile_fail/context/*.rs");
        cases.compile_fail("tests/compile_fail/scope/*.rs");
    } else {
        eprintln!(
            "skipped: the texts in compile_fail/{{bounds,context,scope}} are those of {WRITTEN_WITH}x, found {version}"
        );
    }
}
