//! How the commands talk to cargo.
//!
//! [`command`] starts the cargo that started us, so that `cargo +1.90 xtask test` tests under 1.90. [`Workspace`]
//! owns what the commands need to know from `cargo metadata`: the root, the target folder, and which features each
//! package has.
//!
//! *All features* means all but two. [`SANITIZER`] makes the context switch call into the runtime library of a
//! sanitizer, which is linked only in a build under that sanitizer: `--all-features` would fail to link.
//! [`INITIAL_EXEC`] is for a library that is built alone; with it, the allocator would be tested as no program has it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The feature that needs a sanitizer's runtime library.
pub const SANITIZER: &str = "sanitizer";

/// The feature of the allocator as a `malloc`.
pub const INITIAL_EXEC: &str = "initial-exec";

/// The cargo that started this program.
pub fn command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// The answer of `cargo metadata` about the workspace at `root`.
pub fn metadata(root: &Path) -> Result<Value, String> {
    let mut command = command(root);
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("cargo metadata failed: {}", text.trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// What the commands know about the workspace.
pub struct Workspace {
    /// Where it lies.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// All features of all packages, as `package/feature`.
    features: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace at `root`.
    pub fn load(root: &Path) -> Result<Workspace, String> {
        let metadata = metadata(root)?;
        let target = metadata["target_directory"].as_str().unwrap_or("target");
        let target = root.join(target);
        Ok(Workspace { root: root.to_path_buf(), target, features: features(&metadata) })
    }

    /// The value for `--features`: everything that links in a plain build.
    pub fn plain_features(&self) -> String {
        let plain = |feature: &&String| {
            !matches!(feature.rsplit('/').next(), Some(SANITIZER | INITIAL_EXEC))
        };
        self.features.iter().filter(plain).cloned().collect::<Vec<_>>().join(",")
    }

    /// The sanitizer features of these packages, as a value for `--features`.
    pub fn sanitizer_features(&self, packages: &[&str]) -> String {
        let wanted = packages.iter().map(|package| format!("{package}/{SANITIZER}"));
        wanted.filter(|feature| self.features.contains(feature)).collect::<Vec<_>>().join(",")
    }
}

fn features(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        for feature in package["features"].as_object().into_iter().flat_map(|map| map.keys()) {
            if feature != "default" {
                found.push(format!("{name}/{feature}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_features_are_all_that_a_program_may_have() {
        let json = r#"{"packages": [
            {"name": "a", "features": {"default": [], "hyper": [], "sanitizer": []}},
            {"name": "b", "features": {"futures-io": [], "initial-exec": []}}]}"#;
        let features = features(&serde_json::from_str(json).unwrap());
        let workspace = Workspace { root: PathBuf::new(), target: PathBuf::new(), features };
        assert_eq!(workspace.plain_features(), "a/hyper,b/futures-io");
        assert_eq!(workspace.sanitizer_features(&["a", "b"]), "a/sanitizer");
    }
}
