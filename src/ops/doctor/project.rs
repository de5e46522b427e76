//! The project: its configuration, what would run, and whether the programs for it are there.

use std::path::{Path, PathBuf};

use super::super::plan::{PlanOptions, load, plan};
use super::super::{Context, Refusal, init};
use super::Check;
use crate::pipeline::config::{ConfigError, FILE_NAME};
use crate::pipeline::plan::{Plan, PlanError};
use crate::pipeline::{Action, Command};
use crate::sys::room;

pub fn look(ctx: &Context, checks: &mut Vec<Check>) {
    let path = ctx.layout.root.join(FILE_NAME);
    let config = match load(ctx) {
        Ok(config) => config,
        Err(err) => {
            let mend = "mend the file, then: git orchestrate plan";
            return checks.push(failed("configuration", &err, mend));
        }
    };
    if path.symlink_metadata().is_err() {
        let message = format!("no `{FILE_NAME}`: what runs is what the program makes of the project");
        checks.push(Check {
            mend: Some("git orchestrate init".to_owned()),
            ..Check::ok("configuration", message)
        });
    } else {
        checks.push(Check::ok("configuration", format!("`{FILE_NAME}` is well formed")));
    }
    if let Ok(init::Schema::Older) = init::Schema::of(&ctx.layout.root.join(init::SCHEMA_NAME)) {
        let message = format!("`{}` is of another version of this program", init::SCHEMA_NAME);
        checks.push(Check::warning("configuration.schema", message, "git orchestrate init --update-schema"));
    }
    let options = PlanOptions { target_of_environment: true, ..PlanOptions::default() };
    let plan = match plan(ctx, &options) {
        Ok(plan) => plan,
        Err(err) => {
            let mend = "git orchestrate plan, once it is mended";
            return checks.push(failed("plan", &err, mend));
        }
    };
    for flaw in config.flaws.iter().filter(|flaw| flaw.pipeline != plan.pipeline) {
        let mend = flaw.error.hint().to_owned();
        let check = Check::warning("configuration.pipeline", flaw.error.to_string(), mend);
        let excerpt = Some(flaw.error.render(false).trim_end().to_owned());
        checks.push(Check { excerpt, ..check.about(flaw.pipeline.as_str()) });
    }
    let names: Vec<_> = plan.running().map(|planned| planned.stage.id.as_str()).collect();
    checks.push(Check::ok("plan", format!("{}: {}", plan.pipeline.as_str(), names.join(", "))));
    let before = checks.len();
    let mut is_first = true;
    stages(ctx, &plan, &mut is_first, checks);
    if checks.len() == before {
        checks.push(Check::ok("stages", "every program that they name is there"));
    }
}

/// Returns the check of an error, with the picture if it is about a place in the configuration.
fn failed(id: &'static str, err: &anyhow::Error, mend: &str) -> Check {
    let of_plan = err.chain().find_map(|cause| cause.downcast_ref::<PlanError>());
    let of_config = err.chain().find_map(|cause| cause.downcast_ref::<ConfigError>()).or(match of_plan {
        Some(PlanError::Config(err)) => Some(err),
        _ => None,
    });
    let refusal = err.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    let hint = of_config
        .map(|err| err.hint().to_owned())
        .or_else(|| of_plan.and_then(PlanError::hint))
        .or_else(|| refusal.and_then(|refusal| refusal.hint.clone()))
        .filter(|hint| !hint.is_empty());
    let message = of_config.map_or_else(|| super::chain(err.as_ref()), ToString::to_string);
    let excerpt = of_config.map(|err| err.render(false).trim_end().to_owned());
    Check { excerpt, ..Check::problem(id, message, hint.unwrap_or_else(|| mend.to_owned())) }
}

fn stages(ctx: &Context, plan: &Plan, is_first: &mut bool, checks: &mut Vec<Check>) {
    for planned in plan.running() {
        if let Some(child) = &planned.child {
            stages(ctx, child, is_first, checks);
        }
        if let Action::Command(command) = &planned.stage.action {
            let check = stage(ctx, command, *is_first);
            *is_first = false;
            checks.extend(check.map(|check| check.about(format!("{}:{}", plan.pipeline, planned.stage.id))));
        }
    }
}

/// Says what keeps a stage from working, as far as that can be known without running it.
fn stage(ctx: &Context, command: &Command, is_first: bool) -> Option<Check> {
    let folder =
        command.cwd.as_ref().map_or_else(|| ctx.layout.root.clone(), |cwd| ctx.layout.root.join(cwd));
    let said = command.cwd.as_deref().unwrap_or(".");
    // A stage before this one may make what is missing, and one that may fail stops no run.
    let severe =
        |id, message: String, mend: String, made_before: bool| match command.allow_failure || made_before {
            true => Check::warning(id, message, mend),
            false => Check::problem(id, message, mend),
        };
    if !folder.is_dir() {
        let message = format!("its folder `{said}` does not exist");
        let mend = format!("mkdir -p {}, or correct `cwd` in {FILE_NAME}", super::quoted(Path::new(said)));
        return Some(severe("stage.folder", message, mend, !is_first));
    }
    let word = first_word(&command.command)?;
    if word.contains('/') {
        let path = folder.join(word);
        return match path.metadata() {
            Ok(_) if room::is_program(&path) => None,
            Ok(meta) if meta.is_dir() => Some(severe(
                "stage.command",
                format!("`{word}` is a folder"),
                format!("correct its command in {FILE_NAME}"),
                false,
            )),
            Ok(_) => Some(severe(
                "stage.command",
                format!("`{word}` may not be run"),
                format!("chmod +x {}", super::quoted(Path::new(word))),
                false,
            )),
            Err(_) => Some(severe(
                "stage.command",
                format!("there is no `{word}`"),
                format!("make it, or correct its command in {FILE_NAME}"),
                !is_first,
            )),
        };
    }
    // The stage has a search path of its own.
    if command.env.contains_key("PATH") {
        return None;
    }
    let path = ctx.env.path("PATH")?;
    let is_there = |dir: PathBuf| room::is_program(&folder.join(dir).join(word));
    (!std::env::split_paths(&path).any(is_there)).then(|| {
        severe(
            "stage.command",
            format!("`{word}` is not in PATH"),
            format!("install `{word}`, or correct its command in {FILE_NAME}"),
            false,
        )
    })
}

/// What `/bin/sh` does itself, and words of its language.
const OF_THE_SHELL: &[&str] = &[
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif",
    "else", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function",
    "getopts", "hash", "if", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set",
    "shift", "source", "test", "then", "time", "times", "trap", "true", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// Returns the program that a command begins with, if that can be told without a shell: a plain word, and none of
/// the shell's own.
fn first_word(command: &str) -> Option<&str> {
    let command = command.trim_start();
    let end = command.find(|c: char| c.is_whitespace() || ";&|<>".contains(c)).unwrap_or(command.len());
    let (word, rest) = command.split_at(end);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let is_plain = !word.is_empty() && word.chars().all(plain);
    // `name () { … }` begins a function.
    (is_plain && !OF_THE_SHELL.contains(&word) && !rest.trim_start().starts_with('(')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn only_what_is_surely_a_program_is_looked_for() {
        for (command, expected) in [
            ("cargo test", Some("cargo")),
            ("  ./run-tests.sh --all", Some("./run-tests.sh")),
            ("npm;true", Some("npm")),
            ("sh -n a.sh && sh -n b.sh", Some("sh")),
            ("make|tee log", Some("make")),
            ("g++ a.cc", Some("g++")),
            ("CC=gcc make", None),
            ("\"$TOOL\" x", None),
            ("$TOOL x", None),
            ("~/bin/x", None),
            ("cd web && npm test", None),
            ("if true; then x; fi", None),
            ("[ -f x ]", None),
            ("! grep x y", None),
            ("(cd web; make)", None),
            ("{ make; }", None),
            ("f () { x; }; f", None),
            ("# nothing", None),
            ("", None),
        ] {
            assert_eq!(first_word(command), expected, "{command}");
        }
    }
}
