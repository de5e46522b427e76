//! The manual pages, and what `--version` says.

use std::path::Path;
use std::process::Command;

use crate::fixture::Fixture;

fn has_man() -> bool {
    let found = Command::new("man").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: `man` is not installed");
    }
    found
}

#[test]
fn after_one_line_git_help_shows_the_page() {
    let repo = Fixture::new("passing");
    let bin = repo.beside(".local/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join("git-orchestrate");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_git-orchestrate"), &program).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |program: &str, words: &[&str]| {
        repo.see(
            repo.command(program).env("PATH", &path).env("MANPAGER", "cat").env("PAGER", "cat").args(words),
        )
    };

    let seen = run("git-orchestrate", &["man", "--install"]);

    assert_eq!(seen.code, 0, "{seen}");
    let pages = repo.beside(".local/share/man/man1");
    assert!(
        pages.join("git-orchestrate.1").is_file() && pages.join("git-orchestrate-start.1").is_file(),
        "{seen}"
    );
    assert!(!seen.stdout.contains("MANPATH"), "it is where `man` looks: {seen}");
    assert!(!pages.join("git-orchestrate-complete-words.1").exists(), "hidden requests have no page");
    if has_man() {
        let found = run("man", &["-w", "git-orchestrate"]).stdout;
        assert_eq!(found.trim(), pages.join("git-orchestrate.1").to_str().unwrap());
        for words in [&["help", "orchestrate"][..], &["orchestrate", "--help"]] {
            let seen = run("git", words);
            assert_eq!(seen.code, 0, "{seen}");
            assert!(seen.stdout.contains("pipelines"), "{seen}");
        }
    }
}

#[test]
fn pages_go_where_they_are_told_to() {
    let repo = Fixture::new("passing");

    let seen = repo.see(repo.program().env("XDG_DATA_HOME", repo.beside("data")).args(["man", "--install"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert!(repo.beside("data/man/man1/git-orchestrate.1").is_file());
    assert!(seen.stdout.contains("export MANPATH="), "`man` does not look there by itself: {seen}");

    assert_eq!(repo.orchestrate("man --out pages").code, 0);
    assert!(
        repo.read("pages/git-orchestrate-list.1").contains("--limit")
            || repo.read("pages/git-orchestrate-list.1").contains("limit")
    );
    assert!(repo.orchestrate("man").stdout.contains(".TH"));
    assert_eq!(repo.orchestrate("man --out -").stdout, repo.orchestrate("man").stdout);
    assert_eq!(repo.orchestrate("man start").stdout, repo.read("pages/git-orchestrate-start.1"));
    let seen = repo.orchestrate("man nothing");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("hint: there is one of each: init, doctor, start"), "{seen}");
}

#[test]
fn every_request_and_flag_has_a_help_text() {
    let repo = Fixture::new("passing");
    repo.orchestrate("man --out pages");
    for page in repo.tree("pages") {
        let text = repo.read(&format!("pages/{page}"));
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if *line == ".TP" {
                let about = lines.get(at + 2).copied().unwrap_or_default();
                assert!(!about.is_empty() && !about.starts_with('.'), "{page}: {}", lines[at + 1]);
            }
        }
    }
}

#[test]
fn the_version_names_commit_and_features() {
    let repo = Fixture::new("passing");
    let seen = repo.orchestrate("--version");
    assert_eq!(repo.orchestrate("-V").stdout, seen.stdout);
    let begin = format!("git-orchestrate {} (", env!("CARGO_PKG_VERSION"));
    let said = seen.stdout.strip_prefix(&begin).unwrap_or_else(|| panic!("{begin}: {seen}"));
    let (commit, features) = said.split_once("; ").expect("commit and features");
    assert!(features.starts_with("sha1, sha256") && features.ends_with(")\n"), "{seen}");
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists() {
        eprintln!("skipped: these sources are not in a repository of their own");
        return;
    }
    // Whoever commits while tests run has another HEAD by now.
    let (id, date) = commit.split_once(' ').expect("commit and date");
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "log", "-1", "--no-show-signature", "--format=%cs", id])
        .output()
        .expect("git");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), date, "{seen}");
}
