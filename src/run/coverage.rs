//! Coverage of a run by guard stages, and the advice that follows (`contract-core.md` §10.7).

use crate::guardrail::spec;
use crate::run::manifest::{GuardrailCounts, GuardrailStatus, StageEntry, StageVerdict};
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;

/// What the command of a guard stage contains, if the guard is a script.
const SCRIPT: &str = "spec-guard";

/// What kind of guard a stage is, if it is one.
#[derive(Clone, Copy, PartialEq)]
enum Guard {
    /// A script: how it ended is all that is known.
    Script,
    /// The one of this program, which leaves a verdict.
    Ours,
}

/// Returns what kind of guard a command runs: `git orchestrate guard spec` is ours.
fn guard_of(command: &str) -> Option<Guard> {
    let words: Vec<_> = command.split_whitespace().collect();
    if words.windows(3).any(|words| words[1] == "guard" && words[2] == "spec") {
        return Some(Guard::Ours);
    }
    command.contains(SCRIPT).then_some(Guard::Script)
}

/// Returns how the guard stages among `entries` ended. `verdicts` are those that stages left, and
/// `required` is whether the pipeline wants a guard.
pub fn coverage(
    entries: &[StageEntry],
    verdicts: &[StageVerdict],
    required: bool,
    at: Stamp,
) -> GuardrailStatus {
    let mut counts = GuardrailCounts::default();
    let mut pending = 0;
    for entry in entries {
        let judged = verdicts.iter().any(|it| it.index == entry.index && it.verdict.rule == spec::RULE);
        let guard = entry.command.as_deref().and_then(guard_of);
        if guard.is_none() && !judged {
            continue;
        }
        counts.total += 1;
        match entry.status {
            // A text alone is no guard that ran.
            StageStatus::Succeeded if guard == Some(Guard::Ours) && !judged => {
                counts.other += 1;
                pending += 1;
            }
            StageStatus::Succeeded => counts.succeeded += 1,
            StageStatus::Failed => counts.failed += 1,
            StageStatus::Skipped => counts.skipped += 1,
            StageStatus::Pending | StageStatus::Running => {
                counts.other += 1;
                pending += 1;
            }
        }
    }
    let recommendation = if counts.total == 0 && required {
        Some(
            "Guardrail stage missing: add a stage that runs spec-guard, \
             or set `guardrailsRequired` to false in the pipeline."
                .to_owned(),
        )
    } else if counts.failed > 0 {
        Some("Guardrail failed: mend what it names, then run `git orchestrate start` again.".to_owned())
    } else {
        None
    };
    GuardrailStatus {
        present: counts.succeeded > 0,
        recommendation,
        summary: format!("Guardrails: spec-guard {}", sentence(&counts, pending)),
        computed_at: at,
        counts,
    }
}

fn sentence(counts: &GuardrailCounts, pending: usize) -> String {
    let GuardrailCounts { total, succeeded, failed, skipped, .. } = *counts;
    if total == 0 {
        "command not found.".to_owned()
    } else if failed > 0 {
        format!("failed ({failed}/{total} failed).")
    } else if succeeded == total {
        format!("succeeded ({succeeded} passed).")
    } else if skipped == total {
        format!("skipped (all {skipped} skipped).")
    } else {
        let parts = [(succeeded, "passed"), (skipped, "skipped"), (pending, "pending")];
        let parts: Vec<_> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        format!("partial ({} of {total}).", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(command: &str, status: StageStatus) -> StageEntry {
        let entry = StageEntry::pending(1, "s".into(), "s".into(), "command", Some(command.into()));
        StageEntry { status, ..entry }
    }

    #[test]
    fn the_sentence_tells_how_the_guards_ended() {
        use StageStatus::*;
        let guard = |status| entry("bash scripts/spec-guard.sh", status);
        let cases = [
            (vec![], "command not found.", false),
            (vec![entry("make", Succeeded)], "command not found.", false),
            (vec![guard(Succeeded)], "succeeded (1 passed).", true),
            (vec![guard(Succeeded), guard(Failed)], "failed (1/2 failed).", true),
            (vec![guard(Skipped)], "skipped (all 1 skipped).", false),
            (vec![guard(Succeeded), guard(Pending)], "partial (1 passed, 1 pending of 2).", true),
            (vec![guard(Pending)], "partial (1 pending of 1).", false),
        ];
        for (entries, sentence, present) in cases {
            let status =
                coverage(&entries, &[], true, "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap());
            assert_eq!(status.summary, format!("Guardrails: spec-guard {sentence}"));
            assert_eq!(status.present, present, "{sentence}");
        }
    }

    #[test]
    fn a_pipeline_without_need_of_a_guard_gets_no_advice() {
        let at = "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap();
        assert_eq!(coverage(&[], &[], false, at).recommendation, None);
        assert!(coverage(&[], &[], true, at).recommendation.is_some());
    }
    #[test]
    fn our_own_guard_counts_when_it_left_a_verdict() {
        let at = "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap();
        let verdict = StageVerdict {
            stage: "s".into(),
            index: 1,
            at,
            verdict: crate::guardrail::Verdict::new(spec::RULE, Default::default()),
        };
        for (command, verdicts, sentence) in [
            ("git orchestrate guard spec --dry-run", vec![verdict.clone()], "succeeded (1 passed)."),
            ("git orchestrate guard spec --dry-run", vec![], "partial (1 pending of 1)."),
            ("cargo run -q -- guard spec", vec![verdict.clone()], "succeeded (1 passed)."),
            ("git orchestrate guard", vec![verdict.clone()], "succeeded (1 passed)."),
            ("git orchestrate guard diff-budget", vec![], "command not found."),
            ("guard spec", vec![], "command not found."),
        ] {
            let entries = [entry(command, StageStatus::Succeeded)];
            let status = coverage(&entries, &verdicts, true, at);
            assert_eq!(status.summary, format!("Guardrails: spec-guard {sentence}"), "{command}");
        }
    }
}
