//! Completion, as shells do it.

use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, Seen};

fn template(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/completions").join(name)
}

/// Completes the last of the words in a real bash, by our function or by git's, if there is one on this machine.
fn bash(repo: &Fixture, words: &[&str]) -> Vec<String> {
    let bin = repo.beside("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let link = bin.join("git-orchestrate");
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_git-orchestrate"), &link).unwrap();
    }
    let script = r#"
        set -u
        source "$SCRIPT"
        COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        COMPREPLY=()
        if [[ $1 != git ]]; then
            __git_orchestrate_program "$1" "${!#}" ""
        elif [[ -n $GIT_COMPLETION ]]; then
            set +u
            source "$GIT_COMPLETION"
            __git_wrap__git_main
        else
            words=("$@") cword=$COMP_CWORD cur=${!#} __git_cmd_idx=1
            _git_orchestrate
        fi
        printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
    "#;
    let of_git = ["/usr/share/bash-completion/completions/git", "/etc/bash_completion.d/git"];
    let of_git = of_git.into_iter().find(|path| Path::new(path).is_file()).unwrap_or_default();
    if of_git.is_empty() {
        eprintln!("skipped: git's own completion is not installed; only our function is called");
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let seen = repo.see(
        repo.command("bash")
            .env("PATH", path)
            .env("SCRIPT", template("git-orchestrate.bash"))
            .env("GIT_COMPLETION", of_git)
            .args(["--norc", "--noprofile", "-c", script, "bash"])
            .args(words),
    );
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    seen.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_requests_flags_and_names_under_every_name_of_the_program() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start --task 0042");
    let run = repo.runs("0042")[0].file_name().unwrap().to_str().unwrap().to_owned();
    for program in [&["git", "orchestrate"][..], &["git-orchestrate"]] {
        let complete = |words: &[&str]| bash(&repo, &[program, words].concat());
        assert_eq!(complete(&["sta"]), ["start", "status"]);
        assert_eq!(complete(&["list", "--sta"]), ["--status"]);
        assert_eq!(complete(&["list", "--status", "fa"]), ["failed"]);
        assert_eq!(complete(&["start", "dia"]), ["diagnostics"]);
        assert_eq!(complete(&["start", "--target", "te"]), ["test"]);
        // bash splits at `=`, and replaces what comes after it.
        assert_eq!(complete(&["start", "--target", "=", "te"]), ["test"]);
        assert_eq!(complete(&["start", "--target", "="]), ["build", "test"]);
        assert_eq!(complete(&["status", "--task", ""]), ["0042"]);
        assert_eq!(complete(&["logs", &run[..12]]), [run.as_str()]);
        assert_eq!(complete(&["status", "lat"]), ["latest"]);
        assert_eq!(complete(&["no-such-request", "x"]), [] as [&str; 0]);
        assert!(!complete(&[""]).contains(&"complete-words".to_owned()));
    }
}

#[test]
fn a_name_that_a_repository_chose_stays_one_harmless_word() {
    let config = serde_json::json!({"pipelines": [{"id": "diagnostics", "stages": [
        {"kind": "command", "id": "a $(touch evil)", "title": "T\u{1b}[2J\nnext", "command": "true"},
    ]}]});
    let repo = Fixture::with_config(&config);

    assert_eq!(bash(&repo, &["git-orchestrate", "start", "--target", "a"]), [r"a\ \$\(touch\ evil\)"]);
    assert!(!repo.path("evil").exists());
    let seen = repo.orchestrate("complete-words --index 3 -- git-orchestrate start --target a");
    assert_eq!(seen.stdout.lines().count(), 1, "{seen}");
    assert!(!seen.stdout.contains('\u{1b}'), "{seen}");
}

#[test]
fn outside_of_a_repository_only_what_the_program_knows_is_offered() {
    let repo = Fixture::new("passing");
    let words = |words: &str| repo.orchestrate_in(&repo.beside(""), words);

    let seen: Seen = words("complete-words --index 2 -- git-orchestrate status --f");
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""));
    assert!(seen.stdout.contains("--format\t"), "{seen}");
    let seen = words("complete-words --index 2 -- git-orchestrate status lat");
    assert_eq!((seen.code, seen.stdout.as_str(), seen.stderr.as_str()), (0, "", ""));
    let seen = words("complete-words --index 99999999 -- git-orchestrate");
    assert_eq!((seen.code, seen.stdout.as_str()), (0, ""));
}

#[test]
fn the_scripts_are_printed_and_their_shells_can_read_them() {
    let repo = Fixture::new("passing");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let file = template(&format!("git-orchestrate.{shell}"));
        let seen = repo.orchestrate(&format!("completions {shell}"));
        assert_eq!((seen.code, seen.stdout), (0, std::fs::read_to_string(&file).unwrap()));
        match repo.command(shell).arg(check).arg(&file).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => eprintln!("skipped: {shell} is not installed"),
        }
    }
}
