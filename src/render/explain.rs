//! The answer of `explain`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, span, style};
use crate::id::short;
use crate::ops::explain::{By, Explained, Files, StageExplained, Verdict};
use crate::output::untrusted::untrusted;
use crate::proof::Reason;
use crate::proof::difference::{Difference, Presence};
use crate::proof::standing::Origin;
use crate::run::key::{Definition, Fingerprint, Key, Subject};
use crate::run::manifest::Keyed;
use crate::run::stamp::Stamp;

/// An explanation to show.
pub struct Explanation<'a>(pub &'a Explained);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    pipeline: String,
    /// The commit that was asked about, or that is checked out.
    commit: Option<String>,
    tree: String,
    /// Whether the work tree differs from that commit.
    dirty: bool,
    fingerprint: Fingerprint,
    stages: Vec<Stage>,
}

#[derive(Serialize, JsonSchema)]
struct Stage {
    id: String,
    proven: bool,
    /// `proven`, `unproven`, `differs`, `unknown`, `not-kept`, `unkeyed`, or `in-parts` for a called pipeline, whose stages
    /// are looked up one by one.
    standing: &'static str,
    key: Option<Key>,
    subject: Option<Subject>,
    definition: Option<Definition>,
    /// The rule by which what was run proves nothing.
    reason: Option<Reason>,
    /// In a sentence, why the stage is not proven.
    why: Option<String>,
    run: Option<Run>,
    /// What differs from that run.
    differences: Vec<Difference>,
    /// The files that differ; null if that is not known, or none of it.
    files: Option<Vec<File>>,
    /// The stages of a called pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<Stage>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    task_id: String,
    manifest: String,
    worktree: String,
    commit: Option<String>,
    tree: String,
    completed_at: Stamp,
    result: crate::proof::Result,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Serialize, JsonSchema)]
struct File {
    /// git's letter: `A`, `M`, `D`, `R`, `T`.
    status: char,
    path: String,
    from: Option<String>,
}

fn run(by: &By) -> Run {
    Run {
        run_id: by.run_id.clone(),
        task_id: by.task_id.clone(),
        manifest: by.manifest.clone(),
        worktree: by.worktree.clone(),
        commit: by.commit.clone(),
        tree: by.tree.clone(),
        completed_at: by.completed_at,
        result: by.result,
        origin: by.origin.clone(),
    }
}

fn stage(explained: &StageExplained) -> Stage {
    let (standing, by) = match &explained.verdict {
        Verdict::Proven { by } => ("proven", Some(by)),
        Verdict::Unproven { by, .. } => ("unproven", Some(by)),
        Verdict::Differs { by, .. } => ("differs", Some(by)),
        Verdict::Unknown => ("unknown", None),
        Verdict::Parts(_) => ("in-parts", None),
        Verdict::NotKept | Verdict::Judged => ("not-kept", None),
        Verdict::Unkeyed { .. } => ("unkeyed", None),
    };
    let keyed = explained.keyed.as_ref();
    let (reason, differences, files) = match &explained.verdict {
        Verdict::Unproven { reason, .. } => (Some(reason.clone()), Vec::new(), None),
        Verdict::Differs { differences, files, .. } => {
            let files = match files {
                Files::Changed(changes) => Some(
                    changes
                        .iter()
                        .map(|it| File { status: it.status, path: it.path.clone(), from: it.from.clone() })
                        .collect(),
                ),
                Files::Same | Files::NotKnown => None,
            };
            (None, differences.clone(), files)
        }
        _ => (None, Vec::new(), None),
    };
    Stage {
        id: explained.id.clone(),
        proven: explained.verdict.is_proven(),
        standing,
        key: keyed.map(|keyed| keyed.key.clone()),
        subject: keyed.map(|keyed| keyed.subject.clone()),
        definition: keyed.map(|keyed| keyed.definition.clone()),
        reason,
        why: why(&explained.verdict),
        run: by.map(run),
        differences,
        files,
        stages: match &explained.verdict {
            Verdict::Parts(stages) => stages.iter().map(stage).collect(),
            _ => Vec::new(),
        },
    }
}

/// Returns in a sentence why what a run says proves nothing.
pub(super) fn reason(reason: &Reason, run: &str) -> String {
    match reason {
        Reason::Contradicted { passed, failed } => {
            format!("run {passed} passed and run {failed} failed on the very same: a flake proves nothing")
        }
        Reason::Failed => format!("run {run} failed it"),
        Reason::AllowedFailure => format!("run {run} let it fail"),
        Reason::Overridden => format!("in run {run} a guardrail was overridden"),
        Reason::Flaky => format!("in run {run} it passed only on a retry"),
        Reason::Void { why } => format!("run {run} proves nothing: {why}"),
        Reason::Expired { completed_at } => {
            format!("run {run} passed it at {completed_at}, which is too long ago")
        }
        Reason::Ahead { completed_at } => {
            format!("run {run} passed it at {completed_at}, which is yet to come: some clock was wrong")
        }
        Reason::Reused { run_id } => {
            format!("run {run} took it over from run {run_id}, of which there is no record")
        }
        Reason::Untrusted { writer } => {
            format!("only {writer} says so, and no signer who is believed has signed it")
        }
        Reason::Cleared { by, why } => {
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{by} cleared what runs up to {run} had found{why}, and it has not run since")
        }
    }
}

/// Returns in a sentence why a stage is not proven.
fn why(verdict: &Verdict) -> Option<String> {
    Some(match verdict {
        Verdict::Proven { .. } => return None,
        Verdict::Unproven { reason, by } => self::reason(reason, &by.run_id),
        Verdict::Differs { by, differences, .. } => {
            let said = |difference: &Difference| match difference {
                Difference::Definition { .. } => "something else",
                Difference::Files { .. } => "on other files",
                Difference::Tool { .. } => "with other tools",
                Difference::Variable { .. } => "with other variables",
                Difference::Machine { .. } => "on another system",
            };
            let in_order = [
                "something else",
                "on other files",
                "with other tools",
                "with other variables",
                "on another system",
            ];
            let differs = |what: &&str| differences.iter().any(|it| said(it) == *what);
            let parts: Vec<_> = in_order.into_iter().filter(differs).collect();
            let it = if parts.first() == Some(&"something else") { "" } else { "it " };
            format!("run {} ran {it}{}", by.run_id, parts.join(" and "))
        }
        Verdict::Unknown => "no run of anything like it is known".to_owned(),
        Verdict::Parts(_) if verdict.is_proven() => return None,
        Verdict::Parts(_) => "a called pipeline is looked up stage by stage".to_owned(),
        Verdict::NotKept => "somebody has to decide it for each run anew".to_owned(),
        Verdict::Judged => {
            "a guardrail judges anew each time: by what it compares with, and by the day".to_owned()
        }
        Verdict::Unkeyed { why } => format!("the tree does not name all that is there: {why}"),
    })
}

impl Answer for Explanation<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Explained { pipeline, commit, tree, dirty, fingerprint, stages, .. } = self.0;
        Document {
            pipeline: pipeline.to_string(),
            commit: commit.clone(),
            tree: tree.clone(),
            dirty: *dirty,
            fingerprint: fingerprint.clone(),
            stages: stages.iter().map(stage).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Explained { pipeline, commit: head, tree, dirty, stages, now, .. } = self.0;
        let pipeline = untrusted(pipeline.as_str());
        write!(out, "{pipeline} on tree {}", short(tree))?;
        if let Some(head) = head {
            write!(out, ", commit {}{}", short(head), if *dirty { " with changes" } else { "" })?;
        }
        writeln!(out)?;
        stages.iter().try_for_each(|explained| stage_text(out, explained, *now, 0))
    }
}

/// Writes a stage, and below it those of a pipeline that it calls.
fn stage_text(out: &mut dyn Write, explained: &StageExplained, now: Stamp, depth: usize) -> io::Result<()> {
    let proven = explained.verdict.is_proven();
    let word = if proven { "proven" } else { "not proven" };
    let color = style(if proven { "proven" } else { "partial" });
    let indent = "  ".repeat(depth);
    write!(out, "{color}{word:>10}{color:#}  {indent}{}", untrusted(&explained.id))?;
    match &explained.verdict {
        Verdict::Proven { by } => {
            let age = span(now.seconds_since(by.completed_at));
            write!(out, "  by run {}, {age} ago", untrusted(&by.run_id))?;
            if by.worktree != "." {
                write!(out, ", in {}", untrusted(&by.worktree))?;
            }
            if let Origin::Note { signer: Some(signer), .. } = &by.origin {
                write!(out, ", signed by {}", untrusted(&signer.principal))?;
            }
            writeln!(out)?;
        }
        Verdict::Parts(stages) => {
            writeln!(out, "  {}", if proven { "all of its stages" } else { "not all of its stages" })?;
            stages.iter().try_for_each(|explained| stage_text(out, explained, now, depth + 1))?;
        }
        verdict => writeln!(out, "  {}", untrusted(&why(verdict).unwrap_or_default()))?,
    }
    if explained.keyed.as_ref().is_some_and(Keyed::selects_nothing) {
        writeln!(out, "              its `inputs` select no file, so its verdict is about the whole tree")?;
    }
    if let Verdict::Differs { differences, files, .. } = &explained.verdict {
        for difference in differences {
            describe(out, difference, files)?;
        }
    }
    Ok(())
}

/// How many files are shown.
const SHOWN: usize = 20;

fn describe(out: &mut dyn Write, difference: &Difference, files: &Files) -> io::Result<()> {
    let pair = |out: &mut dyn Write, what: &str, now: &Option<String>, then: &Option<String>| {
        let shown = |text: &Option<String>| match text {
            Some(text) => untrusted(text).to_string(),
            None => "(nothing)".to_owned(),
        };
        writeln!(out, "            {} now   {}", untrusted(what), shown(now))?;
        writeln!(out, "            {} then  {}", " ".repeat(what.chars().count()), shown(then))
    };
    match difference {
        Difference::Files { .. } => match files {
            Files::NotKnown => {
                writeln!(out, "            files   others, and its tree was never stored, so not which")
            }
            Files::Same => writeln!(out, "            files   as they were, looked at in another way"),
            Files::Changed(changes) => {
                for change in changes.iter().take(SHOWN) {
                    write!(out, "            {}  ", change.status)?;
                    if let Some(from) = &change.from {
                        write!(out, "{} -> ", untrusted(from))?;
                    }
                    writeln!(out, "{}", untrusted(&change.path))?;
                }
                if changes.len() > SHOWN {
                    writeln!(out, "            and {} more", changes.len() - SHOWN)?;
                }
                if changes.is_empty() {
                    writeln!(out, "            files   the same, with other files left out of the checkout")?;
                }
                Ok(())
            }
        },
        Difference::Definition { field, now, then } => pair(out, field, now, then),
        Difference::Tool { command, now, then } => pair(out, &format!("`{command}`"), now, then),
        Difference::Machine { what, now, then } => pair(out, what, &Some(now.clone()), &Some(then.clone())),
        Difference::Variable { name, now, then } => {
            let said = match (now, then) {
                (Presence::Set, Presence::Set) => "has another value",
                (Presence::Set, _) => "is set, and was not",
                (Presence::Unset, Presence::Set) => "is not set, and was",
                (Presence::Unset, _) => "is declared now",
                (Presence::Undeclared, _) => "is not declared any more",
            };
            writeln!(out, "            variable {} {said}", untrusted(name))
        }
    }
}
