//! Completion, as shells do it.

use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, Seen};

fn template(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/completions").join(name)
}

/// Returns a PATH on which the program is, under both of its names.
fn path(repo: &Fixture) -> String {
    let bin = repo.beside("bin");
    std::fs::create_dir_all(&bin).unwrap();
    for name in ["git-orchestrate", "codex-orchestrator"] {
        let link = bin.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_git-orchestrate"), &link).unwrap();
        }
    }
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// Completes the end of a line in a real shell that is set up as the README says; nothing if it is not installed.
fn complete(repo: &Fixture, shell: &str, line: &str) -> Option<Vec<String>> {
    let mut command = repo.command(shell);
    command.env("PATH", path(repo)).env("TERM", "xterm");
    match shell {
        "fish" => {
            let folder = repo.beside(".config/fish/conf.d");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(template("git-orchestrate.fish"), folder.join("git-orchestrate.fish")).unwrap();
            command.args(["-c", "complete -C $argv[1]", line]);
        }
        _ => {
            let folder = repo.beside("functions");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(template("git-orchestrate.zsh"), folder.join("_git-orchestrate")).unwrap();
            let setup = repo.beside("setup.zsh");
            std::fs::write(&setup, ZSH_INSIDE).unwrap();
            command.env("FOLDER", folder).env("SETUP", setup).args(["-f", "-c", ZSH, "zsh", line]);
        }
    }
    let Ok(output) = command.output() else {
        eprintln!("skipped: {shell} is not installed");
        return None;
    };
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shell}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    // After a tab fish describes it.
    let words = stdout.lines().map(|line| line.trim_end_matches('\r').split('\t').next().unwrap_or_default());
    Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// Types a line and a tab into a zsh on a terminal of its own, and prints what that one offers.
const ZSH: &str = r#"
    zmodload zsh/zpty || exit
    zpty inner zsh -f -i
    zpty -w inner "source ${(q)SETUP}"
    zpty -r inner line "*ready?*"
    zpty -w -n inner "$1"$'\t'
    zpty -r inner line $'*\001*\001*'
    line=${line#*$'\001'}
    print -r -- ${line%%$'\001'*}
"#;

/// Makes a zsh print each word that it would offer, between two marks.
const ZSH_INSIDE: &str = r#"
    PROMPT= PS2=
    fpath=($FOLDER $fpath)
    autoload -Uz compinit && compinit -D -u
    stty -echo
    setopt no_beep
    mark () { print -rn -- $'\001' }
    compprefuncs=(mark) comppostfuncs=(mark)
    compadd () {
        # Whoever only wants to know what would match offers nothing.
        if [[ " ${@[1,(i)(-|--)]} " == *' -'(O|A|D|OA|AO)' '* ]]; then
            builtin compadd "$@"
            return
        fi
        local -a hits
        builtin compadd -A hits "$@"
        print -rl -- $hits
        builtin compadd "$@"
    }
    bindkey '^I' complete-word
    print ready.
"#;

/// Completes the last of the words in a real bash, by our function or by git's, if there is one on this machine.
fn bash(repo: &Fixture, words: &[&str]) -> Vec<String> {
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
    let seen = repo.see(
        repo.command("bash")
            .env("PATH", path(repo))
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
fn zsh_and_fish_complete_the_same_under_every_name_of_the_program() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start --task 0042");
    let run = repo.runs("0042")[0].file_name().unwrap().to_str().unwrap().to_owned();
    for shell in ["zsh", "fish"] {
        for program in ["git orchestrate", "git-orchestrate", "codex-orchestrator", "git -C . orchestrate"] {
            for (line, expected) in [
                ("sta", vec!["start", "status"]),
                ("list --sta", vec!["--status"]),
                ("list --status fa", vec!["failed"]),
                ("start dia", vec!["diagnostics"]),
                ("start --target te", vec!["test"]),
                ("start --target=te", vec!["--target=test"]),
                ("status --task 00", vec!["0042"]),
                ("status lat", vec!["latest"]),
                (&format!("logs {}", &run[..12]), vec![run.as_str()]),
            ] {
                let line = format!("{program} {line}");
                let Some(found) = complete(&repo, shell, &line) else { break };
                assert_eq!(found, expected, "{shell}: {line}");
            }
        }
        // git's own completion knows that there is such a command.
        let Some(found) = complete(&repo, shell, "git orches") else { continue };
        assert!(found.contains(&"orchestrate".to_owned()), "{shell}: {found:?}");
    }
}

#[test]
fn a_name_that_a_repository_chose_stays_one_harmless_word() {
    let config = serde_json::json!({"pipelines": [{"id": "diagnostics", "stages": [
        {"kind": "command", "id": "a $(touch evil)", "title": "T\u{1b}[2J\nnext", "command": "true"},
    ]}]});
    let repo = Fixture::with_config(&config);

    assert_eq!(bash(&repo, &["git-orchestrate", "start", "--target", "a"]), [r"a\ \$\(touch\ evil\)"]);
    // zsh is told what to insert, and fish what it stands for.
    for (shell, expected) in [("zsh", r"a\ \$\(touch\ evil\)"), ("fish", "a $(touch evil)")] {
        let found = complete(&repo, shell, "git orchestrate start --target a");
        assert!(found.as_ref().is_none_or(|found| found == &[expected]), "{shell}: {found:?}");
    }
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
