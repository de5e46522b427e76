//! The answers of `evidence`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::printer::{Answer, style};
use crate::id::short;
use crate::ops::evidence::policy::{Policy, Whose};
use crate::ops::evidence::read::{Refused, Signature};
use crate::ops::evidence::remote::{Alarm, Fetched, Pushed};
use crate::ops::evidence::show::{Attached, Known, Shown};
use crate::ops::evidence::verdict::Verdict;
use crate::ops::evidence::verify::{OfCommit, Verified};
use crate::ops::evidence::write::Wrote;
use crate::output::untrusted::untrusted;
use crate::proof::standing::LetPass;
use crate::proof::{Record, Result as StageResult};
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;

/// The document of `evidence show`.
#[derive(Serialize, JsonSchema)]
pub struct ShowDocument {
    commits: Vec<CommitDocument>,
    /// Where the allowed signers were found.
    signers: Vec<String>,
}

/// What is known of one commit.
#[derive(Serialize, JsonSchema)]
struct CommitDocument {
    commit: String,
    tree: String,
    subject: String,
    /// Oldest first.
    records: Vec<RecordDocument>,
    /// Lines of notes that are not to be believed.
    refused: Vec<RefusedDocument>,
    /// What a push let pass of it, and why.
    let_pass: Vec<LetPass>,
}

/// What one run says.
#[derive(Serialize, JsonSchema)]
struct RecordDocument {
    run_id: String,
    pipeline: String,
    status: RunStatus,
    partial: bool,
    void: Option<String>,
    /// Whether it ran before the commit was made.
    dirty: bool,
    completed_at: Stamp,
    stages: Vec<StageDocument>,
    guardrails: Vec<String>,
    /// The reasons that somebody gave to let a guardrail pass.
    overrides: Vec<String>,
    /// Whether a run of this repository wrote it into the ledger.
    ledger: bool,
    note: Option<NoteDocument>,
}

/// One stage of it.
#[derive(Serialize, JsonSchema)]
struct StageDocument {
    id: String,
    result: StageResult,
}

/// What the note adds.
#[derive(Serialize, JsonSchema)]
struct NoteDocument {
    writer: String,
    /// `allowed`, `stranger` or `unsigned`.
    signature: &'static str,
    /// Whose key it is, if that signer is allowed.
    principal: Option<String>,
    key: Option<String>,
    digest: String,
    previous: Option<String>,
    /// The digest of the manifest, if it went along.
    manifest_digest: Option<String>,
    /// The manifest, if somebody asked for it and it is here.
    manifest: Option<Value>,
}

/// A line that is not to be believed.
#[derive(Serialize, JsonSchema)]
pub struct RefusedDocument {
    writer: String,
    /// What the note is about, in hex.
    object: String,
    why: String,
}

/// Returns the document of a line that is not to be believed.
pub fn refused_document(refused: &Refused) -> RefusedDocument {
    let Refused { writer, object, why, .. } = refused.clone();
    RefusedDocument { writer, object, why }
}

pub(super) fn refused_text(out: &mut dyn Write, indent: &str, refused: &Refused) -> io::Result<()> {
    let Refused { writer, object, why, .. } = refused;
    let color = style("FAILED");
    writeln!(
        out,
        "{indent}{color}refused{color:#}  note of {} about {}: {}",
        untrusted(writer),
        short(object),
        untrusted(why)
    )
}

fn stages(record: &Record) -> String {
    let stage = |stage: &crate::proof::StageRecord| format!("{} {}", stage.id, stage.result.as_str());
    record.stages.iter().map(stage).collect::<Vec<_>>().join(", ")
}

impl Answer for Shown {
    type Document = ShowDocument;

    fn document(&self) -> ShowDocument {
        let record = |known: &Known| {
            let Known { record, note, here } = known;
            let note = note.as_ref().map(|note| {
                let (signature, principal, key) = match &note.signature {
                    Signature::Unsigned => ("unsigned", None, None),
                    Signature::Stranger { key } => ("stranger", None, Some(key.clone())),
                    Signature::Allowed { principal, key } => {
                        ("allowed", Some(principal.clone()), Some(key.clone()))
                    }
                };
                NoteDocument {
                    writer: note.writer.clone(),
                    signature,
                    principal,
                    key,
                    digest: note.digest.clone(),
                    previous: note.previous.clone(),
                    manifest_digest: note.manifest.as_ref().map(|attached| attached.digest.clone()),
                    manifest: note.manifest.as_ref().and_then(parsed),
                }
            });
            RecordDocument {
                run_id: record.run_id.clone(),
                pipeline: record.pipeline.clone(),
                status: record.status,
                partial: record.partial,
                void: record.void.clone(),
                dirty: record.dirty,
                completed_at: record.completed_at,
                stages: (record.stages.iter())
                    .map(|stage| StageDocument { id: stage.id.clone(), result: stage.result })
                    .collect(),
                guardrails: record.guardrails.iter().map(|it| it.line.clone()).collect(),
                overrides: record.guardrails.iter().filter_map(|it| it.reason.clone()).collect(),
                ledger: *here,
                note,
            }
        };
        let commits = self.commits.iter().map(|of| CommitDocument {
            commit: of.commit.id.clone(),
            tree: of.commit.tree.clone(),
            subject: of.commit.subject.clone(),
            records: of.records.iter().map(record).collect(),
            refused: of.refused.iter().map(refused_document).collect(),
            let_pass: of.let_pass.clone(),
        });
        ShowDocument { commits: commits.collect(), signers: self.signers.from.clone() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for of in &self.commits {
            writeln!(out, "{} {}", short(&of.commit.id), untrusted(&of.commit.subject))?;
            for known in &of.records {
                record_text(out, known)?;
            }
            for refused in &of.refused {
                refused_text(out, "  ", refused)?;
            }
            if of.records.is_empty() && of.refused.is_empty() {
                writeln!(out, "  no evidence")?;
            }
            for LetPass { reference, by, reason, said, at, .. } in &of.let_pass {
                let color = style("warning");
                let (reference, by, reason) = (untrusted(reference), untrusted(by), untrusted(reason));
                writeln!(out, "  {color}let pass{color:#}  to {reference}, {at} by {by}: {reason}")?;
                for line in said {
                    writeln!(out, "            {}", untrusted(line))?;
                }
            }
        }
        Ok(())
    }
}

fn parsed(attached: &Attached) -> Option<Value> {
    serde_json::from_slice(attached.whole.as_deref()?).ok()
}

/// The manifests that went along with what is shown, as they were on disk.
pub struct Manifests<'a>(pub &'a Shown);

impl Manifests<'_> {
    /// Returns all of them, each once.
    pub fn text(&self) -> Vec<u8> {
        let notes = self.0.commits.iter().flat_map(|of| &of.records).filter_map(|known| known.note.as_ref());
        let mut seen = BTreeSet::new();
        let attached = notes.filter_map(|note| note.manifest.as_ref()).filter(|it| seen.insert(&it.digest));
        attached.filter_map(|it| it.whole.as_deref()).flatten().copied().collect()
    }
}

fn record_text(out: &mut dyn Write, known: &Known) -> io::Result<()> {
    let Known { record, note, here } = known;
    let word = match &record.void {
        Some(_) => "void",
        None => record.status.as_str(),
    };
    let color = style(word);
    let partial = if record.partial { " (partial)" } else { "" };
    writeln!(
        out,
        "  {color}{word}{color:#}  {}{partial}  {}  {}",
        untrusted(&record.pipeline),
        untrusted(&record.run_id),
        record.completed_at
    )?;
    writeln!(out, "    {}", untrusted(&stages(record)))?;
    if let Some(why) = &record.void {
        writeln!(out, "    it proves nothing: {}", untrusted(why))?;
    }
    for guardrail in &record.guardrails {
        writeln!(out, "    {}", untrusted(&guardrail.line))?;
        if let Some(reason) = &guardrail.reason {
            writeln!(out, "    overridden: {}", untrusted(reason))?;
        }
    }
    match note {
        None => writeln!(out, "    in the ledger of this repository, without a note"),
        Some(note) => {
            let signed = match &note.signature {
                Signature::Unsigned => "unsigned".to_owned(),
                Signature::Stranger { key } => format!("signed with {key}, which nobody allows"),
                Signature::Allowed { principal, key } => format!("signed by {principal} with {key}"),
            };
            let here = if *here { "; it ran here" } else { "" };
            let along = if note.manifest.is_some() { "; with its manifest" } else { "" };
            writeln!(out, "    note of {}, {}{along}{here}", untrusted(&note.writer), untrusted(&signed))
        }
    }
}

/// The document of `evidence write`.
#[derive(Serialize, JsonSchema)]
pub struct WriteDocument {
    commits: Vec<String>,
    /// The ref that has the notes; null if there was nothing to write.
    r#ref: Option<String>,
    /// The runs that have a note now and had none before.
    runs: Vec<String>,
    /// Which key signed them.
    key: Option<String>,
    /// Why they are unsigned, if they should have been signed.
    unsigned: Option<String>,
    /// Runs whose manifests should have gone along and did not.
    without_manifest: Vec<WithoutManifestDocument>,
}

/// A manifest that did not go along.
#[derive(Serialize, JsonSchema)]
struct WithoutManifestDocument {
    run_id: String,
    why: String,
}

impl Answer for Wrote {
    type Document = WriteDocument;

    fn document(&self) -> WriteDocument {
        let written = self.written.clone();
        WriteDocument {
            commits: self.commits.iter().map(|commit| commit.id.clone()).collect(),
            r#ref: Some(written.reference).filter(|name| !name.is_empty()),
            runs: written.runs,
            key: written.key,
            unsigned: written.unsigned,
            without_manifest: (written.without_manifest.into_iter())
                .map(|(run_id, why)| WithoutManifestDocument { run_id, why })
                .collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let written = &self.written;
        if written.runs.is_empty() {
            return writeln!(out, "Nothing to write: every run on these trees has its note");
        }
        for run in &written.runs {
            writeln!(out, "Noted: {}", untrusted(run))?;
        }
        for (run, why) in &written.without_manifest {
            writeln!(out, "Without its manifest: {}: {}", untrusted(run), untrusted(why))?;
        }
        writeln!(out, "In: {}", untrusted(&written.reference))?;
        match (&written.key, &written.unsigned) {
            (_, Some(why)) => writeln!(out, "Not signed: {}", untrusted(why)),
            (Some(key), None) => writeln!(out, "Signed with: {}", untrusted(key)),
            (None, None) => writeln!(out, "Unsigned"),
        }
    }
}

/// A remote that has not what it had.
#[derive(Serialize, JsonSchema)]
struct AlarmDocument {
    writer: String,
    why: &'static str,
    /// What it had, in hex; it is kept here.
    had: String,
    has: Option<String>,
}

fn alarm_document(alarm: &Alarm) -> AlarmDocument {
    let Alarm { writer, why, had, has } = alarm.clone();
    AlarmDocument { writer, why, had, has }
}

fn alarm_text(out: &mut dyn Write, alarm: &Alarm) -> io::Result<()> {
    let color = style("FAILED");
    writeln!(
        out,
        "{color}ALARM{color:#}  {} ({}): what it had, {}, is kept here",
        alarm.why,
        untrusted(&alarm.writer),
        short(&alarm.had)
    )
}

/// The document of `evidence fetch`.
#[derive(Serialize, JsonSchema)]
pub struct FetchDocument {
    remote: String,
    /// Writers with something new.
    writers: Vec<String>,
    /// How many records are new in the ledger.
    records: usize,
    /// How many of them an allowed signer signed.
    signed: usize,
    refused: Vec<RefusedDocument>,
    alarms: Vec<AlarmDocument>,
}

impl Answer for Fetched {
    type Document = FetchDocument;

    fn document(&self) -> FetchDocument {
        FetchDocument {
            remote: self.remote.clone(),
            writers: self.writers.clone(),
            records: self.records,
            signed: self.signed,
            refused: self.refused.iter().map(refused_document).collect(),
            alarms: self.alarms.iter().map(alarm_document).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for alarm in &self.alarms {
            alarm_text(out, alarm)?;
        }
        for refused in &self.refused {
            refused_text(out, "", refused)?;
        }
        let Self { remote, records, signed, .. } = self;
        writeln!(out, "Fetched from {}: {records} new, {signed} by allowed signers", untrusted(remote))
    }
}

/// The document of `evidence push`.
#[derive(Serialize, JsonSchema)]
pub struct PushDocument {
    remote: String,
    /// The writers whose notes the remote has now.
    writers: Vec<String>,
    /// How often the remote had to be asked.
    tries: u32,
    alarms: Vec<AlarmDocument>,
}

impl Answer for Pushed {
    type Document = PushDocument;

    fn document(&self) -> PushDocument {
        PushDocument {
            remote: self.remote.clone(),
            writers: self.writers.clone(),
            tries: self.tries,
            alarms: self.alarms.iter().map(alarm_document).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for alarm in &self.alarms {
            alarm_text(out, alarm)?;
        }
        match self.writers.len() {
            0 => writeln!(out, "Nothing was sent to {}", untrusted(&self.remote)),
            1 => writeln!(out, "Sent to {}: the notes of one writer", untrusted(&self.remote)),
            count => writeln!(out, "Sent to {}: the notes of {count} writers", untrusted(&self.remote)),
        }
    }
}

/// The document of `evidence verify`.
#[derive(Serialize, JsonSchema)]
pub struct VerifyDocument {
    /// Whether all of it is proven.
    proven: bool,
    /// What the commits were held against.
    base: Option<BaseDocument>,
    /// Whose word counts about what a stage does: `base`, or `own` of the commits themselves.
    stages_of: &'static str,
    commits: Vec<VerifiedDocument>,
    /// Where the allowed signers were found.
    signers: Vec<String>,
}

/// The commit at which a change began.
#[derive(Serialize, JsonSchema)]
pub struct BaseDocument {
    label: String,
    commit: String,
}

/// Returns what commits were held against, and whose word counts.
pub fn base_document(policy: &Policy) -> (Option<BaseDocument>, &'static str) {
    let base = policy
        .base
        .as_ref()
        .map(|base| BaseDocument { label: base.label.clone(), commit: base.commit.clone() });
    let whose = match policy.whose {
        Whose::Base => "base",
        Whose::Own => "own",
        Whose::Parent => "parent",
    };
    (base, whose)
}

/// What was found out about one commit.
#[derive(Serialize, JsonSchema)]
struct VerifiedDocument {
    commit: String,
    tree: String,
    subject: String,
    proven: bool,
    verdicts: Vec<VerdictDocument>,
    /// The run that proves each stage.
    stages: Vec<ProvenDocument>,
    refused: Vec<RefusedDocument>,
}

/// Whether one condition holds.
#[derive(Serialize, JsonSchema)]
pub struct VerdictDocument {
    /// `present`, `bound`, `defined`, `complete`, `signature`, `allowed`, `fresh`, `consistent` or `chain`.
    name: &'static str,
    /// Null if it was not asked, or if nobody can say.
    holds: Option<bool>,
    why: Option<String>,
}

/// Returns the verdicts about a commit.
pub fn verdict_documents(of: &OfCommit) -> Vec<VerdictDocument> {
    let verdict = |(name, verdict): (&'static str, &Verdict)| {
        let (holds, why) = match verdict {
            Verdict::NotAsked => (None, None),
            Verdict::Holds => (Some(true), None),
            Verdict::Fails(why) => (Some(false), Some(why.clone())),
            Verdict::Open(why) => (None, Some(why.clone())),
        };
        VerdictDocument { name, holds, why }
    };
    of.verdicts.all().into_iter().map(verdict).collect()
}

/// A stage, and the run that proves it.
#[derive(Serialize, JsonSchema)]
struct ProvenDocument {
    stage: String,
    run_id: String,
}

impl Answer for Verified {
    type Document = VerifyDocument;

    fn document(&self) -> VerifyDocument {
        let commits = self.commits.iter().map(|of| VerifiedDocument {
            commit: of.commit.id.clone(),
            tree: of.commit.tree.clone(),
            subject: of.commit.subject.clone(),
            proven: of.is_proven(),
            verdicts: verdict_documents(of),
            stages: (of.proven_by.iter())
                .map(|it| ProvenDocument { stage: it.stage.clone(), run_id: it.record.run_id.clone() })
                .collect(),
            refused: of.refused.iter().map(refused_document).collect(),
        });
        let (base, stages_of) = base_document(&self.policy);
        VerifyDocument {
            proven: self.is_proven(),
            base,
            stages_of,
            commits: commits.collect(),
            signers: self.policy.signers.from.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for of in &self.commits {
            let word = if of.is_proven() { "proven" } else { "FAILED" };
            let color = style(word);
            write!(out, "{color}{word}{color:#}  {}  ", short(&of.commit.id))?;
            let asked = of.verdicts.all().into_iter().filter_map(|(name, verdict)| match verdict {
                Verdict::NotAsked | Verdict::Open(_) => None,
                Verdict::Holds => Some(name.to_owned()),
                Verdict::Fails(_) => Some(format!("not {name}")),
            });
            let asked: Vec<_> = asked.collect();
            writeln!(out, "{}  {}", asked.join(", "), untrusted(&of.commit.subject))?;
            for (name, verdict) in of.verdicts.all() {
                if let Verdict::Fails(why) = verdict {
                    writeln!(out, "    not {name}: {}", untrusted(why))?;
                }
            }
            for refused in &of.refused {
                refused_text(out, "    ", refused)?;
            }
        }
        if self.commits.is_empty() {
            writeln!(out, "There is no commit in that range.")?;
        }
        writeln!(out, "By: {}", untrusted(&self.policy.said()))
    }
}
