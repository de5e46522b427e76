//! Tells the program what it was built from, for `--version`: commit, its date, and features.
#![allow(clippy::disallowed_methods, reason = "a build script stands outside of the program")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let commit = of_git(&root).or_else(|| of_package(&root)).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rustc-env=GIT_ORCHESTRATE_COMMIT={commit}");
    println!("cargo::rustc-env=GIT_ORCHESTRATE_FEATURES={}", features().join(", "));
    if is_gnu_linux() {
        place_at_a_fixed_address();
        link_the_unwinder();
    }
}

fn is_gnu_linux() -> bool {
    let target = ["OS", "ENV"].map(|of| std::env::var(format!("CARGO_CFG_TARGET_{of}")));
    matches!(target.each_ref().map(|of| of.as_deref()), [Ok("linux"), Ok("gnu")])
}

/// Lets the linker lay out the programs for one address. The tables in them hold some 20,000 pointers, which else
/// are written anew each time one starts, page by page: a third of the time of a short command. Libraries, stack
/// and heap still lie elsewhere each time.
fn place_at_a_fixed_address() {
    println!("cargo::rustc-link-arg-bins=-no-pie");
}

/// Takes what unwinds the stack from the compiler's archive instead of its shared library, if both lie there: one
/// library less is found, mapped and bound whenever a program starts, which is a tenth of the time of a short command.
fn link_the_unwinder() {
    // Without the archive, the name is printed as it was given.
    let cc = std::env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let found = Command::new(cc).arg("-print-file-name=libgcc_eh.a").stderr(Stdio::null()).output();
    if found.is_ok_and(|it| it.status.success() && it.stdout.starts_with(b"/")) {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Returns commit and date of the repository whose top this folder is. Sources that were unpacked
/// somewhere inside another repository are not of that one's commit.
fn of_git(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // The reflog grows whenever HEAD comes to another commit, and only then. Where there is none, HEAD and
    // what it names have to do. A path that does not exist would make cargo run this every time.
    let path = |name: &str| git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
    let log = path("logs/HEAD").filter(|path| path.exists());
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let watched = match log {
        Some(log) => vec![log],
        None => ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()).filter_map(path).collect(),
    };
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    git(root, &["log", "-1", "--no-show-signature", "--abbrev=7", "--format=%h %cs", "HEAD"])
}

/// Returns the commit that `cargo package` wrote into the archive.
fn of_package(root: &Path) -> Option<String> {
    let path = root.join(".cargo_vcs_info.json");
    let text = std::fs::read_to_string(&path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    let (_, rest) = text.split_once("\"sha1\"")?;
    let id = rest.split('"').nth(1)?;
    let short = id.get(..7)?;
    short.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| short.to_owned())
}

/// Returns what this build can do beyond the plainest one: object formats, features of ours, and whether it is
/// one for debugging, which can be told to fail.
fn features() -> Vec<String> {
    let mut features = vec!["sha1".to_owned(), "sha256".to_owned()];
    let ours = std::env::vars_os().filter_map(|(name, _)| {
        let name = name.to_str()?.strip_prefix("CARGO_FEATURE_")?;
        (name != "DEFAULT").then(|| name.to_ascii_lowercase().replace('_', "-"))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    features.extend(ours);
    if std::env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_some() {
        features.push("debug".to_owned());
    }
    features
}

/// Runs git and returns the one line that it printed. A hook's variables are about another repository.
fn git(root: &Path, words: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command
        .arg("-C")
        .arg(root)
        .args(words)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim_end().to_owned();
    (output.status.success() && !line.is_empty() && !line.contains('\n')).then_some(line)
}
