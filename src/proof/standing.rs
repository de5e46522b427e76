//! Many records about one key → what they prove together, and by which rule.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{Record, Result, StageRecord};
use crate::run::key::{Key, Subject};
use crate::run::stamp::Stamp;

/// One thing that somebody wrote down about runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Entry {
    /// A run ended.
    Run {
        record: Box<Record>,
        #[serde(default)]
        origin: Origin,
    },
    /// Somebody looked into a contradiction: what was recorded of the key before counts no more.
    Cleared { key: Key, subject: Subject, stage: String, by: String, reason: Option<String>, at: Stamp },
    /// Somebody let something pass that would have been refused. It proves nothing.
    LetPass(Box<LetPass>),
}

/// What somebody let pass, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetPass {
    pub subject: Subject,
    /// The commit in hex.
    pub commit: String,
    /// The ref that it was pushed to.
    pub reference: String,
    /// The remote, by name or URL.
    pub remote: String,
    pub by: String,
    /// Where the reason was given: a variable, or an option of the push.
    pub given_as: String,
    pub reason: String,
    /// What spoke against it, in one line each.
    pub said: Vec<String>,
    pub at: Stamp,
}

/// Where a record comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Origin {
    /// A run of this repository, in one of its worktrees.
    #[default]
    Here,
    /// A note that was fetched.
    Note {
        /// The writer's id.
        writer: String,
        /// Whose signature was on it, if it had a good one of a signer who was allowed.
        #[serde(default)]
        signer: Option<Signer>,
    },
}

/// Who signed a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signer {
    /// The name in the file of allowed signers, such as an e-mail address.
    pub principal: String,
    /// The fingerprint of the key, such as `SHA256:…`.
    pub key: String,
}

/// What a project or person holds believable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub now: Stamp,
    /// No record that is older counts.
    pub max_age: Option<SignedDuration>,
    /// Whether records of others count if a signer who is allowed signed them.
    pub signed_by_others: bool,
}

/// What the records of a key come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing<'a> {
    /// It passes.
    Proven { record: &'a Record, stage: &'a StageRecord, origin: &'a Origin },
    /// There are records, and they do not prove that it passes. The newest that says why.
    Unproven { reason: Reason, record: &'a Record, stage: &'a StageRecord },
    /// There is no record.
    Unknown,
}

/// The rule by which a record proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Reason {
    /// Runs of the same key passed and failed.
    Contradicted {
        passed: String,
        failed: String,
    },
    Failed,
    AllowedFailure,
    Overridden,
    Flaky,
    /// The run proves nothing.
    Void {
        why: String,
    },
    /// It passed longer ago than records count.
    Expired {
        completed_at: Stamp,
    },
    /// It passed at a time that is yet to come: some clock was wrong.
    Ahead {
        completed_at: Stamp,
    },
    /// It was taken over from a run of which there is no record any more.
    Reused {
        run_id: String,
    },
    /// Nobody who is allowed signed it.
    Untrusted {
        writer: String,
    },
    /// Somebody looked into what was recorded, so that it counts no more, and it has not run since.
    Cleared {
        by: String,
        why: Option<String>,
    },
}

/// Returns what `entries` prove about a key, in the order in which they were written.
pub fn standing<'a>(entries: &'a [Entry], key: &'a Key, rules: &Rules) -> Standing<'a> {
    let cleared =
        entries.iter().rposition(|entry| matches!(entry, Entry::Cleared { key: of, .. } if of == key));
    let (before, entries) = entries.split_at(cleared.map_or(0, |at| at + 1));
    let mut passed = None::<(&Record, &StageRecord, &Origin)>;
    let mut failed = None::<(&Record, &StageRecord)>;
    let mut flaky = None::<(&Record, &StageRecord)>;
    let mut weak = None::<(Reason, &Record, &StageRecord)>;
    for entry in entries {
        let Entry::Run { record, origin } = entry else { continue };
        for stage in record.about(key) {
            let reason = match (&record.void, stage.result) {
                (Some(why), _) => Reason::Void { why: why.clone() },
                // What nobody vouches for can neither prove nor contradict.
                _ if !trusted(origin, rules) => {
                    let Origin::Note { writer, .. } = origin else { unreachable!("ours is trusted") };
                    Reason::Untrusted { writer: writer.clone() }
                }
                // It is no fresher than one of now; it is wrong, and the next one may be right.
                (None, Result::Passed) if stage.completed_at > rules.now.later_by(SKEW) => {
                    Reason::Ahead { completed_at: stage.completed_at }
                }
                (None, Result::Passed) => {
                    if passed.is_none_or(|(newest, ..)| newest.completed_at <= record.completed_at) {
                        passed = Some((record, stage, origin));
                    }
                    continue;
                }
                (None, Result::Failed | Result::AllowedFailure) => {
                    if failed.is_none_or(|(newest, _)| newest.completed_at <= record.completed_at) {
                        failed = Some((record, stage));
                    }
                    continue;
                }
                (None, Result::Overridden) => Reason::Overridden,
                (None, Result::Flaky) => {
                    flaky = Some((record, stage));
                    Reason::Flaky
                }
                (None, Result::Reused) => {
                    Reason::Reused { run_id: stage.reused_from.clone().unwrap_or_default() }
                }
            };
            // Reused is the weakest: it only repeats what another record says.
            let repeats = |reason: &Reason| matches!(reason, Reason::Reused { .. });
            if weak.as_ref().is_none_or(|(old, ..)| !repeats(&reason) || repeats(old)) {
                weak = Some((reason, record, stage));
            }
        }
    }
    if let (Some(_), None, Some((record, stage))) = (passed, failed, flaky) {
        // It failed once and passed once, in one run.
        return Standing::Unproven { reason: Reason::Flaky, record, stage };
    }
    match (passed, failed, weak) {
        (Some((passed, ..)), Some((record, stage)), _) => {
            let reason =
                Reason::Contradicted { passed: passed.run_id.clone(), failed: record.run_id.clone() };
            Standing::Unproven { reason, record, stage }
        }
        (Some((record, stage, _)), None, _) if is_expired(stage.completed_at, rules) => {
            Standing::Unproven { reason: Reason::Expired { completed_at: stage.completed_at }, record, stage }
        }
        (Some((record, stage, origin)), None, _) => Standing::Proven { record, stage, origin },
        (None, Some((record, stage)), _) => {
            let reason = match stage.result {
                Result::AllowedFailure => Reason::AllowedFailure,
                _ => Reason::Failed,
            };
            Standing::Unproven { reason, record, stage }
        }
        (None, None, Some((reason, record, stage))) => Standing::Unproven { reason, record, stage },
        (None, None, None) => of_cleared(before, key).unwrap_or(Standing::Unknown),
    }
}

/// Says of a key of which there is no record since somebody cleared it who that was.
fn of_cleared<'a>(before: &'a [Entry], key: &'a Key) -> Option<Standing<'a>> {
    let Some(Entry::Cleared { by, reason, .. }) = before.last() else { return None };
    let (record, stage) = before.iter().rev().find_map(|entry| match entry {
        Entry::Run { record, .. } => record.about(key).next().map(|stage| (&**record, stage)),
        Entry::Cleared { .. } | Entry::LetPass(_) => None,
    })?;
    let reason = Reason::Cleared { by: by.clone(), why: reason.clone() };
    Some(Standing::Unproven { reason, record, stage })
}

fn trusted(origin: &Origin, rules: &Rules) -> bool {
    match origin {
        Origin::Here => true,
        Origin::Note { signer, .. } => rules.signed_by_others && signer.is_some(),
    }
}

fn is_expired(completed_at: Stamp, rules: &Rules) -> bool {
    let oldest = rules.max_age.and_then(|age| rules.now.earlier_by(age));
    oldest.is_some_and(|oldest| completed_at < oldest)
}

/// How far clocks of machines may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::key::Subject;
    use crate::sys::digest::sha256_hex;

    fn key() -> Key {
        Key::new(&Subject::tree("t", None), "d", "f", sha256_hex)
    }

    /// A record of one stage that ended in that second with that result.
    fn record(second: u32, result: &str) -> Record {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let stage = json!({
            "id": "test", "key": key(), "subject": "tree:t", "definition_digest": "d",
            "definition": {"format": 1, "kind": "command", "command": "true"},
            "result": result, "exit_code": 0, "started_at": at, "completed_at": at,
        });
        serde_json::from_value(json!({
            "version": 1, "run_id": format!("run-{second}"), "task_id": "t", "pipeline": "p",
            "pipeline_digest": "sha256:0", "status": "succeeded", "commit": null, "tree": "t", "dirty": true,
            "object_format": "sha1", "worktree": {"path": ".", "name": null, "linked": false},
            "manifest": "m", "started_at": at, "completed_at": at, "tool": "x",
            "fingerprint": {"os": "linux", "arch": "x"}, "stages": [stage], "nonce": "n",
        }))
        .unwrap()
    }

    fn ran(second: u32, result: &str) -> Entry {
        Entry::Run { record: Box::new(record(second, result)), origin: Origin::Here }
    }

    fn fetched(second: u32, result: &str, signed: bool) -> Entry {
        let signer = signed.then(|| Signer { principal: "ada@x".into(), key: "SHA256:k".into() });
        let origin = Origin::Note { writer: "w".into(), signer };
        Entry::Run { record: Box::new(record(second, result)), origin }
    }

    fn cleared() -> Entry {
        let at = record(0, "passed").started_at;
        let subject = Subject::tree("t", None);
        Entry::Cleared { key: key(), subject, stage: "test".into(), by: "ada".into(), reason: None, at }
    }

    fn rules() -> Rules {
        Rules { now: record(59, "passed").started_at, max_age: None, signed_by_others: true }
    }

    /// `proven run-1`, `unknown`, or the rule by which it is not proven.
    fn said(entries: &[Entry], rules: &Rules) -> String {
        let key = key();
        match standing(entries, &key, rules) {
            Standing::Proven { record, .. } => format!("proven {}", record.run_id),
            Standing::Unproven { reason, .. } => {
                serde_json::to_value(reason).unwrap()["rule"].as_str().unwrap().to_owned()
            }
            Standing::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn what_records_of_one_key_prove_together() {
        let cases: [(&[Entry], &str); 18] = [
            (&[], "unknown"),
            (&[ran(1, "passed")], "proven run-1"),
            (&[ran(1, "passed"), ran(2, "passed")], "proven run-2"),
            (&[ran(2, "passed"), ran(1, "passed")], "proven run-2"),
            (&[ran(1, "failed")], "failed"),
            (&[ran(1, "allowed-failure")], "allowed-failure"),
            (&[ran(1, "overridden")], "overridden"),
            (&[ran(1, "flaky")], "flaky"),
            (&[ran(1, "passed"), ran(2, "flaky")], "flaky"),
            (&[ran(1, "flaky"), ran(2, "overridden"), ran(3, "passed")], "flaky"),
            (&[ran(1, "flaky"), fetched(2, "overridden", false), ran(3, "passed")], "flaky"),
            (&[ran(1, "reused")], "reused"),
            (&[ran(1, "passed"), ran(2, "reused")], "proven run-1"),
            (&[ran(1, "flaky"), ran(2, "reused")], "flaky"),
            (&[ran(1, "passed"), ran(2, "failed")], "contradicted"),
            (&[ran(1, "failed"), ran(2, "passed"), ran(3, "passed")], "contradicted"),
            (&[ran(1, "failed"), cleared(), ran(2, "passed")], "proven run-2"),
            (&[ran(1, "failed"), ran(2, "passed"), cleared()], "cleared"),
        ];
        for (entries, expected) in cases {
            assert_eq!(said(entries, &rules()), expected, "{entries:#?}");
        }
    }

    #[test]
    fn a_void_run_proves_nothing_and_contradicts_nothing() {
        let mut moved = record(2, "failed");
        moved.void = Some("the tree moved while it ran".to_owned());
        let moved = Entry::Run { record: Box::new(moved), origin: Origin::Here };
        assert_eq!(said(std::slice::from_ref(&moved), &rules()), "void");
        assert_eq!(said(&[ran(1, "passed"), moved], &rules()), "proven run-1");
    }

    #[test]
    fn others_are_believed_only_if_somebody_allowed_signed() {
        assert_eq!(said(&[fetched(1, "passed", true)], &rules()), "proven run-1");
        assert_eq!(said(&[fetched(1, "passed", false)], &rules()), "untrusted");
        assert_eq!(said(&[ran(1, "passed"), fetched(2, "failed", false)], &rules()), "proven run-1");
        assert_eq!(said(&[ran(1, "passed"), fetched(2, "failed", true)], &rules()), "contradicted");
        let alone = Rules { signed_by_others: false, ..rules() };
        assert_eq!(said(&[fetched(1, "passed", true)], &alone), "untrusted");
    }

    #[test]
    fn a_pass_counts_for_as_long_as_the_rules_say() {
        let limited = |seconds| Rules { max_age: Some(SignedDuration::from_secs(seconds)), ..rules() };
        assert_eq!(said(&[ran(9, "passed")], &limited(50)), "proven run-9");
        assert_eq!(said(&[ran(9, "passed")], &limited(49)), "expired");
        let early = Rules {
            now: record(0, "passed").started_at.earlier_by(SignedDuration::from_mins(6)).unwrap(),
            ..rules()
        };
        assert_eq!(said(&[ran(1, "passed")], &early), "ahead");
        // Once the clock is right again, what runs then is proven.
        let late = Rules { now: record(9, "passed").started_at, ..early };
        let mut wrong = record(8, "passed");
        wrong.stages[0].completed_at = late.now.later_by(SignedDuration::from_mins(6));
        wrong.completed_at = wrong.stages[0].completed_at;
        let wrong = Entry::Run { record: Box::new(wrong), origin: Origin::Here };
        assert_eq!(said(&[wrong, ran(9, "passed")], &late), "proven run-9");
    }
}
