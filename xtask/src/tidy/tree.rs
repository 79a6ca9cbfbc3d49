//! What the rules look at: the crates of the workspace with their arrows, the Rust sources, and the other texts.
//!
//! [`Tree`] owns all of it as plain values. [`Tree::load`] is the only place that touches the disk: it asks `cargo
//! metadata` for crates, arrows and target roots, and walks the folders for files. A rule gets the tree and nothing
//! else, so each one is tested on a tree of a few lines that was written in the test.
//!
//! The walk follows the disk and not `git ls-files`: a file that is not committed yet has to be tidy before it is.

use super::source::Source;
use crate::cargo;
use serde_json::Value;
use std::path::Path;
use std::{fs, io};

/// Folders that hold no text of ours.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", "corpus"];

/// The folder of the other workspace: the benchmarks, which depend on half the ecosystem.
pub const BENCHMARKS: &str = "bench";

/// The folder of the fuzz targets, a workspace as well: they need another compiler.
pub const FUZZ: &str = "fuzz";

/// Endings of the texts that are checked besides Rust.
const TEXTS: &[&str] = &["md", "toml", "sh", "yml", "yaml", "c", "h", "go", "py"];

/// The whole repository, in memory.
#[derive(Default)]
pub struct Tree {
    /// The packages of all workspaces.
    pub crates: Vec<Crate>,
    /// All Rust files.
    pub sources: Vec<Source>,
    /// All other texts: path and content.
    pub texts: Vec<(String, String)>,
}

/// One package.
#[derive(Debug, Default, Clone)]
pub struct Crate {
    /// The package name.
    pub name: String,
    /// Its folder, relative to the root.
    pub folder: String,
    /// Its dependencies on other packages of the workspace.
    pub arrows: Vec<Arrow>,
    /// The root files of its targets, relative to the root of the repository.
    pub roots: Vec<String>,
}

/// A dependency on another package of the workspace.
#[derive(Debug, Clone)]
pub struct Arrow {
    /// The package that it points at.
    pub to: String,
    /// Only for tests, examples and benchmarks.
    pub dev: bool,
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn load(root: &Path) -> Result<Tree, String> {
        let workspaces = [root.to_path_buf(), root.join(BENCHMARKS), root.join(FUZZ)];
        let metadata: Vec<_> =
            workspaces.iter().map(|root| cargo::metadata(root)).collect::<Result<_, _>>()?;
        let mut tree = Tree { crates: parse_metadata(&metadata, root)?, ..Tree::default() };
        tree.walk(root, "").map_err(|error| format!("cannot read the sources: {error}"))?;
        Ok(tree)
    }

    /// The crate that a file belongs to.
    pub fn crate_of(&self, path: &str) -> Option<&Crate> {
        self.crates.iter().find(|krate| krate.holds(path))
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.walk(&entry.path(), &path)?;
            } else if kind.is_file() {
                self.add(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, path: String) -> io::Result<()> {
        let ending = file.extension().unwrap_or_default().to_string_lossy().into_owned();
        if ending == "rs" {
            self.sources.push(Source::new(path, fs::read_to_string(file)?));
        } else if TEXTS.contains(&ending.as_str()) || path.starts_with(".ci/") {
            self.texts.push((path, fs::read_to_string(file)?));
        }
        Ok(())
    }
}

impl Crate {
    /// Is this file in the folder of the crate?
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Is this file in the `src` folder of the crate?
    pub fn holds_in_src(&self, path: &str) -> bool {
        path.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with("/src/"))
    }
}

/// Reads the answers of `cargo metadata`, one for each workspace.
fn parse_metadata(metadata: &[Value], root: &Path) -> Result<Vec<Crate>, String> {
    let mut packages = Vec::new();
    for workspace in metadata {
        packages.extend(workspace["packages"].as_array().ok_or("cargo metadata: no packages")?);
    }
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    packages.into_iter().map(|package| parse_package(package, &names, root)).collect()
}

fn parse_package(package: &Value, names: &[&str], root: &Path) -> Result<Crate, String> {
    let relative = |value: &Value| -> Option<String> {
        let path = Path::new(value.as_str()?).strip_prefix(root).ok()?;
        Some(path.to_string_lossy().replace('\\', "/"))
    };
    let name = package["name"].as_str().ok_or("cargo metadata: a package without a name")?;
    let manifest = relative(&package["manifest_path"])
        .ok_or_else(|| format!("cargo metadata: {name} is not below {}", root.display()))?;
    let folder = manifest.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned();
    let arrow = |dependency: &Value| {
        let to = dependency["name"].as_str()?;
        let dev = dependency["kind"].as_str() == Some("dev");
        names.contains(&to).then(|| Arrow { to: to.to_owned(), dev })
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let targets = package["targets"].as_array().into_iter().flatten();
    Ok(Crate {
        name: name.to_owned(),
        folder,
        arrows: dependencies.filter_map(arrow).collect(),
        roots: targets.filter_map(|target| relative(&target["src_path"])).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, root: &str) -> Result<Vec<Crate>, String> {
        parse_metadata(&[serde_json::from_str(json).unwrap()], Path::new(root))
    }

    #[test]
    fn metadata_becomes_crates_with_arrows_and_roots() {
        let json = r#"{"packages": [
            {"name": "a", "manifest_path": "/r/crates/a/Cargo.toml", "dependencies": [],
             "targets": [{"src_path": "/r/crates/a/src/lib.rs"}]},
            {"name": "b", "manifest_path": "/r/crates/b/Cargo.toml", "targets": [],
             "dependencies": [{"name": "a", "kind": null}, {"name": "a", "kind": "dev"},
                              {"name": "libc", "kind": null}]}]}"#;
        let crates = parse(json, "/r").unwrap();
        assert_eq!(crates[0].roots, ["crates/a/src/lib.rs"]);
        assert_eq!(crates[1].folder, "crates/b");
        let arrows: Vec<_> = crates[1].arrows.iter().map(|a| (a.to.as_str(), a.dev)).collect();
        assert_eq!(arrows, [("a", false), ("a", true)]);
        assert!(crates[0].holds_in_src("crates/a/src/x.rs"));
        assert!(!crates[0].holds("crates/ab/src/x.rs"));
    }

    #[test]
    fn arrows_lead_from_one_workspace_into_the_other() {
        let workspace = |name: &str, dependencies: &str| {
            let json = format!(
                r#"{{"packages": [{{"name": "{name}", "manifest_path": "/r/{name}/Cargo.toml",
                     "dependencies": [{dependencies}], "targets": []}}]}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let both = [workspace("a", ""), workspace("b", r#"{"name": "a", "kind": null}"#)];
        let crates = parse_metadata(&both, Path::new("/r")).unwrap();
        assert_eq!((crates[1].arrows[0].to.as_str(), crates[1].arrows[0].dev), ("a", false));
    }

    #[test]
    fn metadata_that_makes_no_sense_is_an_error() {
        assert!(parse("{}", "/").is_err());
        assert!(parse(r#"{"packages": [{}]}"#, "/").is_err());
        let foreign = r#"{"packages": [{"name": "a", "manifest_path": "/x/Cargo.toml"}]}"#;
        assert!(parse(foreign, "/r").unwrap_err().contains("not below"));
    }
}
