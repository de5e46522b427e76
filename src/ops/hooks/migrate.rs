//! `hooks migrate`: what lefthook, husky and pre-commit are told to do, as stages and hooks of ours. Nothing that these
//! files say is run.

mod husky;
mod lefthook;
mod pre_commit;
mod proposal;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub use proposal::{Found, LeftOut, Proposed};

use super::super::{Context, Kind, Refusal};
use crate::id::PipelineId;
use crate::pipeline::config::{self, FILE_NAME};
use crate::pipeline::config_merge;
use crate::pipeline::hooks::Event;
use crate::sys::fs::{self, Durability};

/// No configuration of these tools is larger.
const LIMIT: u64 = 1 << 20;

/// What is proposed.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The files that were read, relative to the root, each with the tool that it belongs to.
    pub sources: Vec<(String, Tool)>,
    pub found: Found,
    /// The pipeline that would hold the stages.
    pub pipeline: PipelineId,
    /// The whole configuration as it would be; as it is if there is nothing to add.
    pub text: String,
    /// What would be added.
    pub added: Value,
    pub config: PathBuf,
    /// Whether there is a configuration already.
    pub exists: bool,
    pub written: bool,
}

/// Another hook manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Lefthook,
    Husky,
    PreCommit,
}

impl Tool {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lefthook => "lefthook",
            Self::Husky => "husky",
            Self::PreCommit => "pre-commit",
        }
    }

    /// What takes its own hooks away.
    pub fn farewell(self) -> &'static str {
        match self {
            Self::Lefthook => "lefthook uninstall",
            Self::Husky => "git config --unset core.hooksPath",
            Self::PreCommit => "pre-commit uninstall",
        }
    }
}

/// Proposes, and writes it if that is wanted.
pub fn migrate(ctx: &Context, write: bool) -> Result<Migration> {
    let root = &ctx.layout.root;
    let config = root.join(FILE_NAME);
    let (sources, mut found) = read(root)?;
    if sources.is_empty() {
        return Err(Refusal::usage("there is no configuration of lefthook, husky or pre-commit here")
            .hint("looked for lefthook.yml (.yaml, .toml, .json), .husky/ and .pre-commit-config.yaml")
            .into());
    }
    let there = match fs::read_if_there(&config)? {
        Some(bytes) => {
            let text = String::from_utf8(bytes)
                .map_err(|_| Refusal::usage(format!("`{}` is no text", config.display())))?;
            Some(text)
        }
        None => None,
    };
    let known = there.as_ref().map(|text| config::parse(FILE_NAME, text)).transpose()?.unwrap_or_default();
    found.note_the_branch();
    keep_what_is_there(&mut found, &|event| known.hooks.contains_key(&event));
    found.name_apart();
    let taken = |id: &PipelineId| known.pipeline(id).is_some();
    let pipeline = free_name(&taken);
    let (text, added) = merged(there.as_deref(), &found, &pipeline)?;
    config::parse(FILE_NAME, &text).context("what is proposed is no configuration")?;
    let mut migration =
        Migration { sources, found, pipeline, text, added, config, exists: there.is_some(), written: false };
    if write && !migration.found.stages.is_empty() {
        put(&migration, there.as_deref())?;
        migration.written = true;
    }
    Ok(migration)
}

/// Writes the configuration, if it still is what it was.
fn put(migration: &Migration, there: Option<&str>) -> Result<()> {
    let config = &migration.config;
    let changed = || {
        Refusal::new(Kind::Unsafe, format!("`{}` changed meanwhile, and is left as it is", config.display()))
            .hint("try again")
    };
    let Some(there) = there else {
        if !fs::create_whole(config, migration.text.as_bytes())? {
            return Err(changed().into());
        }
        return Ok(fs::sync_dir(&migration.config.parent().map_or(PathBuf::from("."), Path::to_owned))?);
    };
    let is_link = config.symlink_metadata().is_ok_and(|found| found.is_symlink());
    if is_link {
        let message = format!("`{}` is a symbolic link, and is left as it is", config.display());
        return Err(Refusal::new(Kind::Unsafe, message).hint("write what is proposed yourself").into());
    }
    if fs::read_if_there(config)?.as_deref() != Some(there.as_bytes()) {
        return Err(changed().into());
    }
    Ok(fs::write_atomically(config, migration.text.as_bytes(), Durability::Power)?)
}

/// Leaves out what the configuration has its own word on.
fn keep_what_is_there(found: &mut Found, has: &dyn Fn(Event) -> bool) {
    let (kept, stages): (Vec<_>, Vec<_>) = found.stages.drain(..).partition(|stage| has(stage.event));
    found.stages = stages;
    for stage in kept {
        let name = format!("{}/{}", stage.event, stage.id);
        let why = format!("`hooks.{}` is in `{FILE_NAME}` already, and is left as it is", stage.event);
        found.leave(&stage.source, name, why);
    }
}

/// Returns a name that no pipeline has.
fn free_name(taken: &dyn Fn(&PipelineId) -> bool) -> PipelineId {
    let names = std::iter::once("hooks".to_owned()).chain((2..).map(|number| format!("hooks-{number}")));
    let mut ids = names.map(|name| name.parse::<PipelineId>().expect("letters and digits are an id"));
    ids.find(|id| !taken(id)).expect("there are more names than pipelines")
}

/// Adds the stages and the hooks to a configuration, of which nothing changes that is there. Returns its text, and what
/// is added.
fn merged(there: Option<&str>, found: &Found, pipeline: &PipelineId) -> Result<(String, Value)> {
    if found.stages.is_empty() {
        return Ok((there.unwrap_or("{}\n").to_owned(), json!({})));
    }
    let hooks = found.hooks(pipeline);
    let entries: serde_json::Map<_, _> =
        hooks.iter().map(|(event, gate)| (event.to_string(), gate.clone())).collect();
    let new_pipeline = found.pipeline(pipeline);
    let added = json!({"pipelines": [new_pipeline], "hooks": entries});
    let Some(there) = there else {
        return Ok((serde_json::to_string_pretty(&added).expect("texts are JSON") + "\n", added));
    };
    let text = config_merge::add(there, &new_pipeline, &entries)
        .ok_or_else(|| Refusal::usage(format!("`{FILE_NAME}` cannot be added to")))?;
    Ok((text, added))
}

/// Reads the files of other tools that are there.
fn read(root: &Path) -> Result<(Vec<(String, Tool)>, Found)> {
    let (mut sources, mut found) = (Vec::new(), Found::default());
    for folder in ["", ".config/"] {
        for base in ["lefthook", ".lefthook"] {
            for end in ["yml", "yaml", "toml", "json"] {
                let name = format!("{folder}{base}.{end}");
                if let Some(document) = document(root, &name)? {
                    found.extend(lefthook::read(&name, &document));
                    sources.push((name, Tool::Lefthook));
                }
                let local = format!("{folder}{base}-local.{end}");
                if root.join(&local).is_file() {
                    found.leave(&local, &*local, "it is yours alone: the configuration is for all");
                }
            }
        }
    }
    for name in [".pre-commit-config.yaml", ".pre-commit-config.yml"] {
        if let Some(document) = document(root, name)? {
            found.extend(pre_commit::read(name, &document));
            sources.push((name.to_owned(), Tool::PreCommit));
        }
    }
    let mut scripts: Vec<_> = std::fs::read_dir(root.join(".husky"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        // Not what husky itself puts there, and not what is a note.
        .filter(|name| !name.starts_with(['_', '.']) && !name.contains('.'))
        .filter(|name| root.join(".husky").join(name).is_file())
        .collect();
    scripts.sort();
    for name in scripts {
        let source = format!(".husky/{name}");
        let Some(text) = text(root, &source)? else { continue };
        found.extend(husky::read(&source, &name, &text));
        sources.push((source, Tool::Husky));
    }
    Ok((sources, found))
}

fn text(root: &Path, name: &str) -> Result<Option<String>> {
    let path = root.join(name);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let bytes = fs::read_regular(&path, LIMIT)?;
    let text = String::from_utf8(bytes).map_err(|_| Refusal::usage(format!("`{name}` is no text")))?;
    Ok(Some(text))
}

fn document(root: &Path, name: &str) -> Result<Option<Value>> {
    let Some(text) = text(root, name)? else { return Ok(None) };
    let broken = |said: String| {
        let said = said.lines().next().unwrap_or_default().to_owned();
        Refusal::usage(format!("`{name}` cannot be read: {said}")).hint("mend it, or move it away")
    };
    let value = match name.rsplit('.').next() {
        Some("toml") => toml::from_str(&text).map_err(|err| broken(err.message().to_owned()))?,
        Some("json") => serde_json::from_str(&text).map_err(|err| broken(err.to_string()))?,
        _ => serde_saphyr::from_str(&text).map_err(|err| broken(err.to_string()))?,
    };
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lefthook(yaml: &str) -> Found {
        lefthook::read("lefthook.yml", &serde_saphyr::from_str(yaml).unwrap())
    }

    fn of_pre_commit(yaml: &str) -> Found {
        pre_commit::read("c.yaml", &serde_saphyr::from_str(yaml).unwrap())
    }

    fn commands(found: &Found) -> Vec<&str> {
        found.stages.iter().map(|stage| stage.command.as_str()).collect()
    }

    fn left_out(found: &Found) -> Vec<&str> {
        found.left_out.iter().map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn commands_jobs_and_scripts_of_lefthook_are_stages() {
        let mut found = of_lefthook(
            r#"
min_version: 1.6.0
pre-commit:
  parallel: true
  commands:
    prettier:
      glob: "*.{js,ts}"
      exclude: "dist/*"
      run: npx prettier --write {staged_files}
      stage_fixed: true
      env: {CI: 1}
    audit: {run: npm audit, skip: true}
    both: {run: "a {staged_files} && b {staged_files}"}
    other: {run: "echo ${HOME} {files}"}
  scripts:
    "check it.sh": {runner: bash}
pre-push:
  jobs:
    - name: tests
      root: backend/
      group:
        jobs:
          - run: go test ./...
          - run: read-it
            use_stdin: true
commit-msg:
  commands:
    lint: {run: "npx commitlint --edit {1}"}
prepare-commit-msg:
  commands: {x: {run: x}}
extends: [other.yml]
"#,
        );
        found.name_apart();
        assert_eq!(
            commands(&found),
            [
                "git ls-files -z -- '*.js' '*.ts' ':!dist/*' | xargs -0 -r npx prettier --write",
                "bash '.lefthook/pre-commit/check it.sh'",
                "go test ./...",
                "npx commitlint --edit \"$GIT_ORCHESTRATE_MESSAGE_FILE\"",
            ]
        );
        let first = &found.stages[0];
        assert_eq!((first.fixes, first.env["CI"].as_str(), first.id.as_str()), (true, "1", "prettier"));
        assert_eq!(first.notes.len(), 1);
        assert_eq!(
            (found.stages[2].cwd.as_deref(), found.stages[2].event),
            (Some("backend"), Event::PrePush)
        );
        assert_eq!(
            left_out(&found),
            [
                "pre-commit/audit",
                "pre-commit/both",
                "pre-commit/other",
                "pre-push/read-it",
                "prepare-commit-msg",
                "extends"
            ]
        );
    }

    #[test]
    fn hooks_of_pre_commit_go_on_with_it_or_without() {
        let found = of_pre_commit(
            r#"
default_install_hook_types: [pre-commit]
repos:
- repo: https://github.com/pre-commit/pre-commit-hooks
  rev: v4.6.0
  hooks:
  - id: trailing-whitespace
  - id: check-yaml
    args: [--unsafe]
- repo: local
  hooks:
  - {id: test, name: t, entry: make test, language: system, pass_filenames: false, stages: [push]}
  - {id: lint, name: l, entry: lint, language: system, args: ["--a b"]}
  - {id: docker, name: d, entry: x, language: docker}
  - {id: later, name: l, entry: x, language: system, stages: [manual]}
- repo: meta
  hooks: [{id: check-hooks-apply}]
"#,
        );
        assert_eq!(
            commands(&found),
            [
                "pre-commit run trailing-whitespace --all-files",
                "pre-commit run check-yaml --all-files",
                "make test",
                "git ls-files -z | xargs -0 -r lint '--a b'",
                "pre-commit run docker --all-files",
            ]
        );
        assert_eq!(
            found.stages.iter().map(|it| it.fixes).collect::<Vec<_>>(),
            [true, false, false, false, false]
        );
        assert_eq!(found.stages[2].event, Event::PrePush);
        assert_eq!(left_out(&found), ["manual/later", "check-hooks-apply"]);
    }

    #[test]
    fn scripts_of_husky_are_stages_but_for_what_they_are_told() {
        let of = |name: &str, text: &str| husky::read(&format!(".husky/{name}"), name, text);
        let old = of("pre-commit", "#!/usr/bin/env sh\n. \"$(dirname -- \"$0\")/_/husky.sh\"\n\nnpm test\n");
        assert_eq!((commands(&old), old.stages[0].id.as_str()), (vec!["npm test"], "npm-test"));
        assert_eq!(
            commands(&of("pre-push", "npm run build\nnpm test\n")),
            ["set -e\nnpm run build\nnpm test"]
        );
        let message = of("commit-msg", "npx --no -- commitlint --edit \"$1\"\n");
        assert_eq!(commands(&message), ["npx --no -- commitlint --edit \"$GIT_ORCHESTRATE_MESSAGE_FILE\""]);
        assert_eq!(left_out(&of("pre-commit", "npx lint-staged\n")), ["pre-commit"]);
        // What stands beside it is not lost.
        let beside = of("pre-commit", "npx lint-staged || exit 1\nnpm test --if-present\n");
        assert_eq!(
            (commands(&beside), left_out(&beside)),
            (vec!["npm test --if-present"], vec!["pre-commit"])
        );
        for script in ["if x; then\n  npx lint-staged\nfi\nnpm test\n", "npx lint-staged && npm test\n"] {
            let around = of("pre-commit", script);
            assert_eq!((commands(&around), around.left_out.len()), (Vec::new(), 1), "{script}");
            assert!(around.left_out[0].why.ends_with("and the rest of the script as others"), "{script}");
        }
        // Since version 9 it finds the programs of the project, and before it did not.
        let found_there = "PATH=\"node_modules/.bin:$PATH\"\nvitest run";
        assert_eq!(commands(&of("pre-push", "vitest run\n")), [found_there]);
        assert_eq!(
            commands(&of("pre-push", ". \"$(dirname \"$0\")/_/husky.sh\"\nvitest run\n")),
            ["vitest run"]
        );
        assert_eq!(left_out(&of("pre-push", "check $1\n")), ["pre-push"]);
        assert_eq!(left_out(&of("prepare-commit-msg", "x\n")), ["prepare-commit-msg"]);
        assert!(of("pre-push", "git orchestrate hook pre-push \"$@\"\n").stages.is_empty());
    }

    #[test]
    fn what_asks_for_the_branch_is_told_that_there_is_none() {
        let mut found = of_lefthook(
            "pre-push: {commands: {a: {run: test \"$(git branch --show-current)\" != main}, b: {run: make}}}",
        );
        found.note_the_branch();
        assert_eq!(found.stages.iter().map(|it| it.notes.len()).collect::<Vec<_>>(), [1, 0]);
        let hooks = "{id: no-commit-to-branch}, {id: check-yaml}";
        let found = of_pre_commit(&format!("repos: [{{repo: https://x, hooks: [{hooks}]}}]"));
        assert_eq!((commands(&found).len(), left_out(&found)), (1, vec!["no-commit-to-branch"]));
    }

    #[test]
    fn what_is_there_stays_byte_for_byte() {
        let there = "{\n    \"jobs\":2, \"pipelines\": [ {\"id\":\"a\", \"stages\":[]} ],\n\t\"hooks\": {\"pre-push\": {}}\n}\n";
        let found = of_lefthook("pre-commit: {commands: {lint: {run: lint}}}");
        let (text, _) = merged(Some(there), &found, &"hooks".parse().unwrap()).unwrap();
        let config = config::parse(FILE_NAME, &text).unwrap();
        assert_eq!(config.hooks[&Event::PreCommit].require, ["hooks:lint"]);
        assert!(config.hooks.contains_key(&Event::PrePush) && config.pipelines.len() == 2);
        assert!(text.contains("\n    \"jobs\":2, \"pipelines\": ["), "{text}");
        assert!(text.contains("{\"id\":\"a\", \"stages\":[]}"), "{text}");
        for there in ["{}", "{\n}\n", "{\"hooks\": {}}", "{\"pipelines\": []}"] {
            let (text, _) = merged(Some(there), &found, &"hooks".parse().unwrap()).unwrap();
            let config =
                config::parse(FILE_NAME, &text).unwrap_or_else(|err| panic!("{there} {text}: {err}"));
            assert_eq!(config.hooks.len(), 1, "{text}");
        }
    }
}
