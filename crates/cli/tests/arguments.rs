//! Mistakes on the command line: one clear line, and a status that says so.

mod common;

use common::{Server, millpond, run};

/// The one line of the error stream.
fn one_line(stderr: &str) -> &str {
    let line = stderr.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "expected one line: {stderr:?}");
    line
}

#[test]
fn arguments_that_make_no_sense_are_one_line_and_status_2() {
    for (args, part) in [
        (&["serve", "--nonsense"][..], "'--nonsense'"),
        (&["serve", "--drain", "soon"], "'soon'"),
        (&["serve", "--idle", "0"], "more than zero"),
        (&["serve", "--max-header", "1"], "64 to 1048576"),
        (&["million", "--count", "0"], "1..=100000000"),
        (&["load"], "<HOST:PORT>"),
        (&["dance"], "'dance'"),
    ] {
        let (status, out, err) = run(args);
        assert_eq!(status.code(), Some(2), "{args:?}");
        assert_eq!(out, "");
        assert!(one_line(&err).starts_with("millpond: ") && err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn addresses_that_cannot_be_listened_on_are_one_line_and_status_1() {
    let server = Server::start(&[]);
    let taken = server.http.to_string();
    for (flag, addr, part) in [
        ("--http", taken.as_str(), "Address already in use"),
        ("--echo", taken.as_str(), "Address already in use"),
        ("--http", "nonsense", "expected ADDRESS:PORT"),
        ("--http", "127.0.0.1:99999", "expected ADDRESS:PORT"),
        ("--echo", "192.0.2.1:0", "annot assign requested address"),
    ] {
        let other = if flag == "--http" { "--echo" } else { "--http" };
        let (status, out, err) = run(&["serve", other, "127.0.0.1:0", flag, addr]);
        assert_eq!(status.code(), Some(1), "{flag} {addr}");
        assert_eq!(out, "");
        let line = one_line(&err);
        let names_it = line.contains(flag) && line.contains(addr) && line.contains(part);
        assert!(line.starts_with("millpond serve: ") && names_it, "{flag} {addr}: {err}");
    }
}

#[test]
fn a_number_of_processors_that_cannot_be_is_refused() {
    let (status, _, err) = run(&["serve", "--procs", "0", "--http", "127.0.0.1:0"]);
    assert_eq!(status.code(), Some(1));
    assert!(one_line(&err).contains("procs(0)"), "{err}");
}

#[test]
fn flags_are_also_environment_variables() {
    let mut command = millpond();
    command.arg("serve").env("MILLPOND_HTTP", "127.0.0.1:0").env("MILLPOND_ECHO", "[::1]:0");
    let server = Server::from(command);
    assert!(server.http.is_ipv4() && server.echo.is_ipv6());
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (status, out, _) = run(&["--help"]);
    assert!(status.success() && out.contains("serve") && out.contains("million"));
    let (status, out, _) = run(&["serve", "--help"]);
    assert!(status.success() && out.contains("[env: MILLPOND_HTTP="), "{out}");
    let (status, out, _) = run(&["--version"]);
    assert!(status.success() && out.starts_with("millpond "));
    assert_eq!(run(&[]).0.code(), Some(2));
}
