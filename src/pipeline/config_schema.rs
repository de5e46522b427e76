//! The JSON Schema of `codex.orchestrator.json`, so that editors complete and explain it.
//!
//! These types are never filled: `config` reads the file, and a test keeps the two in step.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde_json::Value;

use super::budget::Jobserver;
use super::evidence::Notes;

/// Returns the schema, for an editor or a file that `$schema` points at.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(ConfigFile).to_value();
    forbid_null(&mut schema);
    explain(&mut schema);
    schema
}

/// What a key may look like, as JSON: editors offer it. A key has the same examples wherever it stands.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("$schema", &[r#""./codex.orchestrator.schema.json""#]),
    (
        "pipelines",
        &[
            r#"[{"id": "diagnostics", "stages": [{"kind": "command", "id": "test", "command": "make test"}]}]"#,
        ],
    ),
    ("defaultPipeline", &[r#""diagnostics""#]),
    ("id", &[r#""diagnostics""#, r#""build""#, r#""lint""#, r#""test""#]),
    ("title", &[r#""Unit tests""#]),
    ("description", &[r#""What has to pass before a change is looked at.""#]),
    ("tags", &[r#"["diagnostics"]"#]),
    ("guardrailsRequired", &["false"]),
    ("stages", &[r#"[{"kind": "command", "id": "test", "command": "make test"}]"#]),
    ("command", &[r#""make test""#, r#""cargo test --workspace""#, r#""npm run test""#]),
    ("cwd", &[r#""web""#]),
    ("env", &[r#"{"RUST_BACKTRACE": "1"}"#]),
    ("allowFailure", &["true"]),
    ("jobs", &["4"]),
    ("budget", &[r#"{"jobs": 4, "memoryFloor": "2GiB", "pressure": {"io": 40}}"#]),
    ("memoryFloor", &[r#""2GiB""#]),
    ("pressure", &[r#"{"io": 40}"#]),
    ("cpu", &["90"]),
    ("io", &["40"]),
    ("memory", &["20"]),
    ("weight", &["2"]),
    ("jobserver", &["false", r#""fifo""#]),
    ("resources", &[r#"["db", "gpu"]"#]),
    ("guardrails", &[r#"{"diffBudget": {"maxFiles": 40}, "spec": {}}"#, r#"["diff-budget"]"#]),
    ("diffBudget", &[r#"{"maxFiles": 40, "maxLines": 1200}"#]),
    ("spec", &[r#"{"code": ["lib/"], "maxAgeDays": 90}"#]),
    ("required", &["false"]),
    ("maxFiles", &["40"]),
    ("maxLines", &["1200"]),
    ("exceededWhen", &[r#""both""#]),
    ("ignore", &[r#"["*.lock", "gen/"]"#]),
    ("ignoreAttributes", &[r#"["linguist-generated", "-diff"]"#]),
    ("renames", &["false"]),
    ("code", &[r#"["lib/", "*.go"]"#]),
    ("specs", &[r#"["docs/specs"]"#]),
    ("maxAgeDays", &["90"]),
    (
        "groups",
        &[
            r#"[{"id": "autumn", "owner": "ann", "expires": "2026-12-31", "max": 5, "specs": ["tasks/specs/0101-search.md"]}]"#,
        ],
    ),
    ("fallback", &[r#"{"words": ["fallback", "legacy"]}"#]),
    ("words", &[r#"["fallback", "legacy"]"#]),
    ("tables", &[r#"["docs/decisions/"]"#]),
    ("owner", &[r#""ann""#]),
    ("expires", &[r#""2026-12-31""#]),
    ("fingerprint", &[r#"["rustc -V", "node --version"]"#]),
    ("fingerprintEnv", &[r#"["RUSTFLAGS"]"#]),
    ("evidence", &[r#"{"notes": true, "maxAgeDays": 30}"#]),
    ("notes", &["true", r#""full""#]),
    ("sign", &["true"]),
    ("acceptSigned", &["true"]),
    ("signers", &[r#"".git-signers""#]),
    ("inputs", &[r#"["src/", "Cargo.*"]"#]),
    ("docs", &[r#"{"include": ["CONTRIBUTING.md"]}"#]),
    ("include", &[r#"["CONTRIBUTING.md", "guide/**/*.md"]"#]),
    ("hooks", &[r#"{"pre-push": {"require": ["build", "test"], "guardrails": ["diff-budget"]}}"#]),
    (
        "slots",
        &[
            r#"{"setup": [{"command": "npm ci", "inputs": ["package-lock.json"]}], "carry": ["node_modules"]}"#,
        ],
    ),
    ("setup", &[r#"[{"command": "npm ci", "inputs": ["package-lock.json"]}]"#, r#"["npm ci"]"#]),
    ("carry", &[r#"["node_modules", ".venv", "/target"]"#]),
    ("streams", &[r#"{"setup": ["npm ci"]}"#]),
    ("path", &[r#""../{repo}.{name}""#, r#"".worktrees/{name}""#]),
    ("teardown", &[r#"["make drop-database"]"#]),
    ("ports", &[r#"{"from": 20000, "to": 20999, "count": 10}"#]),
    ("from", &["20000"]),
    ("to", &["20999"]),
    ("count", &["10"]),
    ("database", &[r#""{repo}_{name}""#]),
    ("setupTimeout", &[r#""10m""#]),
    ("lfs", &[r#""later""#]),
    ("require", &[r#"["build", "test"]"#]),
    ("inlineSeconds", &["20"]),
    ("refs", &[r#"["refs/heads/*"]"#]),
    ("onMissing", &[r#""warn""#]),
    ("background", &["true"]),
    ("learning", &[r#"{"enabled": true, "retentionDays": 14}"#]),
    ("enabled", &["true"]),
    ("maxFileBytes", &["10485760"]),
    ("maxTotalBytes", &["1073741824"]),
    ("compression", &[r#""zstd""#]),
    ("retentionDays", &["14"]),
    ("environment", &[r#"["JAVA_HOME"]"#]),
    ("alerts", &[r##"{"slack": "#ours", "severity": "p1"}"##]),
    ("slack", &[r##""#ours""##]),
    ("pagerduty", &[r#""service""#]),
    ("severity", &[r#""p1""#]),
    ("crystalizer", &[r#"{"command": "learner", "budgetUsd": 0.25}"#]),
    ("model", &[r#""small""#]),
    ("budgetUsd", &["0.25"]),
    ("pre-commit", &[r#"{"require": ["lint"]}"#]),
    ("commit-msg", &[r#"{"require": ["message"]}"#]),
    ("post-commit", &[r#"{"require": ["diagnostics"], "background": true}"#]),
    ("post-merge", &[r#"{"require": ["diagnostics"], "background": true}"#]),
    ("post-checkout", &[r#"{"require": ["diagnostics"], "background": true}"#]),
    ("post-rewrite", &["{}"]),
    ("pre-rebase", &[r#"{"require": ["build"]}"#]),
    ("pre-push", &[r#"{"require": ["build", "test"], "guardrails": ["diff-budget", "spec"]}"#]),
    ("needs", &[r#"["build"]"#]),
    ("summaryHint", &[r#""All checks of the style guide""#]),
    ("session", &[r#"{"id": "web", "reuse": true}"#]),
    ("plan", &[r#"{"aliases": ["unit"], "defaultTarget": true}"#]),
    ("pipeline", &[r#""diagnostics""#]),
    ("optional", &["true"]),
    ("reuse", &["true"]),
    ("persist", &["true"]),
    ("runnable", &["false"]),
    ("aliases", &[r#"["unit"]"#]),
    ("defaultTarget", &["true"]),
    ("default", &["true"]),
    ("primary", &["true"]),
    ("requiresCloud", &["true"]),
    ("requires_cloud", &["true"]),
    ("executionMode", &[r#""mcp""#]),
    ("execution_mode", &[r#""mcp""#]),
    ("mode", &[r#""mcp""#]),
    ("timeout", &[r#""5m""#, "90"]),
    ("retries", &["2", r#"{"max": 3, "delay": "2s", "transient": {"exitCodes": [75]}}"#]),
    ("memoryLimit", &[r#""2GiB""#]),
    ("fixes", &["true"]),
    ("onFix", &[r#""refuse""#]),
    ("approval", &[r#""required""#]),
    ("instructions", &[r#""Look at the pages in the browser.""#]),
    ("max", &["3"]),
    ("delay", &[r#""2s""#]),
    ("maxDelay", &[r#""30s""#]),
    ("transient", &[r#"{"exitCodes": [75], "patterns": ["connection reset"]}"#]),
    ("exitCodes", &["[75]"]),
    ("keepGoing", &["false"]),
    ("adapters", &[r#"["go-module", {"id": "web", "cwd": "web", "commands": {"test": "npm test"}}]"#]),
    ("goals", &[r#"["build", "test"]"#, r#"[{"goal": "fix", "command": "make fix", "stream": "login"}]"#]),
    ("adapter", &[r#""go-module""#]),
    ("goal", &[r#""test""#]),
    ("stream", &[r#""login""#]),
    ("commands", &[r#"{"test": "npm test", "checks": {"pipeline": "diagnostics", "timeout": "10m"}}"#]),
    ("args", &[r#"["run", "test"]"#]),
    ("parallel", &["false"]),
    ("patterns", &[r#"["connection (reset|refused)"]"#]),
];

/// Adds examples to every key, and says what `kind` is for.
pub(super) fn explain(schema: &mut Value) {
    let Value::Object(object) = schema else {
        if let Value::Array(list) = schema {
            list.iter_mut().for_each(explain);
        }
        return;
    };
    for (key, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Value::Object(property) = property else { continue };
        if key == "kind" {
            let meaning = "What the stage does; it decides which other keys there are.";
            property.insert("description".to_owned(), meaning.into());
            if let Some(word) = property.get("const").cloned() {
                property.insert("examples".to_owned(), vec![word].into());
            }
        }
        if let Some((_, examples)) = EXAMPLES.iter().find(|(name, _)| name == key) {
            // Two things may share a name: one is a list, and the other is not.
            let is_list = property.get("type").is_some_and(|kind| kind == "array");
            let examples = examples.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
            let examples = examples.filter(|example| *key != "guardrails" || example.is_array() == is_list);
            let of_texts = property.get("items").is_some_and(|items| items["type"] == "string");
            let examples = examples.filter(|example| *key != "setup" || example[0].is_string() == of_texts);
            property.insert("examples".to_owned(), Value::Array(examples.collect()));
        }
    }
    object.values_mut().for_each(explain);
}

/// Turns "may be `null`" into "may be left out", which is all that an [`Option`] below means.
pub(super) fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(forbid_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get("anyOf")
                && let [Value::Object(only), Value::Object(null)] = &choices[..]
                && null.get("type").is_some_and(|name| name == "null")
            {
                let only = only.clone();
                object.remove("anyOf");
                object.extend(only);
            }
            object.values_mut().for_each(forbid_null);
        }
        _ => {}
    }
}

/// The pipelines of a project, for `git orchestrate`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "codex.orchestrator.json")]
struct ConfigFile {
    /// The schema of this file, for editors.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    /// What can run. Ids differ.
    pipelines: Option<Vec<Pipeline>>,
    /// The pipeline that runs when none is named; otherwise `diagnostics`.
    #[schemars(length(min = 1))]
    default_pipeline: Option<String>,
    /// How many commands may run at the same time where a pipeline does not say it; 1 if left out.
    jobs: Option<NonZeroU16>,
    /// What all runs of a user on this machine share.
    budget: Option<Budget>,
    /// What `git orchestrate guard` judges, and by which limits.
    guardrails: Option<Guardrails>,
    /// Commands that print what a verdict depends on, such as the version of a compiler.
    fingerprint: Option<Vec<String>>,
    /// Names of variables on which a verdict depends.
    fingerprint_env: Option<Vec<String>>,
    /// What becomes of evidence, how long it counts, and whose is believed.
    evidence: Option<Evidence>,
    /// What hooks of git ask for, by their names.
    hooks: Option<Hooks>,
    /// What makes side worktrees ready, in which hooks and `push` run what is missing.
    slots: Option<Slots>,
    /// Where streams are, and what makes them ready to work in.
    streams: Option<Streams>,
    /// What is learned from runs that succeed.
    learning: Option<Learning>,
}

/// What makes side worktrees ready. Read from the commit that is checked out there.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Slots {
    /// Commands that run in a side worktree before anything else does, in this order, each when its inputs changed.
    setup: Option<Vec<SetUp>>,
    /// Patterns, as in a `.gitignore`, of ignored paths that a side worktree gets a copy of from your worktree.
    carry: Option<Vec<String>>,
}

/// A command that makes a side worktree ready.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SetUp {
    /// A text for `/bin/sh -c`.
    #[schemars(length(min = 1))]
    command: String,
    /// The folder to run in, relative to the repository's root.
    #[schemars(length(min = 1))]
    cwd: Option<String>,
    /// Variables added last; their values are not expanded.
    env: Option<BTreeMap<String, Variable>>,
    /// Pathspecs of git for what it depends on; everything if left out.
    inputs: Option<Vec<String>>,
    /// How long it may take; 30 minutes if left out.
    timeout: Option<Time>,
}

/// Where streams are, and what makes them ready to work in.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Streams {
    /// The folder of a stream, absolute or as seen from the main worktree; `{repo}` is the name of that, and `{name}`
    /// that of the stream. `../{repo}.{name}` if left out.
    path: Option<String>,
    /// Commands that run in a new stream, one after the other, recorded as a run.
    setup: Option<Vec<String>>,
    /// Commands that run in a stream before it is removed, one after the other, recorded as a run.
    teardown: Option<Vec<String>>,
    /// The ports of which each stream has some for itself, as `CODEX_ORCHESTRATOR_PORT`.
    ports: Option<Ports>,
    /// What the database of a stream is called, as `CODEX_ORCHESTRATOR_DATABASE`; made of letters, digits and `_` only.
    database: Option<String>,
    /// How long those of either may take in all; 10 minutes if left out.
    setup_timeout: Option<Time>,
    /// Whether files of Git LFS are fetched when a stream is made; `now` if left out.
    lfs: Option<Lfs>,
}

/// The ports of which each stream has some for itself.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Ports {
    /// The first one.
    from: NonZeroU16,
    /// The last one.
    to: NonZeroU16,
    /// How many each stream has; 1 if left out.
    count: Option<NonZeroU16>,
}

/// When files of Git LFS are fetched.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum Lfs {
    Now,
    Later,
}

/// What is learned from runs that succeed.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Learning {
    /// Whether each run of `start` and `exec` that succeeds is learned from; false if left out.
    enabled: Option<bool>,
    /// Files larger than this are left out of a snapshot; 100 MiB if left out.
    max_file_bytes: Option<u64>,
    /// Files are left out that would make a snapshot larger than this, unpacked; 2 GiB if left out.
    max_total_bytes: Option<u64>,
    /// How the archive of a snapshot is packed; `gzip` if left out.
    compression: Option<Compression>,
    /// For how many days `snapshot gc` keeps a snapshot; 30 if left out.
    retention_days: Option<u64>,
    /// How long the replay of a scenario may take; 10 minutes if left out.
    timeout: Option<Time>,
    /// Names of variables that a replay is given, beside the usual ones.
    environment: Option<Vec<String>>,
    /// For whom alerts are; they are kept in the manifest, and sent to nobody.
    alerts: Option<Alerts>,
    /// Who makes a pattern of a scenario that holds.
    crystalizer: Option<Crystalizer>,
}

/// For whom alerts are.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Alerts {
    /// The channel; `#learning-alerts` if left out.
    #[schemars(length(min = 1))]
    slack: Option<String>,
    /// The service; `learning-pipeline` if left out.
    #[schemars(length(min = 1))]
    pagerduty: Option<String>,
    /// How urgent they are. With one, a scenario that somebody has to write down is an alert on both channels.
    severity: Option<Severity>,
}

/// How urgent alerts are.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its shape is looked at")]
enum Severity {
    P1,
    P2,
}

/// How the archive of a snapshot is packed.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its shape is looked at")]
enum Compression {
    Gzip,
    Zstd,
}

/// Who makes a pattern of a scenario that holds.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Crystalizer {
    /// The program, called with `chat --model M --input-file F --output-file G`; else what `CODEX_CLI_BIN` names.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// The model that it is asked to use; else what `CRYSTALIZER_MODEL` names.
    #[schemars(length(min = 1))]
    model: Option<String>,
    /// What a pattern may cost; 0.5 if left out.
    #[schemars(range(min = 0))]
    budget_usd: Option<f64>,
    /// How long it may take; 5 minutes if left out.
    timeout: Option<Time>,
}

/// What all runs of a user on this machine share.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Budget {
    /// How many commands of all runs together may run at the same time, as far as runs of this project are
    /// concerned; as many as there are cores if left out, or as the run was asked for with `--jobs`.
    jobs: Option<NonZeroU16>,
    /// How much memory stays free: a stage that would leave less waits until others have ended.
    memory_floor: Option<Size>,
    /// How much others may wait for the machine before a stage waits until others have ended.
    pressure: Option<Pressure>,
}

/// In how many percent of the last ten seconds something waited for the machine, as `/proc/pressure` says.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Pressure {
    /// For a processor.
    #[schemars(range(min = 1, max = 100))]
    cpu: Option<u8>,
    /// For a disk.
    #[schemars(range(min = 1, max = 100))]
    io: Option<u8>,
    /// For memory.
    #[schemars(range(min = 1, max = 100))]
    memory: Option<u8>,
}

/// What hooks of git ask for, by their names. Read from the commit that a change is compared with.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Hooks {
    /// Before a commit.
    pre_commit: Option<Hook>,
    /// Before a commit, when its message is known.
    commit_msg: Option<Hook>,
    /// After a commit.
    post_commit: Option<Hook>,
    /// After a merge.
    post_merge: Option<Hook>,
    /// After a checkout.
    post_checkout: Option<Hook>,
    /// After commits were rewritten.
    post_rewrite: Option<Hook>,
    /// Before a rebase.
    pre_rebase: Option<Hook>,
    /// Before a push.
    pre_push: Option<Hook>,
}

/// What one hook asks for.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Hook {
    /// Names of stages or pipelines; `pipeline:stage` where a name alone could mean several.
    require: Option<Vec<String>>,
    /// Guardrails that judge what is new: `diff-budget`, `spec`.
    guardrails: Option<Vec<HookGuardrail>>,
    /// For `pre-push`: what is missing is run at once if it usually takes no longer than this in all; 20 if left out.
    inline_seconds: Option<u64>,
    /// For `pre-push`: the refs that it is about, as the remote calls them, with `*` for anything;
    /// `refs/heads/*` if left out.
    refs: Option<Vec<String>>,
    /// Whether something that is not proven is refused, or only told; `refuse` if left out.
    on_missing: Option<OnMissing>,
    /// For `pre-commit`: what becomes of a commit in which a stage with `fixes` changed something; `commit` if left out.
    on_fix: Option<OnFix>,
    /// For hooks that come after: whether nobody waits for it; false if left out.
    background: Option<bool>,
}

/// A guardrail that a hook can ask for.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum HookGuardrail {
    DiffBudget,
    Spec,
}

/// What becomes of a commit in which something was fixed: it goes on with what was fixed, or it is refused once, so
/// that somebody can look at it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum OnFix {
    Commit,
    Refuse,
}

/// What becomes of something that is not proven.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum OnMissing {
    Refuse,
    Warn,
}

/// What becomes of evidence, how long it counts, and whose is believed.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Evidence {
    /// Whether a finished run leaves a git note below `refs/notes/orchestrate`; false if left out. With `full` its
    /// manifest goes along.
    notes: Option<Notes>,
    /// Whether notes are signed; as you sign your commits, if left out.
    sign: Option<bool>,
    /// For how many days a record counts; for ever if left out.
    max_age_days: Option<u64>,
    /// Whether `--reuse` takes over what others proved, if an allowed signer signed it; false if left out.
    accept_signed: Option<bool>,
    /// The file of allowed signers, as ssh-keygen reads it, relative to the root. Read from the commit
    /// that a change is compared with.
    #[schemars(length(min = 1))]
    signers: Option<String>,
}

/// Guardrails; one that is named here is required.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Guardrails {
    /// How large a change may be.
    diff_budget: Option<DiffBudget>,
    /// Whether specs keep up with the code.
    spec: Option<Spec>,
    /// Whether documents refer to what exists.
    docs: Option<Docs>,
}

/// Whether documents refer to what exists.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Docs {
    /// Whether `git orchestrate guard` without a name runs it; true if left out.
    required: Option<bool>,
    /// Pathspecs of git for documents, beside those that are always checked.
    include: Option<Vec<String>>,
}

/// How large a change may be. Read from the commit that the change is compared with.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct DiffBudget {
    /// Whether `git orchestrate guard` without a name runs it; true if left out.
    required: Option<bool>,
    /// How many files may change; 25 if left out.
    max_files: Option<u64>,
    /// How many lines may be added and deleted; 800 if left out.
    max_lines: Option<u64>,
    /// Whether `either` limit or only `both` together make a change too large; `either` if left out.
    exceeded_when: Option<ExceededWhen>,
    /// Pathspecs of git for what is not counted, beside those that come with the program.
    ignore: Option<Vec<String>>,
    /// Attributes of git whose files are not counted; `linguist-generated` if left out.
    ignore_attributes: Option<Vec<String>>,
    /// Whether a renamed file is one file with its edited lines instead of two; true if left out.
    renames: Option<bool>,
}

/// Which of the limits must be passed.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum ExceededWhen {
    Either,
    Both,
}

/// Whether specs keep up with the code. Read from the commit that the change is compared with.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    /// Whether `git orchestrate guard` without a name runs it; true if left out.
    required: Option<bool>,
    /// Where code is: beginnings of paths such as `src/`, or `*.go` for one kind of file anywhere.
    code: Option<Vec<String>>,
    /// The folders of specs; `tasks/specs` and `docs/design/specs` if left out.
    specs: Option<Vec<String>>,
    /// For how many days a review of a spec is good; 30 if left out.
    max_age_days: Option<u64>,
    /// Specs whose reviews are overdue with somebody's knowledge: planned debt, for some time.
    groups: Option<Vec<SpecGroup>>,
    /// Whether a change that adds a fallback to the code has to say in a table what becomes of it; it need not if
    /// left out.
    fallback: Option<SpecFallback>,
}

/// What speaks of a fallback, and where a table decides about it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SpecFallback {
    /// Words to look for in lines that are added to code; `fallback`, `compat`, `legacy`, `shim` and the like if left out.
    words: Option<Vec<String>>,
    /// Beginnings of the paths of documents that may have the table; specs and the files of tasks if left out.
    tables: Option<Vec<String>>,
}

/// Specs whose reviews somebody has put off; a spec may be in one group.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SpecGroup {
    /// The name of the group.
    #[schemars(length(min = 1))]
    id: String,
    /// Who sees to it.
    #[schemars(length(min = 1))]
    owner: String,
    /// The last day on which it counts, as `YYYY-MM-DD`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    expires: String,
    /// How many of its specs may be overdue at a time.
    max: u64,
    /// Paths of specs, relative to the root of the repository.
    specs: Vec<String>,
}

/// Stages that run in order, or at the same time with `jobs`; the first that fails ends the run.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Pipeline {
    /// The name to start it by.
    #[schemars(length(min = 1))]
    id: String,
    /// The name to show; the id if left out.
    title: Option<String>,
    /// What the pipeline is for.
    description: Option<String>,
    /// Recorded as the capabilities of a run.
    tags: Option<Vec<String>>,
    /// Whether a run without a passing guard stage gets the advice to add one; true if left out.
    guardrails_required: Option<bool>,
    /// How many commands may run at the same time.
    jobs: Option<NonZeroU16>,
    /// How long its stages may take in all.
    timeout: Option<Time>,
    /// Whether stages that are proven already are not run again; false if left out.
    reuse: Option<bool>,
    /// What runs. Ids differ, and there is at least one if the pipeline is to run.
    stages: Vec<Stage>,
}

/// One entry of a pipeline.
#[derive(JsonSchema)]
#[expect(clippy::large_enum_variant, reason = "never filled")]
#[schemars(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind", deny_unknown_fields)]
enum Stage {
    /// Runs a command.
    Command {
        /// The name of the stage, which differs from the others of its pipeline.
        #[schemars(length(min = 1))]
        id: String,
        /// The name to show; the id if left out.
        title: Option<String>,
        /// The text for `/bin/sh -c`.
        #[schemars(length(min = 1))]
        command: String,
        /// The folder to run in, relative to the root of the repository.
        #[schemars(length(min = 1))]
        cwd: Option<String>,
        /// Variables added to the environment. `$` in a value stays as it is.
        env: Option<BTreeMap<String, Variable>>,
        /// Whether the run goes on after a failure, with the stage recorded as `skipped`.
        allow_failure: Option<bool>,
        /// How often the command is run again after a failure.
        retries: Option<RetriesOrCount>,
        /// How much memory its processes may have.
        memory_limit: Option<Size>,
        /// Whether the command mends what it finds, as a formatter does: what it changes in the side worktree of a
        /// `pre-commit` hook comes back to the index and the work tree. False if left out.
        fixes: Option<bool>,
        /// How many tokens of the machine's budget it takes while it runs, but never more than there are; 1 if left out.
        weight: Option<NonZeroU16>,
        /// Names of what no other command of this user on this machine may use meanwhile.
        resources: Option<Vec<String>>,
        /// Whether it is handed a jobserver of GNU make and cargo, so that what they do at the same time counts; true if
        /// left out. `fifo` hands it down by a path, which ninja wants and GNU make understands since 4.4.
        jobserver: Option<Jobserver>,
        /// Replaces the summary that would be made of the output.
        summary_hint: Option<String>,
        /// A label that stages share.
        session: Option<Session>,
        /// The stages of this pipeline that must end well before this one begins.
        needs: Option<Vec<String>>,
        /// How long the stage may take; each time, if it is run again. It does not count while somebody is asked.
        timeout: Option<Time>,
        /// Whether somebody has to approve the stage before it begins.
        approval: Option<Approval>,
        /// Pathspecs of git for what the stage looks at, if that is not everything: what else changes does not
        /// make its verdict another.
        inputs: Option<Vec<String>>,
        /// Whether the stage is not run again if it is proven already; what the pipeline says if left out.
        reuse: Option<bool>,
        /// What the stage tells the planner.
        plan: Option<PlanHints>,
        /// Whether the stage needs the cloud; `plan` has the last word.
        requires_cloud: Option<bool>,
        /// Another spelling of `requiresCloud`.
        #[schemars(rename = "requires_cloud")]
        requires_cloud_2: Option<bool>,
        /// `cloud` or `mcp`; other words are only recorded. `plan` has the last word.
        execution_mode: Option<String>,
        /// Another spelling of `executionMode`.
        #[schemars(rename = "execution_mode")]
        execution_mode_2: Option<String>,
        /// Another spelling of `executionMode`.
        mode: Option<String>,
    },
    /// Runs another pipeline.
    Subpipeline {
        /// The name of the stage, which differs from the others of its pipeline.
        #[schemars(length(min = 1))]
        id: String,
        /// The name to show; the id if left out.
        title: Option<String>,
        /// The id of the pipeline: one of this file, or one that comes with the program.
        #[schemars(length(min = 1))]
        pipeline: String,
        /// Whether the run goes on when that pipeline fails or does not exist.
        optional: Option<bool>,
        /// The stages of this pipeline that must end well before this one begins.
        needs: Option<Vec<String>>,
        /// How long the child run may take. It does not count while somebody is asked.
        timeout: Option<Time>,
        /// Whether somebody has to approve the stage before it begins.
        approval: Option<Approval>,
        /// Pathspecs of git for what the stage looks at, if that is not everything: what else changes does not
        /// make its verdict another.
        inputs: Option<Vec<String>>,
        /// Whether the stage is not run again if it is proven already; what the pipeline says if left out.
        reuse: Option<bool>,
        /// What the stage tells the planner.
        plan: Option<PlanHints>,
        /// Whether the stage needs the cloud; `plan` has the last word.
        requires_cloud: Option<bool>,
        /// Another spelling of `requiresCloud`.
        #[schemars(rename = "requires_cloud")]
        requires_cloud_2: Option<bool>,
        /// `cloud` or `mcp`; other words are only recorded. `plan` has the last word.
        execution_mode: Option<String>,
        /// Another spelling of `executionMode`.
        #[schemars(rename = "execution_mode")]
        execution_mode_2: Option<String>,
        /// Another spelling of `executionMode`.
        mode: Option<String>,
    },
    /// Waits until somebody says that something was done, or that it is fine.
    Manual {
        /// The name of the stage, which differs from the others of its pipeline.
        #[schemars(length(min = 1))]
        id: String,
        /// The name to show; the id if left out.
        title: Option<String>,
        /// What whoever is asked should do or look at.
        instructions: Option<String>,
        /// The stages of this pipeline that must end well before this one begins.
        needs: Option<Vec<String>>,
        /// Such a stage is approved anyway; for those who like to say so.
        approval: Option<Approval>,
        /// What the stage tells the planner.
        plan: Option<PlanHints>,
        /// Whether the stage needs the cloud; `plan` has the last word.
        requires_cloud: Option<bool>,
        /// Another spelling of `requiresCloud`.
        #[schemars(rename = "requires_cloud")]
        requires_cloud_2: Option<bool>,
        /// `cloud` or `mcp`; other words are only recorded. `plan` has the last word.
        execution_mode: Option<String>,
        /// Another spelling of `executionMode`.
        #[schemars(rename = "execution_mode")]
        execution_mode_2: Option<String>,
        /// Another spelling of `executionMode`.
        mode: Option<String>,
    },
}

/// That somebody has to approve, unless the run's approval policy says otherwise.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum Approval {
    Required,
}

/// A length of time such as `90s` or `5m`, or a number of seconds.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Time {
    Text(String),
    Seconds(f64),
}

/// A number of bytes, or a text such as `512MiB` or `2GB`; at least 1 MiB.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Size {
    Text(String),
    Bytes(u64),
}

/// A number of retries, or more about them.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum RetriesOrCount {
    Count(u8),
    Retries(Retries),
}

/// How often a command is run again after a failure, and after which.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Retries {
    /// How often after the first time, up to 100.
    max: u8,
    /// How long to wait at most before the first retry, and twice as long before each further one; 1 s if left out.
    delay: Option<Time>,
    /// How long to wait at most before any of them; 30 s if left out.
    max_delay: Option<Time>,
    /// Which failures may pass by themselves; all that a command ends with if left out.
    transient: Option<Transient>,
}

/// The failures that may pass by themselves.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Transient {
    /// Exit codes of such failures.
    exit_codes: Option<Vec<u8>>,
    /// Regular expressions of which one matches the end of the output of such failures.
    patterns: Option<Vec<String>>,
}

/// The value of a variable; what is not a text becomes one, `null` becomes `null`.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Variable {
    Text(String),
    Number(f64),
    Flag(bool),
    Null(()),
}

/// A label that stages share. Each command is a shell of its own all the same.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Session {
    /// The label.
    id: Option<String>,
    /// Recorded.
    reuse: Option<bool>,
    /// Recorded.
    persist: Option<bool>,
}

/// What a stage tells the planner.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PlanHints {
    /// Whether the stage may be the target without being named; true if left out.
    runnable: Option<bool>,
    /// Other names that `--target` takes for the stage.
    aliases: Option<Vec<String>>,
    /// Whether the stage is the target when none is named.
    default_target: Option<bool>,
    /// Another spelling of `defaultTarget`.
    default: Option<bool>,
    /// Another spelling of `defaultTarget`.
    primary: Option<bool>,
    /// Whether the stage needs the cloud.
    requires_cloud: Option<bool>,
    /// Another spelling of `requiresCloud`.
    #[schemars(rename = "requires_cloud")]
    requires_cloud_2: Option<bool>,
    /// `cloud` or `mcp`; other words are only recorded.
    execution_mode: Option<String>,
    /// Another spelling of `executionMode`.
    #[schemars(rename = "execution_mode")]
    execution_mode_2: Option<String>,
    /// Another spelling of `executionMode`.
    mode: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unexplained(schema: &Value, found: &mut Vec<String>) {
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (key, property) in properties {
            let examples = property["examples"].as_array().map_or(0, Vec::len);
            if property["description"].as_str().is_none_or(str::is_empty) || examples == 0 {
                found.push(key.clone());
            }
        }
        match schema {
            Value::Array(list) => list.iter().for_each(|item| unexplained(item, found)),
            Value::Object(object) => object.values().for_each(|item| unexplained(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_key_has_a_description_and_an_example() {
        let mut found = Vec::new();
        unexplained(&schema(), &mut found);
        assert_eq!(found, [] as [String; 0], "a doc comment above, or an entry in EXAMPLES, is missing");
        for text in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            serde_json::from_str::<Value>(text).expect("examples are JSON");
        }
    }
}
