//! What the metrics of many runs say: rates, durations, and the stages that are slow or flaky.

use std::collections::HashMap;

use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;
use crate::run::tally::{Ending, Sample, StageName, Tally};

/// The share from which runs are ready for a reviewer.
pub const READY: f64 = 0.95;
/// The newest runs that are drawn.
const TREND: usize = 40;

/// What many runs say. A run that was resumed counts once, as it ended last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookBack {
    pub runs: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Runs in which a guard stage succeeded.
    pub guarded: u64,
    /// Lines of runs that have a later one.
    pub superseded: u64,
    pub durations: Durations,
    /// The newest runs, oldest first.
    pub trend: Vec<Point>,
    /// By pipeline and name.
    pub stages: Vec<StageReport>,
}

/// One run of the trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub seconds: Option<f64>,
    pub succeeded: bool,
}

/// How long something took, in seconds. A percentile is a duration that was really measured: the
/// smallest that is not below the given share of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    pub count: u64,
    pub sum: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// What is known about one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    pub name: StageName,
    pub runs: u64,
    pub failed: u64,
    pub durations: Durations,
    /// The trees on which it ended.
    pub trees: u64,
    /// Those on which it both succeeded and failed.
    pub flaky_trees: u64,
    /// Runs that began it more than once.
    pub repeated: u64,
}

impl LookBack {
    /// Returns what the lines written since a moment say; those without a time only count if no
    /// moment is given.
    pub fn of(tally: &Tally, since: Option<Stamp>) -> Self {
        let since = since.map(Stamp::as_millis);
        let wanted = |at: Option<i64>| since.is_none_or(|since| at.is_some_and(|at| at >= since));
        let mut last = HashMap::with_capacity(tally.runs.len());
        for (place, run) in tally.runs.iter().enumerate() {
            last.insert(run.key, place);
        }
        let counts = |place: usize| last.get(&tally.runs[place].key) == Some(&place);
        let mut report = Self::default();
        let mut seconds = Vec::new();
        let mut newest = Vec::new();
        let mut counted = vec![false; tally.runs.len()];
        for (place, run) in tally.runs.iter().enumerate().filter(|(_, run)| wanted(run.at)) {
            if !counts(place) {
                report.superseded += 1;
                continue;
            }
            counted[place] = true;
            report.runs += 1;
            match run.ending {
                Ending::Succeeded => report.succeeded += 1,
                Ending::Failed => report.failed += 1,
                Ending::Cancelled => report.cancelled += 1,
                Ending::Other => {}
            }
            report.guarded += u64::from(run.guarded);
            if !run.seconds.is_nan() {
                seconds.push(run.seconds);
            }
            newest.push((run.at, place));
        }
        report.durations = Durations::of(seconds);
        newest.sort_unstable();
        let newest = &newest[newest.len().saturating_sub(TREND)..];
        report.trend = newest
            .iter()
            .map(|(_, place)| &tally.runs[*place])
            .map(|run| Point {
                seconds: (!run.seconds.is_nan()).then_some(run.seconds),
                succeeded: run.ending == Ending::Succeeded,
            })
            .collect();
        report.stages = stages(tally, &counted, |run| wanted(tally.runs[run].at));
        report
    }

    /// Returns the share of runs that succeeded; nothing without runs.
    pub fn success_rate(&self) -> Option<f64> {
        share(self.succeeded, self.runs)
    }

    /// Returns the share of runs in which a guard stage succeeded; nothing without runs.
    pub fn guardrail_coverage(&self) -> Option<f64> {
        share(self.guarded, self.runs)
    }

    /// Whether the runs are ready for a reviewer: 95 % of them succeeded, and 95 % of them show a guard
    /// stage that did. Nothing without runs.
    pub fn is_ready(&self) -> Option<bool> {
        Some(self.success_rate()? >= READY && self.guardrail_coverage()? >= READY)
    }

    /// Returns the stages with a duration, that with the largest p95 first.
    pub fn slowest(&self) -> Vec<&StageReport> {
        let mut stages: Vec<_> = self.stages.iter().filter(|stage| stage.durations.count > 0).collect();
        stages.sort_by(|a, b| b.durations.p95.total_cmp(&a.durations.p95));
        stages
    }

    /// Returns the stages that contradicted themselves, the worst first.
    pub fn flakiest(&self) -> Vec<&StageReport> {
        let mut stages: Vec<_> = self.stages.iter().filter(|stage| stage.flaky_trees > 0).collect();
        let rate = |stage: &StageReport| share(stage.flaky_trees, stage.trees).unwrap_or(0.0);
        stages.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(b.flaky_trees.cmp(&a.flaky_trees)));
        stages
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn stages(tally: &Tally, counted: &[bool], wanted: impl Fn(usize) -> bool) -> Vec<StageReport> {
    let mut by_stage: Vec<Vec<&Sample>> = vec![Vec::new(); tally.names.len()];
    for sample in tally.samples.iter().filter(|sample| wanted(sample.run as usize)) {
        by_stage[sample.stage as usize].push(sample);
    }
    let mut reports: Vec<_> = { by_stage.into_iter().zip(&tally.names) }
        .filter(|(samples, _)| !samples.is_empty())
        .map(|(samples, name)| {
            let last = || samples.iter().filter(|sample| counted[sample.run as usize]);
            let count = |is: &dyn Fn(&Sample) -> bool| last().filter(|sample| is(sample)).count() as u64;
            // An attempt that a resume replaced has failed on its tree all the same.
            let mut trees: HashMap<u64, [bool; 2]> = HashMap::new();
            for sample in samples.iter().filter(|sample| sample.tree != 0) {
                let verdicts = trees.entry(sample.tree).or_default();
                verdicts[usize::from(sample.verdict == StageStatus::Succeeded)] = true;
                verdicts[0] |= sample.flaky;
            }
            let seconds = last().map(|sample| f64::from(sample.seconds)).filter(|seconds| !seconds.is_nan());
            StageReport {
                name: name.clone(),
                runs: count(&|_| true),
                // A failure that is tolerated is one.
                failed: count(&|sample| sample.verdict != StageStatus::Succeeded),
                durations: Durations::of(seconds.collect()),
                trees: trees.len() as u64,
                flaky_trees: trees.values().filter(|verdicts| **verdicts == [true; 2]).count() as u64,
                repeated: count(&|sample| sample.attempts > 1),
            }
        })
        .collect();
    reports.sort_by(|a, b| (&a.name.pipeline, &a.name.stage).cmp(&(&b.name.pipeline, &b.name.stage)));
    reports
}

impl Durations {
    fn of(mut seconds: Vec<f64>) -> Self {
        if seconds.is_empty() {
            return Self::default();
        }
        seconds.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * seconds.len() as f64).ceil() as usize;
            seconds[rank.clamp(1, seconds.len()) - 1]
        };
        Self {
            count: seconds.len() as u64,
            sum: seconds.iter().sum(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }

    /// Returns the mean; nothing if nothing was measured.
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tally(lines: &[serde_json::Value]) -> Tally {
        let mut tally = Tally::new("t");
        lines.iter().for_each(|line| tally.line(line.to_string().as_bytes()));
        tally
    }

    #[test]
    fn percentiles_are_durations_that_were_measured() {
        let durations = Durations::of((1..=100).map(f64::from).collect());
        assert_eq!((durations.p50, durations.p90, durations.p95, durations.p99), (50.0, 90.0, 95.0, 99.0));
        assert_eq!(durations.average(), Some(50.5));
        let one = Durations::of(vec![3.0]);
        assert_eq!((one.p50, one.p99, one.max), (3.0, 3.0, 3.0));
        assert_eq!(Durations::of(Vec::new()).average(), None);
    }

    #[test]
    fn a_run_that_was_resumed_counts_once_as_it_ended() {
        let report = LookBack::of(
            &tally(&[
                json!({"run_id": "a", "status": "failed", "duration_seconds": 9}),
                json!({"run_id": "b", "status": "cancelled", "duration_seconds": null}),
                json!({"run_id": "a", "status": "succeeded", "duration_seconds": "2.5", "guardrails_present": true}),
            ]),
            None,
        );
        assert_eq!((report.runs, report.succeeded, report.failed, report.cancelled), (2, 1, 0, 1));
        assert_eq!((report.superseded, report.durations.average()), (1, Some(2.5)));
        assert_eq!((report.success_rate(), report.guardrail_coverage()), (Some(0.5), Some(0.5)));
        assert_eq!(report.is_ready(), Some(false));
    }

    #[test]
    fn ready_for_review_takes_both_rates() {
        let line = |run: usize, status: &str, guarded: bool| json!({"run_id": run.to_string(), "status": status, "guardrails_present": guarded});
        let of = |failed: usize, bare: usize| {
            let lines: Vec<_> = (0..20)
                .map(|run| line(run, if run < failed { "failed" } else { "succeeded" }, run >= bare))
                .collect();
            LookBack::of(&tally(&lines), None).is_ready()
        };
        assert_eq!(of(1, 1), Some(true), "19 of 20 are 95 %");
        assert_eq!(of(2, 0), Some(false));
        assert_eq!(of(0, 2), Some(false));
        assert_eq!(LookBack::of(&tally(&[]), None).is_ready(), None);
    }

    #[test]
    fn a_stage_is_flaky_if_it_passed_and_failed_on_one_tree() {
        let run = |id: &str, tree: Option<&str>, verdict: &str| {
            json!({"run_id": id, "status": "succeeded", "pipeline_id": "p", "tree": tree, "stages": [
                {"id": "test", "status": verdict, "duration_seconds": 1.0, "attempts": 1},
                {"id": "lint", "status": "failed", "duration_seconds": 2.0, "attempts": 1},
            ]})
        };
        let report = LookBack::of(
            &tally(&[
                run("a", Some("1"), "failed"),
                run("a", Some("1"), "succeeded"),
                run("b", Some("2"), "succeeded"),
                // Of a tree that moved nobody knows what was executed.
                run("c", None, "failed"),
                run("d", None, "succeeded"),
            ]),
            None,
        );
        let flaky: Vec<_> = report
            .flakiest()
            .iter()
            .map(|stage| (stage.name.stage.to_string(), stage.flaky_trees, stage.trees))
            .collect();
        assert_eq!(flaky, [("test".to_owned(), 1, 2)]);
        assert_eq!(&*report.slowest()[0].name.stage, "lint");
    }

    #[test]
    fn what_follows_from_pieces_is_what_follows_from_the_whole() {
        let lines: Vec<_> = (0..50)
            .map(|n| {
                json!({
                    "run_id": (n % 20).to_string(), "status": if n % 3 == 0 { "failed" } else { "succeeded" },
                    "pipeline_id": format!("p{}", n % 2), "duration_seconds": n, "tree": (n % 4).to_string(),
                    "recorded_at": format!("2026-01-01T00:00:{n:02}Z"),
                    "stages": [{"id": format!("s{}", n % 3), "status": if n % 5 == 0 { "failed" } else { "succeeded" },
                                "duration_seconds": n}],
                })
            })
            .collect();
        let whole = LookBack::of(&tally(&lines), None);
        for cut in [0, 1, 17, 50] {
            let mut pieces = tally(&lines[..cut]);
            pieces.absorb(tally(&lines[cut..]));
            assert_eq!(LookBack::of(&pieces, None), whole, "{cut}");
        }
        let since = "2026-01-01T00:00:40Z".parse().map(Stamp::new).unwrap();
        assert_eq!(LookBack::of(&tally(&lines), Some(since)).runs, 10);
    }

    #[test]
    fn lines_that_are_torn_or_foreign_are_counted_and_quoted() {
        let mut tally = Tally::new("t");
        for line in [
            "{\"run_id\":\"trunc",
            "",
            "  ",
            "[]",
            "null",
            "{}",
            "\u{1b}[2J",
            "{\"run_id\": 3, \"status\": \"failed\"}",
        ] {
            tally.line(line.as_bytes());
        }
        tally.line(b"\xff\xfe");
        tally.line(br#"{"run_id": "a", "status": "succeeded", "unknown": [{"deep": [1, 2]}]}"#);
        assert_eq!((tally.unreadable, tally.examples.len()), (7, 7));
        assert_eq!(tally.examples[0].raw, "{\"run_id\":\"trunc");
        assert_eq!(LookBack::of(&tally, None).runs, 1);
    }
}
