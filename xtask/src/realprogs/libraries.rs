//! The libraries: ours, built; mimalloc 3, built; and those that the distribution has.
//!
//! Debian has mimalloc 2 only. The third version is compiled from the sources in the crate that the benchmarks of the
//! allocator use, so that both tables speak of one version; `cargo fetch` brings them, and a C compiler makes
//! a library of them that takes over `malloc`, as mimalloc's own build files would. All of it happens once.

use super::options::Options;
use crate::cargo::{self, Workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Our name.
pub const OURS: &str = "millpond";

/// The one that is built of a crate's sources.
const MIMALLOC3: &str = "mimalloc3";

/// Those of the distribution: name, file, package.
const OTHERS: [(&str, &str, &str); 4] = [
    ("glibc", "libc.so.6", "libc6"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc2", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
];

/// A library to run programs with.
pub struct Library {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// What is put before the C library.
    pub path: PathBuf,
}

/// All names, in the order of the table: ours is the first.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(OURS).chain(OTHERS.iter().map(|(name, ..)| *name)).chain([MIMALLOC3])
}

/// Whether a library has that name.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Those that are wanted and here, in the order of [`names`].
pub fn load(workspace: &Workspace, options: &Options) -> Result<Vec<Library>, String> {
    let mut libraries = Vec::new();
    if options.wants_library(OURS) {
        libraries.push(Library { name: OURS, path: ours(workspace)? });
    }
    for (name, file, package) in OTHERS.into_iter().filter(|(name, ..)| options.wants_library(name))
    {
        let folders =
            ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let places = folders.map(|folder| Path::new(folder).join(file));
        match places.into_iter().find(|place| place.exists()) {
            Some(path) => libraries.push(Library { name, path }),
            None => println!("{name}: skipped: {file} is not here: apt-get install {package}"),
        }
    }
    if options.wants_library(MIMALLOC3) {
        match mimalloc3(workspace) {
            Ok(path) => libraries.push(Library { name: MIMALLOC3, path }),
            Err(why) => println!("{MIMALLOC3}: skipped: {why}"),
        }
    }
    Ok(libraries)
}

fn ours(workspace: &Workspace) -> Result<PathBuf, String> {
    let mut build = cargo::command(&workspace.root);
    build.args(["build", "--quiet", "--profile", "malloc", "-p", "millpond-malloc"]);
    build.args(["--features", "initial-exec"]);
    let built = build.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    match built.success() {
        true => Ok(workspace.target.join("malloc/libmillpond_malloc.so")),
        false => Err("the library does not build".to_owned()),
    }
}

/// The library, made if it is not there.
fn mimalloc3(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.target.join("realprogs-peers");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let sources = sources(&workspace.root, "libmimalloc-sys")?.join("c_src/mimalloc/v3");
    let library = folder.join("libmimalloc3.so");
    if library.exists() {
        return Ok(library);
    }
    // Under another name until it is whole: a run that was killed leaves no half of a library.
    let part = folder.join(format!("libmimalloc3.{}", std::process::id()));
    let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compile.args(["-O3", "-DNDEBUG", "-DMI_MALLOC_OVERRIDE", "-DMI_SHARED_LIB"]);
    compile.args(["-DMI_SHARED_LIB_EXPORT", "-shared", "-fPIC", "-fvisibility=hidden"]);
    compile.args(["-ftls-model=initial-exec", "-fno-builtin-malloc", "-pthread", "-I"]);
    compile.arg(sources.join("include")).arg("-o").arg(&part).arg(sources.join("src/static.c"));
    let output = compile.output().map_err(|error| format!("cannot run a C compiler: {error}"))?;
    if !output.status.success() {
        return Err(format!("it does not build: {}", String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::rename(&part, &library).map_err(|error| format!("{}: {error}", part.display()))?;
    Ok(library)
}

/// Where cargo has put the sources of a crate of the benchmarks.
fn sources(root: &Path, name: &str) -> Result<PathBuf, String> {
    let mut ask = cargo::command(&root.join("bench"));
    ask.args(["metadata", "--locked", "--format-version", "1", "--features"]);
    ask.args(["bench-alloc/mimalloc3", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = ask.output().map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let packages = answer["packages"].as_array().into_iter().flatten();
    let mut manifests = packages
        .filter(|package| package["name"] == name)
        .filter_map(|package| package["manifest_path"].as_str());
    let manifest = manifests.next().ok_or_else(|| format!("{name} is in no lock file"))?;
    Ok(Path::new(manifest).with_file_name(""))
}
