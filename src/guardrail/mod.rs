//! Coverage of a run by guard stages, and the advice that follows (`contract-core.md` §10.7).

pub mod docs;

use crate::run::manifest::{GuardrailCounts, GuardrailStatus, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;

/// What the command of a guard stage contains.
const GUARD: &str = "spec-guard";

/// Returns how the guard stages among `entries` ended. `required` is whether the pipeline wants one.
pub fn coverage(entries: &[StageEntry], required: bool, at: Stamp) -> GuardrailStatus {
    let mut counts = GuardrailCounts::default();
    let mut pending = 0;
    let guards =
        entries.iter().filter(|entry| entry.command.as_deref().is_some_and(|text| text.contains(GUARD)));
    for guard in guards {
        counts.total += 1;
        match guard.status {
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
        StageEntry {
            index: 1,
            id: "s".into(),
            title: "s".into(),
            command: Some(command.into()),
            kind: "command".into(),
            status,
            started_at: None,
            completed_at: None,
            exit_code: None,
            summary: None,
            log_path: None,
            error_file: None,
            sub_run_id: None,
        }
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
            let status = coverage(&entries, true, "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap());
            assert_eq!(status.summary, format!("Guardrails: spec-guard {sentence}"));
            assert_eq!(status.present, present, "{sentence}");
        }
    }

    #[test]
    fn a_pipeline_without_need_of_a_guard_gets_no_advice() {
        let at = "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap();
        assert_eq!(coverage(&[], false, at).recommendation, None);
        assert!(coverage(&[], true, at).recommendation.is_some());
    }
}
