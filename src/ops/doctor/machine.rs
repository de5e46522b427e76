//! The machine: git, the shell, variables, hooks.

use super::super::Context;
use super::Check;
use crate::git::{self, is_local_variable};
use crate::id::TaskId;
use crate::sys::budget::{self, FOLDER, IGNORE, KINDS, Machine, Source};
use crate::sys::env::{Env, is_shadow};
use crate::sys::room;

/// The oldest git whose flags we use, and the oldest that our tests run with.
const OLDEST: (u32, u32) = (2, 31);
const TESTED: (u32, u32) = (2, 45);

pub fn look(env: &Env, checks: &mut Vec<Check>) {
    checks.push(git_version());
    let shell = std::path::Path::new("/bin/sh");
    checks.push(match room::is_program(shell) {
        true => Check::ok("shell", "/bin/sh"),
        false => Check::problem(
            "shell",
            "`/bin/sh` is missing or cannot be run: stages are texts for it",
            "install a POSIX shell as /bin/sh",
        ),
    });
    variables(env, checks);
}

fn git_version() -> Check {
    let version = match git::program_version() {
        Ok(version) => version,
        Err(err) => {
            return Check::problem(
                "git.version",
                super::chain(&err),
                "install git, and see that it is in PATH",
            );
        }
    };
    match numbers(&version) {
        Some(found) if found < OLDEST => Check::problem(
            "git.version",
            format!("git {version} is too old"),
            format!("install git {}.{} or later", OLDEST.0, OLDEST.1),
        ),
        Some(found) if found < TESTED => Check::warning(
            "git.version",
            format!("git {version} is older than what this program is tested with"),
            format!("install git {}.{} or later", TESTED.0, TESTED.1),
        ),
        Some(_) => Check::ok("git.version", format!("git {version}")),
        None => Check::warning(
            "git.version",
            format!("`git --version` says `{version}`, which is no version"),
            "see which program that is: command -v git",
        ),
    }
}

/// Returns the first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn variables(env: &Env, checks: &mut Vec<Check>) {
    let before = checks.len();
    if let Some(text) = env.get("MCP_RUNNER_TASK_ID")
        && let Err(err) = text.parse::<TaskId>()
    {
        let mend = "unset MCP_RUNNER_TASK_ID, or set it to an id such as 0901-issue-validation";
        let check = Check::problem("environment.task", format!("MCP_RUNNER_TASK_ID: {err}"), mend);
        checks.push(check.about("MCP_RUNNER_TASK_ID"));
    }
    let target = env.get(crate::pipeline::plan::TARGET_VARIABLE).filter(|text| !text.trim().is_empty());
    if let Some(target) = target {
        let name = crate::pipeline::plan::TARGET_VARIABLE;
        let message = format!("{name} makes every run one of the stage `{target}` alone");
        checks.push(Check::warning("environment.target", message, format!("unset {name}")).about(name));
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        if let Some(value) = env.path(name) {
            debug_assert!(is_local_variable(std::ffi::OsStr::new(name)));
            let message = match name {
                "GIT_DIR" | "GIT_WORK_TREE" => {
                    format!("{name} decides which repository is meant: `{}`", value.display())
                }
                _ => format!("{name} is set, as in a hook; neither we nor the stages follow it"),
            };
            checks.push(Check::warning("environment.git", message, format!("unset {name}")).about(name));
        }
    }
    let guard = ["CODEX_PRIVACY_GUARD_MODE", "CODEX_PRIVACY_GUARD_ENFORCE"];
    if let Some((name, value)) = guard.into_iter().find_map(|name| Some((name, env.get(name)?)))
        && is_shadow(value)
    {
        let message = format!("{name}={value}: secrets are counted, and stored as they come");
        checks.push(Check::warning("environment.masking", message, format!("unset {name}")).about(name));
    }
    for name in ["CODEX_ORCHESTRATOR_ROOT", "CODEX_ORCHESTRATOR_RUNS_DIR", "CODEX_ORCHESTRATOR_OUT_DIR"] {
        if let Some(value) = env.path(name) {
            let message = format!("{name} is `{}`", value.display());
            checks.push(Check::ok("environment.roots", message).about(name));
        }
    }
    if checks.len() == before {
        checks.push(Check::ok("environment", "no variable leads astray"));
    }
}

/// What all runs on this machine share. Without it they run all the same.
pub fn budget(env: &Env, checks: &mut Vec<Check>) {
    let Some(source) = Source::of(env) else {
        let message = format!("{IGNORE} is set: runs do not wait for what others have of this machine");
        return checks.push(Check::warning("budget", message, format!("unset {IGNORE}")).about(IGNORE));
    };
    let folder = source.folder();
    let tell = |what: &dyn std::fmt::Display| format!("tokens lie in `{}`; {what}", folder.display());
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let usable = budget::check(there).or_else(|err| if there == folder { Err(err) } else { Ok(()) });
    let usable = usable
        .map_err(|err| err.to_string())
        .and_then(|()| room::may_write_in(there).map_err(|err| format!("`{}`: {err}", there.display())));
    if let Err(err) = usable {
        let mend = format!("mend the folder, or name another: export {FOLDER}=…");
        let message = format!("runs go on without the budget of this machine: {err}");
        return checks.push(Check::warning("budget", message, mend));
    }
    let machine = Machine::here();
    let silent = KINDS.iter().all(|kind| machine.pressure(kind).is_none());
    checks.push(Check::ok(
        "budget",
        match silent {
            true => tell(&"the kernel says nothing about pressure, so that is no brake"),
            false => tell(&"the kernel says how busy the machine is"),
        },
    ));
}

/// Facts only: git runs hooks, and a stage that commits would meet them.
pub fn hooks(ctx: &Context, checks: &mut Vec<Check>) {
    let (folder, named, hooks) = ctx.repo.hooks();
    let from = if named { " (core.hooksPath)" } else { "" };
    let what = match hooks.is_empty() {
        true => "no hooks".to_owned(),
        false => hooks.join(", "),
    };
    checks.push(Check::ok("git.hooks", format!("{what} in `{}`{from}", folder.display())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_makers_are_understood() {
        for (version, expected) in [
            ("2.47.3", Some((2, 47))),
            ("2.39.5 (Apple Git-154)", Some((2, 39))),
            ("2.50.0.rc1", Some((2, 50))),
            ("2.9.1.windows.1", Some((2, 9))),
            ("unknown", None),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
    }
}
