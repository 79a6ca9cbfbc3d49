//! The library as a file: how it is linked, and that building it changes nobody else.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::library;
use std::process::Command;

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = common::text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn a_record_of_a_thread_is_reached_without_a_call_and_the_library_stays_loaded() {
    let text = said(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library()));
    let flags: Vec<&str> = text.lines().filter(|line| line.contains("FLAGS")).collect();
    assert!(flags.iter().any(|line| line.contains("STATIC_TLS")), "{text}");
    assert!(flags.iter().any(|line| line.contains("NODELETE")), "{text}");
}

#[test]
fn a_build_of_the_whole_workspace_does_not_give_its_feature_to_other_crates() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = |arguments: &[&str]| {
        let mut tree = Command::new(&cargo);
        tree.args(["tree", "--locked", "--prefix", "none", "--edges", "features"]);
        tree.args(["--invert", "millpond-heap"]).args(arguments);
        said(tree.current_dir(env!("CARGO_MANIFEST_DIR")))
    };
    let feature = r#"millpond-heap feature "initial-exec""#;
    assert!(
        tree(&["--package", "millpond-malloc", "--features", "initial-exec"]).contains(feature)
    );
    assert!(!tree(&["--workspace"]).contains(feature));
}

#[test]
fn the_profile_of_the_library_for_use_refuses_to_build_it_without_the_feature() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["check", "--quiet", "--locked", "--profile", "malloc", "-p", "millpond-malloc"]);
    build.arg("--target-dir").arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/refused"));
    let output = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let text = common::text(&output);
    assert!(!output.status.success() && text.contains("--features initial-exec"), "{text}");
}
