//! `init`: a configuration to start from, made of what the project says itself.

use std::fs::read_dir;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Context, Kind, Refusal};
use crate::pipeline::builtin::{self, ProjectKind};
use crate::pipeline::config::FILE_NAME;
use crate::sys::fs::{self, Durability};

/// The copy of our schema that lies beside the configuration. A relative path is what every editor can follow, in
/// every clone and without a network; the copy is committed with the file that it explains.
pub const SCHEMA_NAME: &str = "codex.orchestrator.schema.json";

/// The schema, as it is committed with this program.
pub const SCHEMA: &str = include_str!("../../templates/schemas/codex.orchestrator.json");

const FRAME: &str = include_str!("../../templates/init/codex.orchestrator.json");
const UNKNOWN: &str = include_str!("../../templates/init/unknown.json");

/// How deep below the root projects are looked for, and in how many folders at most.
const DEPTH: usize = 2;
const FOLDERS: usize = 1_000;

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Words of [`builtin::KINDS`]; all kinds of the project if empty.
    pub kinds: Vec<String>,
    /// Whether nothing is to be written.
    pub print: bool,
    /// Whether only the copy of the schema is to be brought up to date.
    pub schema_only: bool,
    /// Whether only git is to be told of notes, so that `git log` shows them and `git fetch` gets them.
    pub notes_only: bool,
}

/// A kind of project that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Relative to the root; empty for the root itself.
    pub folder: String,
    pub kind: ProjectKind,
}

/// What was made, or would be.
#[derive(Clone, Debug)]
pub struct Made {
    pub root: PathBuf,
    pub config: PathBuf,
    /// The text of the configuration.
    pub text: String,
    /// Ids and commands.
    pub stages: Vec<(String, String)>,
    /// What the stages come from.
    pub found: Vec<Here>,
    /// What is here too, and has no stages.
    pub also: Vec<Here>,
    /// Files that were written, by their names in the root.
    pub written: Vec<&'static str>,
    /// Whether the copy of the schema that was there is not the present one.
    pub schema_differs: bool,
    /// What was added to git's configuration: keys and values.
    pub configured: Vec<(String, String)>,
    pub notes_only: bool,
    pub printed_only: bool,
}

/// Makes a configuration. An existing one is never touched.
pub fn init(ctx: &Context, options: &InitOptions) -> Result<Made> {
    let root = &ctx.layout.root;
    let (config, schema) = (root.join(FILE_NAME), root.join(SCHEMA_NAME));
    let mut made = plan(ctx, options)?;
    if options.print {
        return Ok(made);
    }
    if options.notes_only {
        made.configured = super::evidence::display::configure(ctx)?;
        return Ok(made);
    }
    let kept = Schema::of(&schema)?;
    if options.schema_only {
        if kept == Schema::Foreign {
            return Err(foreign(&schema).into());
        }
        if kept != Schema::Same {
            fs::write_atomically(&schema, SCHEMA.as_bytes(), Durability::Power)?;
            made.written.push(SCHEMA_NAME);
        }
        return Ok(made);
    }
    // A link that leads nowhere is something too.
    if config.symlink_metadata().is_ok() {
        return Err(exists(&config).into());
    }
    match kept {
        Schema::Foreign => return Err(foreign(&schema).into()),
        Schema::Missing if fs::create_whole(&schema, SCHEMA.as_bytes())? => made.written.push(SCHEMA_NAME),
        Schema::Missing | Schema::Same => {}
        Schema::Older => made.schema_differs = true,
    }
    // Last of all: an editor finds the schema as soon as there is a file to explain.
    if !fs::create_whole(&config, made.text.as_bytes())? {
        return Err(exists(&config).into());
    }
    fs::sync_dir(root)?;
    made.written.insert(0, FILE_NAME);
    Ok(made)
}

fn exists(config: &Path) -> Refusal {
    Refusal::new(Kind::Unsafe, format!("`{}` exists, and is left as it is", config.display())).hint(
        "`git orchestrate init --print` shows what would be written; `git orchestrate plan` what runs now",
    )
}

fn foreign(schema: &Path) -> Refusal {
    Refusal::new(Kind::Unsafe, format!("`{}` is no schema of ours, and is left as it is", schema.display()))
        .hint(format!("move it out of the way: `git mv {SCHEMA_NAME} NEW_NAME`"))
}

/// What lies where the copy of the schema belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    Missing,
    Same,
    /// Ours, of another version of this program.
    Older,
    Foreign,
}

impl Schema {
    /// Looks at the file.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_symlink() || path.is_dir() {
            return Ok(Self::Foreign);
        }
        let Some(bytes) = fs::read_if_there(path).context("cannot read the schema")? else {
            return Ok(Self::Missing);
        };
        if bytes == SCHEMA.as_bytes() {
            return Ok(Self::Same);
        }
        let id =
            |bytes: &[u8]| Some(serde_json::from_slice::<Value>(bytes).ok()?["$id"].as_str()?.to_owned());
        Ok(if id(&bytes) == id(SCHEMA.as_bytes()) { Self::Older } else { Self::Foreign })
    }
}

/// Returns what would be written.
fn plan(ctx: &Context, options: &InitOptions) -> Result<Made> {
    let root = &ctx.layout.root;
    let read = |name: &str| super::plan::read(ctx, name);
    let here: Vec<_> = builtin::detect_all(&read).collect();
    for wanted in &options.kinds {
        if !here.iter().any(|kind| kind.word() == wanted) {
            let words: Vec<_> = here.iter().map(ProjectKind::word).collect();
            let refusal = Refusal::new(
                Kind::Usage,
                format!("nothing in `{}` says how to build, lint or test it with {wanted}", root.display()),
            );
            return Err(match words.is_empty() {
                true => refusal.hint("`git orchestrate init` without a kind writes a pipeline to fill in"),
                false => refusal.hint(format!("kinds here: {}", words.join(", "))),
            }
            .into());
        }
    }
    // A makefile beside another kind mostly calls that one's own commands: both would do the work twice.
    let takes = |kind: &ProjectKind| match options.kinds.is_empty() {
        true => here.len() == 1 || !matches!(kind, ProjectKind::Make { .. }),
        false => options.kinds.iter().any(|wanted| wanted == kind.word()),
    };
    let at_root = |kind: &ProjectKind| Here { folder: String::new(), kind: kind.clone() };
    let found: Vec<_> = here.iter().filter(|kind| takes(kind)).map(at_root).collect();
    let mut also: Vec<_> = here.iter().filter(|kind| !takes(kind)).map(at_root).collect();
    let members: Vec<_> =
        here.iter().filter(|kind| kind.is_workspace(&read)).map(ProjectKind::word).collect();
    also.extend(below(root).into_iter().filter(|there| !members.contains(&there.kind.word())));

    let mut document: Value = serde_json::from_str(match found.is_empty() {
        true => UNKNOWN,
        false => FRAME,
    })
    .context("a template is no JSON")?;
    let pipeline = &mut document["pipelines"][0];
    let mut stages = Vec::new();
    for Here { kind, .. } in &found {
        for (id, command) in builtin::commands(kind) {
            let id = if found.len() == 1 { id.to_owned() } else { format!("{}-{id}", kind.word()) };
            stages.push((id, command));
        }
    }
    if let Some(guard) = builtin::spec_guard(&read).filter(|_| !found.is_empty()) {
        stages.push(("spec-guard".to_owned(), guard.to_owned()));
        pipeline["guardrailsRequired"] = json!(true);
    }
    if found.is_empty() {
        let template = pipeline["stages"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        stages.extend(template.map(|stage| (text(&stage["id"]), text(&stage["command"]))));
    } else {
        let stage = |(id, command): &(String, String)| json!({ "kind": "command", "id": id, "title": title(id), "command": command });
        pipeline["stages"] = stages.iter().map(stage).collect();
    }
    let mut text = serde_json::to_string_pretty(&document).context("a template is no JSON")?;
    text.push('\n');
    Ok(Made {
        config: root.join(FILE_NAME),
        root: root.clone(),
        text,
        stages,
        found,
        also,
        written: Vec::new(),
        schema_differs: false,
        configured: Vec::new(),
        notes_only: options.notes_only,
        printed_only: options.print,
    })
}

/// Returns what people read: `cargo-build` → `Cargo build`.
fn title(id: &str) -> String {
    let words = id.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns the projects in folders below the root. Repositories of their own are others' business, and what is
/// installed or built is nobody's.
fn below(root: &Path) -> Vec<Here> {
    const SKIPPED: [&str; 10] = [
        "node_modules",
        "target",
        "vendor",
        "third_party",
        "dist",
        "build",
        "out",
        "venv",
        "env",
        "fixtures",
    ];
    let mut found = Vec::new();
    let mut looked = 0;
    let mut level = vec![(root.to_owned(), String::new())];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (folder, name) in level {
            let entries = read_dir(&folder).into_iter().flatten().filter_map(std::result::Result::ok);
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let mut names: Vec<_> =
                folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            for part in names {
                let path = folder.join(&part);
                if part.starts_with('.') || SKIPPED.contains(&&*part) || path.join(".git").exists() {
                    continue;
                }
                looked += 1;
                if looked > FOLDERS {
                    return found;
                }
                let name = if name.is_empty() { part } else { format!("{name}/{part}") };
                let read = |file: &str| {
                    let bytes = fs::read_if_there(&path.join(file)).ok().flatten()?;
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                };
                let kinds =
                    builtin::detect_all(&read).filter(|kind| !matches!(kind, ProjectKind::Make { .. }));
                found.extend(kinds.map(|kind| Here { folder: name.clone(), kind }));
                next.push((path, name));
            }
        }
        level = next;
    }
    found
}
