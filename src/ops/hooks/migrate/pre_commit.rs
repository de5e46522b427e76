//! pre-commit: hooks of repositories, which that tool goes on to install, and hooks of the project itself.

use serde_json::{Map, Value};

use super::proposal::{Found, Proposed, event};
use crate::pipeline::hooks::Event;
use crate::run::shell;

/// Hooks that change what they find, as their ids say it, or a part of them.
const FIXERS: &[&str] = &[
    "add-trailing-comma",
    "autoflake",
    "autopep8",
    "biome-check",
    "biome-format",
    "black",
    "clang-format",
    "docformatter",
    "end-of-file-fixer",
    "file-contents-sorter",
    "fix-byte-order-marker",
    "fmt",
    "gofmt",
    "goimports",
    "isort",
    "mdformat",
    "mixed-line-ending",
    "nbstripout",
    "prettier",
    "pyupgrade",
    "reorder-python-imports",
    "requirements-txt-fixer",
    "ruff-format",
    "rustfmt",
    "shfmt",
    "stylua",
    "taplo-format",
    "terraform_fmt",
    "trailing-whitespace",
    "yapf",
];

/// Reads a configuration.
pub(super) fn read(source: &str, document: &Value) -> Found {
    let mut found = Found::default();
    let Some(top) = document.as_object() else { return found };
    let installed = texts(top.get("default_install_hook_types"));
    let installed = if installed.is_empty() { vec!["pre-commit".to_owned()] } else { installed };
    let usual = texts(top.get("default_stages"));
    let filtered = top.contains_key("files") || top.contains_key("exclude");
    for repo in top.get("repos").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    {
        let of = repo.get("repo").and_then(Value::as_str).unwrap_or_default();
        for hook in repo.get("hooks").and_then(Value::as_array).into_iter().flatten() {
            let Some(hook) = hook.as_object() else { continue };
            let id = hook.get("id").and_then(Value::as_str).unwrap_or_default();
            if id.is_empty() {
                continue;
            }
            if of == "meta" {
                found.leave(source, id, "it is about the configuration of pre-commit itself");
                continue;
            }
            if id == "no-commit-to-branch" {
                found.leave(source, id, "it asks which branch is checked out, and where stages run none is");
                continue;
            }
            let asked = texts(hook.get("stages"));
            let asked = match (asked.is_empty(), usual.is_empty()) {
                (false, _) => asked,
                (true, false) => usual.clone(),
                (true, true) => installed.clone(),
            };
            for stage in &asked {
                one(&mut found, source, of, id, hook, stage, filtered);
            }
        }
    }
    found
}

fn one(
    found: &mut Found,
    source: &str,
    repo: &str,
    id: &str,
    hook: &Map<String, Value>,
    stage: &str,
    filtered: bool,
) {
    // As they were called once.
    let name = match stage {
        "commit" => "pre-commit",
        "push" => "pre-push",
        "merge-commit" => "pre-merge-commit",
        other => other,
    };
    let called = format!("{name}/{id}");
    let event = match (name, event(name)) {
        ("manual", _) => {
            return found.leave(
                source,
                called,
                "somebody runs it by hand: git orchestrate start --target does that",
            );
        }
        (_, Ok(event)) => event,
        (_, Err(why)) => return found.leave(source, called, why),
    };
    let mut notes = Vec::new();
    let direct = match repo {
        "local" if !filtered => direct(hook, event, &mut notes),
        _ => None,
    };
    let args = texts(hook.get("args"));
    let mends = FIXERS.iter().any(|known| id == *known || id.ends_with(&format!("-{known}")))
        || args.iter().any(|arg| matches!(arg.as_str(), "--fix" | "--autofix" | "--write" | "-w"));
    let command = direct.unwrap_or_else(|| {
        notes.push("pre-commit goes on to install and run it".to_owned());
        let message = match event {
            Event::CommitMsg => format!(" --commit-msg-filename {}", super::proposal::MESSAGE),
            _ => String::new(),
        };
        let stage = if event == Event::PreCommit { String::new() } else { format!(" --hook-stage {event}") };
        let files = if event == Event::CommitMsg { "" } else { " --all-files" };
        format!("pre-commit run {}{stage}{files}{message}", shell::word(id))
    });
    if event != Event::CommitMsg {
        notes.push(
            "runs on all files that fit, not only on those that change: a verdict is about a whole tree"
                .to_owned(),
        );
    }
    found.stages.push(Proposed {
        source: source.to_owned(),
        event,
        id: id.to_owned(),
        command,
        cwd: None,
        env: Default::default(),
        fixes: mends && event == Event::PreCommit,
        notes,
    });
}

/// Returns the command of a hook that needs nothing installed.
fn direct(hook: &Map<String, Value>, event: Event, notes: &mut Vec<String>) -> Option<String> {
    let text = |key: &str| hook.get(key).and_then(Value::as_str);
    if !matches!(text("language"), Some("system" | "script" | "unsupported" | "unsupported_script")) {
        return None;
    }
    let told = ["types", "types_or", "exclude_types", "files", "exclude"];
    if told.iter().any(|key| hook.contains_key(*key))
        && hook.get("pass_filenames") != Some(&Value::Bool(false))
    {
        return None;
    }
    let args = texts(hook.get("args"));
    let entry = match text("language") {
        Some("script" | "unsupported_script") => format!("./{}", text("entry")?.trim_start_matches("./")),
        _ => text("entry")?.to_owned(),
    };
    let words = std::iter::once(entry).chain(args.iter().map(|arg| shell::word(arg)));
    let command = words.collect::<Vec<_>>().join(" ");
    if told.iter().any(|key| hook.contains_key(*key)) {
        notes.push("runs whichever files change, unless it is proven: `inputs` could narrow that".to_owned());
    }
    let passes = hook.get("pass_filenames") != Some(&Value::Bool(false));
    Some(match (event, passes) {
        (Event::CommitMsg, true) => format!("{command} {}", super::proposal::MESSAGE),
        (_, true) => format!("git ls-files -z | xargs -0 -r {command}"),
        (_, false) => command,
    })
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list.map(text).collect()
}
