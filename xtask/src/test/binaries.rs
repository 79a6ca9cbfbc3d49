//! The test programs that cargo has built.
//!
//! The repeated suites run the same programs under other settings. They are built once, by `cargo test --no-run`
//! with the very arguments of the plain run, and then started directly: a second `cargo test -p ...` would choose
//! other features for the dependencies and build half of the workspace again.
//!
//! [`build`] gives back one [`Binary`] per program. A program runs as cargo would run it: in the folder of its package,
//! with `CARGO_MANIFEST_DIR` set.

use crate::cargo::Workspace;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The folder of its package, relative to the root: `crates/rt`.
    pub package: String,
    /// The name of the target: the crate, or the file in `tests/`.
    pub target: String,
    /// The program.
    path: PathBuf,
    /// The folder of its package.
    folder: PathBuf,
}

impl Binary {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// Builds the tests that a `cargo test` would run.
pub fn build(workspace: &Workspace, mut command: Command) -> Result<Vec<Binary>, String> {
    command.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err("the tests do not build".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(messages.lines().filter_map(|line| parse(line, &workspace.root)).collect())
}

/// Reads one message of cargo; `None` if it is not about a test program.
fn parse(line: &str, root: &Path) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != Value::Bool(true) {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    Some(Binary {
        package: folder.strip_prefix(root).ok()?.to_string_lossy().into_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
        folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_test_programs_count() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/r/crates/rt/Cargo.toml",
            "target":{"name":"park"},"profile":{"test":true},"executable":"/t/park-1"}"#;
        let binary = parse(&test.replace('\n', ""), Path::new("/r")).unwrap();
        assert_eq!((binary.package.as_str(), binary.target.as_str()), ("crates/rt", "park"));
        assert!(parse(&test.replace("true", "false"), Path::new("/r")).is_none());
        assert!(parse(r#"{"reason":"build-finished","success":true}"#, Path::new("/r")).is_none());
        assert!(parse("not json", Path::new("/r")).is_none());
    }
}
