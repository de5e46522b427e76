//! The pipelines we ship: `diagnostics`, made to fit the project it runs in.
//!
//! It says `build`, `lint` and `test` in the words of the first kind that fits, in this order:
//!
//! 1. Node, if `package.json` has one of these scripts: what a project spells out itself goes first
//! 2. Cargo
//! 3. Go
//! 4. Python
//! 5. Make, if there are targets of these names
//!
//! A project of several kinds gets one of them. Who wants more writes `codex.orchestrator.json`.

use serde_json::Value;

use super::{Action, Command, Pipeline, Source, Stage};
use crate::id::PipelineId;

/// The ids of the pipelines we ship.
pub const IDS: &[&str] = &[DIAGNOSTICS];

/// The pipeline that runs when none is named.
pub const DIAGNOSTICS: &str = "diagnostics";

/// A configuration to start from.
pub const MINIMAL_CONFIG: &str = r#"{
  "pipelines": [
    {
      "id": "diagnostics",
      "stages": [
        { "kind": "command", "id": "test", "command": "./run-tests.sh" }
      ]
    }
  ]
}
"#;

/// A project that we cannot tell how to build or test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing here tells how to build, lint or test this project")]
pub struct UnknownKind;

impl UnknownKind {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        format!(
            "`git orchestrate init` writes a configuration to start from; or say it in `codex.orchestrator.json`, for example:\n{MINIMAL_CONFIG}"
        )
    }
}

/// What a project is built with, and what it says about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectKind {
    /// `package.json`, with those of the three scripts that it has.
    Node { manager: NodeManager, build: bool, lint: bool, test: bool },
    /// `Cargo.toml`. `clippy` is whether the project configures it.
    Cargo { clippy: bool },
    /// `go.mod`.
    Go,
    /// `pyproject.toml`, `setup.py`, `setup.cfg` or `tox.ini`.
    Python { launcher: &'static str, linter: Option<&'static str>, tester: &'static str },
    /// A makefile, with the target for each of the three.
    Make { build: Option<&'static str>, lint: Option<&'static str>, test: Option<&'static str> },
}

/// Who runs the scripts of `package.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeManager {
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

/// Returns the shipped pipeline of that name, or `None` if we ship none.
///
/// `read` returns the text of a file, by its path relative to the root of the repository, or `None`
/// if there is none. For lock files only their presence counts, so any text will do.
pub fn find(id: &PipelineId, read: &dyn Fn(&str) -> Option<String>) -> Option<Result<Pipeline, UnknownKind>> {
    (id.as_str() == DIAGNOSTICS).then(|| diagnostics(read))
}

/// Returns the `diagnostics` pipeline of a project; `read` as for [`find`].
///
/// `spec-guard` is part of it, and guardrails are required, only where the project has the script:
/// advice to add a guard would mean nothing to others.
pub fn diagnostics(read: &dyn Fn(&str) -> Option<String>) -> Result<Pipeline, UnknownKind> {
    let kind = detect(read).ok_or(UnknownKind)?;
    let mut stages = commands(&kind);
    let guard = spec_guard(read);
    let guardrails_required = guard.is_some();
    stages.extend(guard.map(|guard| ("spec-guard", guard.to_owned())));
    Ok(Pipeline {
        id: DIAGNOSTICS.parse().expect("a word is an id"),
        title: "Diagnostics Pipeline".to_owned(),
        description: None,
        tags: vec!["diagnostics-primary".to_owned(), "diagnostics-secondary".to_owned()],
        guardrails_required,
        jobs: None,
        timeout: None,
        reuse: None,
        stages: stages.into_iter().map(|(id, command)| stage(id, command)).collect(),
        source: Source::Default,
    })
}

/// Returns what the project is built with; `read` as for [`find`].
pub fn detect(read: &dyn Fn(&str) -> Option<String>) -> Option<ProjectKind> {
    detect_all(read).next()
}

/// Returns everything that the project is built with, in our order; `read` as for [`find`].
pub fn detect_all<'r>(read: &'r dyn Fn(&str) -> Option<String>) -> impl Iterator<Item = ProjectKind> + 'r {
    type Way = fn(&dyn Fn(&str) -> Option<String>) -> Option<ProjectKind>;
    let ways: [Way; 5] = [node, cargo, |read| read("go.mod").map(|_| ProjectKind::Go), python, make];
    ways.into_iter().filter_map(move |way| way(read))
}

/// The words for kinds of projects.
pub const KINDS: &[&str] = &["npm", "cargo", "go", "python", "make"];

impl ProjectKind {
    /// Returns the word for it, one of [`KINDS`].
    pub fn word(&self) -> &'static str {
        match self {
            Self::Node { .. } => "npm",
            Self::Cargo { .. } => "cargo",
            Self::Go => "go",
            Self::Python { .. } => "python",
            Self::Make { .. } => "make",
        }
    }

    /// Returns what tells that a project is of this kind.
    pub fn told_by(&self) -> &'static str {
        match self {
            Self::Node { .. } => "package.json",
            Self::Cargo { .. } => "Cargo.toml",
            Self::Go => "go.mod",
            Self::Python { .. } => "Python project files",
            Self::Make { .. } => "a makefile",
        }
    }

    /// Whether the project says that folders below it belong to it.
    pub fn is_workspace(&self, read: &dyn Fn(&str) -> Option<String>) -> bool {
        let says = |path: &str, word: &str| read(path).is_some_and(|text| text.contains(word));
        match self {
            Self::Node { .. } => {
                says("package.json", "\"workspaces\"") || read("pnpm-workspace.yaml").is_some()
            }
            Self::Cargo { .. } => says("Cargo.toml", "[workspace]"),
            Self::Go => read("go.work").is_some(),
            Self::Python { .. } => says("pyproject.toml", "[tool.uv.workspace]"),
            Self::Make { .. } => true,
        }
    }
}

fn stage(id: &str, command: String) -> Stage {
    let id = id.parse().expect("a word is an id");
    Stage::plain(id, command.clone(), Action::Command(Command::plain(command)))
}

/// Returns the stages of one kind: ids and commands.
pub fn commands(kind: &ProjectKind) -> Vec<(&'static str, String)> {
    let own = |command: &str| Some(command.to_owned());
    let (build, lint, test) = match kind {
        ProjectKind::Node { manager, build, lint, test } => {
            let run =
                |exists: &bool, script: &str| exists.then(|| format!("{} run {script}", manager.program()));
            (run(build, "build"), run(lint, "lint"), run(test, "test"))
        }
        // Clippy may be missing on a machine, and its verdict changes with every toolchain. A project that
        // configures it wants it, and says itself which of its lints are errors.
        ProjectKind::Cargo { clippy } => (
            own("cargo build --workspace --all-targets"),
            own(if *clippy { "cargo clippy --workspace --all-targets" } else { "cargo fmt --all --check" }),
            own("cargo test --workspace"),
        ),
        ProjectKind::Go => (own("go build ./..."), own("go vet ./..."), own("go test ./...")),
        ProjectKind::Python { launcher, linter, tester } => (
            own(PYTHON_PARSES),
            linter.map(|linter| format!("{launcher}python3 -m {linter}")),
            Some(format!("{launcher}python3 -m {tester}")),
        ),
        ProjectKind::Make { build, lint, test } => {
            let make = |target: &Option<&str>| target.map(|target| format!("make {target}"));
            (make(build), make(lint), make(test))
        }
    };
    [("build", build), ("lint", lint), ("test", test)]
        .into_iter()
        .filter_map(|(id, command)| command.map(|command| (id, command)))
        .collect()
}

/// What comes nearest to a build: every tracked file parses. Unlike `compileall` it leaves no files
/// behind, and does not look into environments that lie in the work tree.
const PYTHON_PARSES: &str = "git ls-files -z -- '*.py' | xargs -0 python3 -c 'import ast, os, sys; \
    [ast.parse(open(f, \"rb\").read(), f) for f in sys.argv[1:] if os.path.isfile(f)]'";

impl NodeManager {
    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Bun => "bun",
        }
    }
}

fn node(read: &dyn Fn(&str) -> Option<String>) -> Option<ProjectKind> {
    let package: Value = serde_json::from_str(&read("package.json")?).ok()?;
    let has = |script: &str| {
        package["scripts"][script].as_str().is_some_and(|text| {
            // What `npm init` writes stands for having no tests.
            !text.trim().is_empty() && !text.contains("Error: no test specified")
        })
    };
    let (build, lint, test) = (has("build"), has("lint"), has("test"));
    if !(build || lint || test) {
        return None;
    }
    let declared = package["packageManager"].as_str().and_then(|text| text.split('@').next());
    let manager = match declared {
        Some("npm") => NodeManager::Npm,
        Some("pnpm") => NodeManager::Pnpm,
        Some("yarn") => NodeManager::Yarn,
        Some("bun") => NodeManager::Bun,
        _ if read("pnpm-lock.yaml").is_some() => NodeManager::Pnpm,
        _ if read("yarn.lock").is_some() => NodeManager::Yarn,
        _ if read("bun.lock").is_some() || read("bun.lockb").is_some() => NodeManager::Bun,
        _ => NodeManager::Npm,
    };
    Some(ProjectKind::Node { manager, build, lint, test })
}

fn cargo(read: &dyn Fn(&str) -> Option<String>) -> Option<ProjectKind> {
    let manifest = read("Cargo.toml")?;
    let lints = ["[lints", "[workspace.lints"];
    let clippy = manifest.lines().any(|line| lints.iter().any(|table| line.trim_start().starts_with(table)))
        || read("clippy.toml").is_some()
        || read(".clippy.toml").is_some();
    Some(ProjectKind::Cargo { clippy })
}

fn python(read: &dyn Fn(&str) -> Option<String>) -> Option<ProjectKind> {
    let files = ["pyproject.toml", "setup.py", "setup.cfg", "tox.ini"].map(read);
    if files.iter().all(Option::is_none) {
        return None;
    }
    let [project, _, setup, tox] = files.map(Option::unwrap_or_default);
    let exists = |path: &str| read(path).is_some();
    let launcher = match () {
        () if exists("uv.lock") || project.contains("[tool.uv]") => "uv run ",
        () if exists("poetry.lock") => "poetry run ",
        () => "",
    };
    let linter = if project.contains("[tool.ruff") || exists("ruff.toml") || exists(".ruff.toml") {
        Some("ruff check .")
    } else if exists(".flake8") || setup.contains("[flake8]") || tox.contains("[flake8]") {
        Some("flake8")
    } else {
        None
    };
    let pytest = [&project, &setup, &tox].iter().any(|text| text.contains("pytest"))
        || ["pytest.ini", "conftest.py", "tests/conftest.py"].into_iter().any(exists);
    let tester = match () {
        // tox knows the environments in which the project wants to be tested.
        () if tox.contains("[testenv") || project.contains("[tool.tox]") => "tox run",
        () if pytest => "pytest",
        () => "unittest",
    };
    Some(ProjectKind::Python { launcher, linter, tester })
}

fn make(read: &dyn Fn(&str) -> Option<String>) -> Option<ProjectKind> {
    // The order in which GNU make looks for them.
    let text = ["GNUmakefile", "makefile", "Makefile"].into_iter().find_map(read)?;
    let targets = make_targets(&text);
    let first = |names: &[&'static str]| names.iter().copied().find(|name| targets.contains(name));
    // `make check` runs tests in most makefiles.
    let (build, lint, test) = (first(&["build", "all"]), first(&["lint"]), first(&["test", "check"]));
    (build.is_some() || lint.is_some() || test.is_some()).then_some(ProjectKind::Make { build, lint, test })
}

/// Returns the names before the colon of every rule.
fn make_targets(text: &str) -> Vec<&str> {
    let rules = text.lines().filter(|line| !line.starts_with(['\t', '#', ' ', '.']));
    rules
        .filter_map(|line| line.split_once(':'))
        // `NAME := value` and `NAME ::= value` are no rules, and neither is `NAME = a:b`.
        .filter(|(names, rest)| !names.contains('=') && !rest.starts_with(['=', ':']))
        .flat_map(|(names, _)| names.split_whitespace())
        .collect()
}

/// Returns the command of the project's guard, if it has one.
pub fn spec_guard(read: &dyn Fn(&str) -> Option<String>) -> Option<&'static str> {
    if read("scripts/spec-guard.mjs").is_some() {
        Some("node scripts/spec-guard.mjs --dry-run")
    } else if read("scripts/spec-guard.sh").is_some() {
        Some("bash scripts/spec-guard.sh --dry-run")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    fn lines(files: &'static [(&'static str, &'static str)]) -> Vec<String> {
        let pipeline = diagnostics(&repository(files)).expect("a known kind");
        let line = |stage: &Stage| match &stage.action {
            Action::Command(command) => format!("{}: {}", stage.id, command.command),
            _ => unreachable!("we ship commands only"),
        };
        pipeline.stages.iter().map(line).collect()
    }

    #[test]
    fn diagnostics_fit_the_project() {
        type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
        const SCRIPTS: &str = r#"{"scripts": {"build": "tsc", "lint": "eslint .", "test": "vitest"}}"#;
        let cases: &[Case] = &[
            (
                &[("package.json", SCRIPTS)],
                &["build: npm run build", "lint: npm run lint", "test: npm run test"],
            ),
            (
                &[("package.json", r#"{"scripts": {"test": "x"}}"#), ("pnpm-lock.yaml", "")],
                &["test: pnpm run test"],
            ),
            (
                &[("package.json", r#"{"scripts": {"test": "x"}}"#), ("yarn.lock", "")],
                &["test: yarn run test"],
            ),
            (
                &[("package.json", r#"{"scripts": {"test": "x"}}"#), ("bun.lockb", "")],
                &["test: bun run test"],
            ),
            (
                &[
                    ("package.json", r#"{"packageManager": "pnpm@9.1.0", "scripts": {"lint": "x"}}"#),
                    ("yarn.lock", ""),
                ],
                &["lint: pnpm run lint"],
            ),
            (
                &[("Cargo.toml", "[package]")],
                &[
                    "build: cargo build --workspace --all-targets",
                    "lint: cargo fmt --all --check",
                    "test: cargo test --workspace",
                ],
            ),
            (
                &[("Cargo.toml", "[package]\n[lints.clippy]\n")],
                &[
                    "build: cargo build --workspace --all-targets",
                    "lint: cargo clippy --workspace --all-targets",
                    "test: cargo test --workspace",
                ],
            ),
            (
                &[("go.mod", "module x")],
                &["build: go build ./...", "lint: go vet ./...", "test: go test ./..."],
            ),
            (
                &[("Makefile", "all: a b\n\nCC := gcc\ncheck:\n\ttest: no\n")],
                &["build: make all", "test: make check"],
            ),
            (
                &[("go.mod", "module x"), ("scripts/spec-guard.sh", "")],
                &[
                    "build: go build ./...",
                    "lint: go vet ./...",
                    "test: go test ./...",
                    "spec-guard: bash scripts/spec-guard.sh --dry-run",
                ],
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(lines(files), *expected, "{files:?}");
        }
        assert_eq!(
            lines(&[("pyproject.toml", "[tool.ruff]\n[tool.pytest.ini_options]"), ("uv.lock", "")])[1..],
            ["lint: uv run python3 -m ruff check .", "test: uv run python3 -m pytest"]
        );
        assert_eq!(lines(&[("setup.py", "")])[1..], ["test: python3 -m unittest"]);
        assert_eq!(lines(&[("tox.ini", "[testenv]\ncommands = pytest")])[1..], ["test: python3 -m tox run"]);
        assert_eq!(
            lines(&[("pyproject.toml", "[tool.uv]\n[dependency-groups]\ndev = [\"pytest\"]")])[1..],
            ["test: uv run python3 -m pytest"]
        );
    }

    #[test]
    fn of_several_kinds_the_first_is_taken() {
        let scripts = r#"{"scripts": {"build": "x"}}"#;
        let all = [
            ("package.json", scripts),
            ("Cargo.toml", ""),
            ("go.mod", ""),
            ("setup.py", ""),
            ("Makefile", "all:"),
        ];
        let kinds: Vec<_> = (0..all.len())
            .map(|skipped| {
                let read = |path: &str| {
                    all[skipped..].iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
                };
                detect(&read).expect("a known kind")
            })
            .collect();
        assert!(matches!(
            kinds[..],
            [
                ProjectKind::Node { .. },
                ProjectKind::Cargo { .. },
                ProjectKind::Go,
                ProjectKind::Python { .. },
                ProjectKind::Make { .. }
            ]
        ));
    }

    #[test]
    fn what_says_nothing_is_no_kind() {
        const PLACEHOLDER: &str = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
        let cases: &[&'static [(&'static str, &'static str)]] = &[
            &[],
            &[("package.json", "not json")],
            &[("package.json", r#"{"scripts": {"start": "x"}}"#)],
            &[("package.json", PLACEHOLDER)],
            &[("Makefile", "test = a:b\nlint := x\n.PHONY: build\n")],
        ];
        for files in cases {
            assert_eq!(diagnostics(&repository(files)), Err(UnknownKind), "{files:?}");
        }
    }

    #[test]
    fn guardrails_are_required_where_there_is_a_guard() {
        let without = diagnostics(&repository(&[("go.mod", "")])).expect("a known kind");
        let with = diagnostics(&repository(&[("go.mod", ""), ("scripts/spec-guard.mjs", "")]))
            .expect("a known kind");
        assert_eq!((without.guardrails_required, with.guardrails_required), (false, true));
        assert_eq!(with.stages[3].title, "node scripts/spec-guard.mjs --dry-run");
    }

    #[test]
    fn the_suggested_configuration_is_one() {
        let config = super::super::config::parse("x", MINIMAL_CONFIG).expect("valid");
        assert!(config.flaws.is_empty());
        assert_eq!(config.pipelines[0].id.as_str(), DIAGNOSTICS);
    }
}
