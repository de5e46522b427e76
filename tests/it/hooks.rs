//! `hooks`: installed where git looks, beside what is there, and taken away without a trace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::fixture::{Fixture, Seen};
use crate::hook::{Project, config};

/// A project without any hook.
fn project() -> Project {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    fs::remove_dir_all(project.repo.path(".git/hooks")).unwrap();
    project
}

fn install(project: &Project, words: &str) -> Seen {
    project.repo.orchestrate(&format!("hooks install {words}"))
}

/// Returns every file of a folder with its mode and its bytes.
fn look(folder: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    // Whoever is killed while it writes leaves what nobody looks at.
    let is_temporary = |entry: &walkdir::DirEntry| entry.file_name().to_string_lossy().starts_with(".tmp-");
    let files = entries.filter(|entry| !entry.file_type().is_dir() && !is_temporary(entry));
    files
        .map(|entry| {
            let mode = entry.path().symlink_metadata().unwrap().permissions().mode();
            (entry.path().display().to_string(), mode, fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

fn write_hook(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_hook_is_installed_fires_and_is_taken_away_again() {
    let project = project();
    let repo = &project.repo;
    assert_eq!(repo.orchestrate("hooks status").code, 1);
    let seen = install(&project, "");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("installed  pre-push  "), "{seen}");
    let again = install(&project, "pre-push --format json").json();
    assert_eq!((&again["hooks"][0]["changed"], &again["hooks"][0]["how"]), (&json!(false), &json!("file")));
    let status = repo.orchestrate("hooks status --format json");
    assert_eq!((status.code, &status.json()["worktrees"][0]["hooks"][0]["fires"]), (0, &json!(true)));
    project.commit("second");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("never ran on this tree"), "{seen}");
    let seen = repo.orchestrate("hooks uninstall");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!repo.path(".git/hooks/pre-push").exists());
    assert_eq!(project.git("push origin main").code, 0);
    assert!(repo.orchestrate("hooks uninstall").stdout.contains("nothing of ours"));
}

#[test]
fn a_hook_that_is_there_runs_first_and_comes_back_byte_for_byte() {
    let project = project();
    let repo = &project.repo;
    let theirs = "#!/bin/sh\nprintf '%s|' \"$@\" > \"$HOME/args\"; cat > \"$HOME/input\"; test ! -e \"$HOME/refuses\"\n";
    write_hook(&repo.path(".git/hooks/pre-push"), theirs, 0o700);
    write_hook(&repo.path(".git/hooks/pre-commit"), "#!/bin/sh\n", 0o755);
    let before = look(&repo.path(".git/hooks"));
    let seen = install(&project, "");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("pre-push.before-orchestrate"), "{seen}");
    let commit = project.commit("second");
    project.run("HEAD");
    // A dry run of ours runs nobody else's hook.
    assert_eq!(repo.orchestrate("hooks status").code, 0);
    assert!(!repo.beside("args").exists());
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("proven  main"), "{seen}");
    let first = repo.git(&["rev-parse", "HEAD~1"]);
    let remote = project.remote.display();
    assert_eq!(fs::read_to_string(repo.beside("args")).unwrap(), format!("origin|{remote}|"));
    let input = format!("refs/heads/main {commit} refs/heads/main {first}\n");
    assert_eq!(fs::read_to_string(repo.beside("input")).unwrap(), input);
    // It may say no, and then we are not asked.
    fs::write(repo.beside("refuses"), "").unwrap();
    let seen = project.git("push origin HEAD:refs/heads/x");
    assert!(seen.code == 1 && !seen.stderr.contains("proven"), "{seen}");
    // Twice is once.
    assert_eq!(install(&project, "").code, 0);
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert_eq!(look(&repo.path(".git/hooks")), before);
}

#[test]
fn a_hook_that_may_not_be_run_and_a_link_come_back_too() {
    let project = project();
    let repo = &project.repo;
    write_hook(&repo.path(".git/hooks/pre-push"), "#!/bin/sh\nexit 1\n", 0o644);
    let before = look(&repo.path(".git/hooks"));
    assert_eq!(install(&project, "").code, 0);
    project.commit("second");
    project.run("HEAD");
    assert_eq!(project.git("push origin main").code, 0);
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert_eq!(look(&repo.path(".git/hooks")), before);
    fs::remove_file(repo.path(".git/hooks/pre-push")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", repo.path(".git/hooks/pre-push")).unwrap();
    assert_eq!(install(&project, "").code, 0);
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert_eq!(fs::read_link(repo.path(".git/hooks/pre-push")).unwrap(), Path::new("../../elsewhere"));
}

#[test]
fn the_folder_that_counts_is_found_in_every_scope() {
    let project = project();
    let repo = &project.repo;
    // An absolute one, for all worktrees.
    let shared = repo.beside("my hooks");
    repo.git(&["config", "core.hooksPath", shared.to_str().unwrap()]);
    assert_eq!(install(&project, "").code, 0);
    assert!(shared.join("pre-push").exists() && !repo.path(".git/hooks/pre-push").exists());
    assert_eq!(repo.orchestrate("hooks status").code, 0);
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert!(!shared.join("pre-push").exists());
    // A relative one is another folder in each worktree.
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    repo.git(&["config", "core.hooksPath", ".my-hooks"]);
    let seen = install(&project, "");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(
        repo.path(".my-hooks/pre-push").exists() && seen.stdout.contains("warning: the worktree"),
        "{seen}"
    );
    let status = repo.orchestrate("hooks status");
    assert!(status.code == 1 && status.stdout.contains("SILENT"), "{status}");
    assert_eq!(repo.orchestrate_in(&linked, "hooks install").code, 0);
    let status = repo.orchestrate("hooks status");
    assert_eq!(status.code, 0, "{status}");
    // And one worktree may have its own.
    repo.git(&["config", "extensions.worktreeConfig", "true"]);
    let own = repo.beside("own");
    let words =
        ["-C", linked.to_str().unwrap(), "config", "--worktree", "core.hooksPath", own.to_str().unwrap()];
    repo.git(&words);
    let status = repo.orchestrate("hooks status");
    assert_eq!(status.code, 1, "{status}");
    assert_eq!(repo.orchestrate_in(&linked, "hooks install").code, 0);
    assert!(own.join("pre-push").exists());
    assert_eq!(repo.orchestrate("hooks status").code, 0);
    // Turned off is not installed.
    repo.git(&["config", "core.hooksPath", "/dev/null"]);
    let seen = install(&project, "");
    assert!(seen.code == 3 && seen.stderr.contains("hooks are turned off"), "{seen}");
}

#[test]
fn what_belongs_to_others_is_left_alone_and_they_are_named() {
    for (path, text, tracked, name, mend) in [
        (".githooks/pre-commit", "#!/bin/sh\n", true, "git, which tracks it", "git add .githooks/pre-push"),
        (
            ".husky/_/h",
            "#!/bin/sh\n",
            false,
            "husky",
            "echo 'git orchestrate hook pre-push \"$@\"' >> .husky/pre-push",
        ),
        (
            ".git/hooks/pre-push",
            "#!/bin/sh\nif [ \"$LEFTHOOK\" = 0 ]; then exit; fi\n",
            false,
            "lefthook",
            "use_stdin: true",
        ),
        (
            ".git/hooks/pre-push",
            "#!/bin/sh\n# File generated by pre-commit: https://pre-commit.com\n",
            false,
            "pre-commit",
            "entry: git orchestrate hook pre-push",
        ),
    ] {
        let project = project();
        let repo = &project.repo;
        write_hook(&repo.path(path), text, 0o755);
        if tracked {
            repo.git(&["add", path]);
        }
        if !path.starts_with(".git/") {
            let folder = Path::new(path).parent().unwrap();
            repo.git(&["config", "core.hooksPath", folder.to_str().unwrap()]);
        }
        let folder = repo.path(path).parent().unwrap().to_owned();
        let before = look(&folder);
        let seen = install(&project, "");
        assert_eq!(seen.code, 3, "{name}: {seen}");
        assert!(
            seen.stderr.contains(&format!("belongs to {name}")) && seen.stderr.contains(mend),
            "{name}: {seen}"
        );
        assert_eq!(look(&folder), before, "{name}");
        let seen = repo.orchestrate("doctor");
        assert!(seen.stdout.contains("`pre-push` does not fire: "), "{name}: {seen}");
    }
}

/// Returns the search path with a folder that has the program as `git-orchestrate`.
fn path_with_us(repo: &Fixture) -> String {
    let folder = repo.beside("bin");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_git-orchestrate"), folder.join("git-orchestrate"))
        .unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

const PRE_COMMIT: &str = ".pre-commit-config.yaml";

/// Another tool for hooks.
struct Tool {
    name: &'static str,
    /// The word that makes it answer if it is there; husky takes every word for a folder.
    version: &'static str,
    install: &'static [&'static str],
    /// Its configuration, to begin with.
    file: &'static str,
    text: &'static str,
}

/// Does what is said about another tool's hooks, with that tool if it is on this machine.
#[test]
fn other_tools_call_us_when_they_are_told_so() {
    let local = "repos:\n- repo: local\n  hooks:\n  - {id: t, name: t, entry: 'true', language: system, stages: [pre-push]}\n";
    let tools = [
        Tool {
            name: "prek",
            version: "--version",
            install: &["install", "-t", "pre-push"],
            file: PRE_COMMIT,
            text: local,
        },
        Tool {
            name: "pre-commit",
            version: "--version",
            install: &["install", "-t", "pre-push"],
            file: PRE_COMMIT,
            text: local,
        },
        Tool {
            name: "lefthook",
            version: "version",
            install: &["install"],
            file: "lefthook.yml",
            text: "pre-push:\n  commands:\n    x:\n      run: 'true'\n",
        },
        Tool { name: "husky", version: "", install: &[], file: "package.json", text: "{\"name\": \"x\"}\n" },
    ];
    for Tool { name: tool, version, install: words, file, text } in tools {
        let install_words = [&[tool], words].concat();
        let project = project();
        let repo = &project.repo;
        let path = path_with_us(repo);
        let run =
            |words: &[&str]| repo.see(repo.command("env").env("PATH", &path).env("CI", "false").args(words));
        let answer = match version {
            "" => run(&["sh", "-c", &format!("command -v {tool}")]),
            version => run(&[tool, version]),
        };
        if answer.code != 0 {
            println!("({tool} is not here: left out)");
            continue;
        }
        repo.write(file, text);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", tool]);
        let seen = run(&install_words);
        assert_eq!(seen.code, 0, "{tool}: {seen}");
        let seen = install(&project, "");
        assert!(seen.code == 3 && seen.stderr.contains(&format!("belongs to {tool}")), "{tool}: {seen}");
        // What is said after the first line is what to write, or to type.
        let said = seen.stderr.split_once("hint: ").expect("a hint").1;
        let (first, rest) = said.split_once('\n').expect("a line");
        match tool {
            "husky" => drop(run(&["sh", "-c", first])),
            "lefthook" => repo.write(file, rest),
            _ => repo.write(file, &format!("repos:\n{rest}")),
        }
        assert_eq!(run(&install_words).code, 0, "{tool}");
        let status = repo.orchestrate("hooks status");
        assert!(status.code == 0 && status.stdout.contains(" named  pre-push"), "{tool}: {status}");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "as we were told"]);
        let seen = run(&["git", "push", "origin", "main"]);
        assert!(seen.code == 1 && seen.to_string().contains("never ran on this tree"), "{tool}: {seen}");
        project.run("HEAD");
        let seen = run(&["git", "push", "origin", "main"]);
        assert_eq!(seen.code, 0, "{tool}: {seen}");
    }
}

#[test]
fn whoever_is_killed_leaves_a_hook_that_runs() {
    let theirs = "#!/bin/sh\necho called >> \"$HOME/called\"\n";
    for words in ["hooks install", "hooks uninstall"] {
        for step in 1.. {
            let project = project();
            let repo = &project.repo;
            let hook = repo.path(".git/hooks/pre-push");
            write_hook(&hook, theirs, 0o750);
            let before = look(&repo.path(".git/hooks"));
            if words == "hooks uninstall" {
                assert_eq!(install(&project, "").code, 0);
            }
            let mut command = repo.program();
            command.env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()).args(words.split(' '));
            let was_killed = repo.see(&mut command).code != 0;
            // It is called, whoever's hook it is by now.
            project.git("push --dry-run origin HEAD:refs/heads/x");
            assert_eq!(fs::read_to_string(repo.beside("called")).unwrap(), "called\n", "{words} {step}");
            assert_eq!(install(&project, "").code, 0, "{words} {step}");
            assert_eq!(repo.orchestrate("hooks uninstall").code, 0, "{words} {step}");
            assert_eq!(look(&repo.path(".git/hooks")), before, "{words} {step}");
            if !was_killed {
                assert!(step > 1, "{words} has steps");
                break;
            }
        }
    }
}

#[test]
fn a_link_to_a_folder_that_git_tracks_is_one() {
    let project = project();
    let repo = &project.repo;
    write_hook(&repo.path("hooks/pre-commit"), "#!/bin/sh\n", 0o755);
    repo.git(&["add", "hooks"]);
    std::os::unix::fs::symlink("../hooks", repo.path(".git/hooks")).unwrap();
    let seen = install(&project, "");
    assert!(seen.code == 3 && seen.stderr.contains("belongs to git, which tracks it"), "{seen}");
    assert!(!repo.path("hooks/pre-push").exists());
}

#[test]
fn nothing_is_overwritten_by_a_second_install() {
    let project = project();
    let repo = &project.repo;
    write_hook(&repo.path(".git/hooks/pre-push"), "#!/bin/sh\n# theirs\n", 0o755);
    assert_eq!(install(&project, "").code, 0);
    // Somebody puts another one in our place.
    write_hook(&repo.path(".git/hooks/pre-push"), "#!/bin/sh\n# a later one\n", 0o755);
    let before = look(&repo.path(".git/hooks"));
    let seen = install(&project, "");
    assert_eq!(seen.code, 3, "{seen}");
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert_eq!(look(&repo.path(".git/hooks")), before);
}

#[test]
fn a_file_where_the_folder_of_hooks_belongs_is_called_by_its_name() {
    let project = project();
    let repo = &project.repo;
    assert!(!repo.path(".git/hooks").exists());
    repo.write(".git/hooks", "");
    let seen = install(&project, "");
    assert!(seen.code == 3 && seen.stderr.contains("/.git/hooks` is no folder"), "{seen}");
    assert!(seen.stderr.contains("move it out of the way") && !seen.stderr.contains("hooksPath"), "{seen}");
    let seen = repo.orchestrate("hooks status");
    assert!(seen.code == 1 && seen.stdout.contains("/.git/hooks` is no folder"), "{seen}");
    repo.git(&["config", "core.hooksPath", "/dev/null"]);
    let seen = install(&project, "");
    assert!(seen.code == 3 && seen.stderr.contains("`core.hooksPath` is `/dev/null`"), "{seen}");
}

#[test]
fn a_hook_that_cannot_be_run_or_lost_its_program_is_told() {
    let project = project();
    let repo = &project.repo;
    assert_eq!(install(&project, "").code, 0);
    let hook = repo.path(".git/hooks/pre-push");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    let seen = repo.orchestrate("hooks status");
    assert!(seen.code == 1 && seen.stdout.contains("may not be run"), "{seen}");
    let text = fs::read_to_string(&hook).unwrap();
    write_hook(&hook, &text.replace(env!("CARGO_BIN_EXE_git-orchestrate"), "/gone"), 0o755);
    let seen = repo.orchestrate("hooks status");
    assert!(seen.code == 1 && seen.stdout.contains("git-orchestrate is not there any more"), "{seen}");
    // Who installs again mends it.
    assert_eq!(install(&project, "").code, 0);
    assert_eq!(repo.orchestrate("hooks status").code, 0);
    let seen = repo.orchestrate("hooks install pre-receive");
    assert_eq!(seen.code, 2, "{seen}");
}

/// Lets the program see a git that calls itself newer.
fn newer(repo: &Fixture, words: &str) -> Seen {
    let folder = repo.beside("newer");
    let real = repo.command("sh").args(["-c", "command -v git"]).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let text = format!(
        "#!/bin/sh\nfor word; do case $word in --version) echo git version 2.54.0; exit;; esac; done\nexec {} \"$@\"\n",
        real.trim()
    );
    write_hook(&folder.join("git"), &text, 0o755);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let global = repo.beside("gitconfig");
    let mut command = repo.program();
    command.env("PATH", path).env("GIT_CONFIG_GLOBAL", global).args(words.split_whitespace());
    repo.see(&mut command)
}

#[test]
fn a_newer_git_is_told_in_its_configuration() {
    let project = project();
    let repo = &project.repo;
    let before = repo.read(".git/config");
    let seen = newer(repo, "hooks install");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("git's configuration of this repository"), "{seen}");
    assert!(!repo.path(".git/hooks/pre-push").exists());
    let command = repo.git(&["config", "--local", "hook.orchestrate-pre-push.command"]);
    assert!(command.ends_with("; \"$p\" hook pre-push"), "{command}");
    assert_eq!(repo.git(&["config", "--local", "hook.orchestrate-pre-push.event"]), "pre-push");
    // The command is one that a shell takes, as git does: with the arguments behind it.
    let line = format!("{command} \"$@\"");
    let seen = repo.see(
        repo.command("sh").env("GIT_ORCHESTRATE_PROBE", "1").args(["-c", &line, "x", "origin", "there"]),
    );
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("hook pre-push was called"), "{seen}");
    assert!(newer(repo, "hooks install --format json").json()["hooks"][0]["changed"] == json!(false));
    // For all repositories as well, both would fire.
    let seen = newer(repo, "hooks install --global");
    assert!(seen.code == 0 && seen.stdout.contains("both would fire"), "{seen}");
    let global = fs::read_to_string(repo.beside("gitconfig")).unwrap();
    assert!(global.contains("hook pre-push --if-configured"), "{global}");
    assert_eq!(newer(repo, "hooks uninstall --global").code, 0);
    assert_eq!(newer(repo, "hooks uninstall").code, 0);
    assert_eq!(repo.read(".git/config"), before);
    assert_eq!(fs::read_to_string(repo.beside("gitconfig")).unwrap(), "");
}

#[test]
fn a_folder_of_all_repositories_takes_a_hook_that_is_silent_where_nobody_wants_one() {
    let project = project();
    let repo = &project.repo;
    let (folder, global) = (repo.beside("all"), repo.beside("gitconfig"));
    let run = |words: &str| {
        repo.see(repo.program().env("GIT_CONFIG_GLOBAL", &global).args(words.split_whitespace()))
    };
    fs::write(&global, format!("[core]\n\thooksPath = {}\n", folder.display())).unwrap();
    let seen = run("hooks install");
    assert!(seen.code == 3 && seen.stderr.contains("hooks install --global"), "{seen}");
    assert_eq!(run("hooks install --global").code, 0);
    let push = |repo: &Fixture| {
        let mut command = repo.command("git");
        repo.see(command.env("GIT_CONFIG_GLOBAL", &global).args([
            "push",
            "--dry-run",
            "origin",
            "HEAD:refs/heads/x",
        ]))
    };
    project.commit("second");
    assert_eq!(push(repo).code, 1);
    // Here nobody asks for anything.
    let plain = Project::with(&json!({"pipelines": config(json!({}))["pipelines"]}));
    fs::remove_dir_all(plain.repo.path(".git/hooks")).unwrap();
    plain.commit("second");
    let seen = push(&plain.repo);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(run("hooks uninstall --global").code, 0);
    assert!(!folder.join("pre-push").exists());
}

#[test]
fn a_folder_of_ours_stands_in_for_those_of_all_repositories_and_calls_them() {
    let project = project();
    let repo = &project.repo;
    let (folder, global) = (repo.beside(".config/git/orchestrate-hooks"), repo.beside("gitconfig"));
    let run = |words: &str| {
        repo.see(repo.program().env("GIT_CONFIG_GLOBAL", &global).args(words.split_whitespace()))
    };
    for before in ["", "[user]\n\tname = A\n", "# mine\n[core]\n\teditor = vi\n"] {
        fs::write(&global, before).unwrap();
        // Nothing that was there may be lost: neither hooks, nor what they are told.
        let theirs = "#!/bin/sh\nprintf '%s|' \"$@\" > \"$HOME/args\"; cat > \"$HOME/input\"\n";
        write_hook(&repo.path(".git/hooks/pre-push"), theirs, 0o755);
        write_hook(&repo.path(".git/hooks/prepare-commit-msg"), "#!/bin/sh\necho theirs >> \"$1\"\n", 0o755);
        write_hook(&repo.path(".git/hooks/post-merge"), "#!/bin/sh\n", 0o644);
        let own = look(&repo.path(".git/hooks"));
        let seen = run("hooks install --global");
        assert_eq!(seen.code, 0, "{seen}");
        assert!(seen.stdout.contains("`core.hooksPath` is set for all of your repositories now"), "{seen}");
        assert_eq!(run("hooks install --global --format json").json()["hooks"][0]["changed"], json!(false));
        let status = run("hooks status");
        assert_eq!(status.code, 0, "{status}");
        repo.write("note", &format!("{}\n", before.len()));
        repo.git(&["add", "--all"]);
        let git =
            |words: &[&str]| repo.see(repo.command("git").env("GIT_CONFIG_GLOBAL", &global).args(words));
        assert_eq!(git(&["commit", "--quiet", "--message", "second"]).code, 0);
        assert!(repo.git(&["log", "-1", "--format=%B"]).contains("theirs"));
        let seen = git(&["push", "--dry-run", "origin", "HEAD:refs/heads/x"]);
        assert!(seen.code == 1 && seen.stderr.contains("never ran on this tree"), "{seen}");
        let head = repo.git(&["rev-parse", "HEAD"]);
        assert!(fs::read_to_string(repo.beside("input")).unwrap().contains(&head));
        assert!(fs::read_to_string(repo.beside("args")).unwrap().starts_with("origin|"));
        // One of the repository itself answers alone.
        let seen = run("hooks install");
        assert!(seen.code == 0 && seen.stdout.contains("for all repositories too"), "{seen}");
        // It names nothing to type that was typed just now.
        assert!(!seen.stdout.contains("orchestrate hooks install"), "{seen}");
        let seen = git(&["push", "--dry-run", "origin", "HEAD:refs/heads/x"]);
        assert_eq!(seen.stderr.matches("REFUSED").count(), 1, "{seen}");
        assert_eq!(run("hooks uninstall").code, 0);
        assert_eq!(look(&repo.path(".git/hooks")), own);
        let seen = run("hooks uninstall --global");
        assert_eq!(seen.code, 0, "{seen}");
        assert!(seen.stdout.contains("removed  pre-push"), "{seen}");
        assert_eq!(fs::read_to_string(&global).unwrap(), before);
        assert!(!folder.exists());
        assert_eq!(look(&repo.path(".git/hooks")), own);
        assert!(run("hooks uninstall --global").stdout.contains("nothing of ours"));
    }
    // What is not ours in it stays.
    fs::write(&global, "").unwrap();
    write_hook(&folder.join("pre-push"), "#!/bin/sh\n", 0o755);
    let seen = run("hooks install --global");
    assert!(seen.code == 3 && seen.stderr.contains("is there already, and is not ours"), "{seen}");
    assert_eq!(run("hooks uninstall --global").code, 0);
    assert_eq!(look(&folder).len(), 1);
}
