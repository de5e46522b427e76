//! The answer of `metrics`, and the summary that it leaves behind.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::openmetrics::round;
use super::printer::{Answer, Table, about, span, style};
use crate::ops::metrics::{Metrics, TaskMetrics};
use crate::output::untrusted::untrusted;
use crate::run::look_back::{Durations, LookBack, Point, READY, StageReport};
use crate::run::stamp::Stamp;
use crate::run::tally::Unreadable;
use crate::store::pointers::pretty;

/// The stages that the text names, of each kind.
const NAMED: usize = 5;
/// The columns of a bar, and of a stage's name.
const BAR: usize = 20;
const NAME: usize = 40;

/// Metrics to show.
pub struct Summed<'a> {
    pub found: &'a Metrics,
    /// Whether one task was asked for.
    pub one: bool,
    /// Whether charts may be drawn.
    pub charts: bool,
}

/// The document: the keys of `metrics-summary.json`, and what it is about.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    #[serde(flatten)]
    summary: Summary,
    /// The worktree whose runs these are.
    root: String,
    since: Option<Stamp>,
    /// The newest runs, oldest first.
    trend: Vec<TrendPoint>,
    /// The same for each task, where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<Summary>>,
}

/// `metrics-summary.json` (`contract-core.md` §7.8), and what this program adds to it.
#[derive(Serialize, JsonSchema)]
pub struct Summary {
    generated_at: Stamp,
    task_id: Option<String>,
    metrics_file: Option<String>,
    /// Runs; one that was resumed counts once, as it ended last.
    entries_total: u64,
    entries_succeeded: u64,
    entries_failed: u64,
    success_rate: Option<f64>,
    /// The share of runs in which a guard stage succeeded.
    guardrail_coverage: Option<f64>,
    average_duration_seconds: Option<f64>,
    /// The first lines that could not be read.
    parse_errors: Vec<ParseError>,
    parse_errors_total: u64,
    entries_cancelled: u64,
    /// Lines of runs that have a later one.
    entries_superseded: u64,
    duration_seconds: Option<Spread>,
    reviewer_readiness: Readiness,
    stages: Vec<Stage>,
    /// The stages with a duration, that with the largest p95 first.
    slowest_stages: Vec<StageRef>,
    /// The stages that both succeeded and failed on a tree, the worst first.
    flakiest_stages: Vec<StageRef>,
}

#[derive(Serialize, JsonSchema)]
struct ParseError {
    error: String,
    raw: String,
}

#[derive(Serialize, JsonSchema)]
struct TrendPoint {
    seconds: Option<f64>,
    succeeded: bool,
}

/// Durations in seconds.
#[derive(Serialize, JsonSchema)]
struct Spread {
    count: u64,
    average: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

/// Whether success rate and guardrail coverage both reach the threshold.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    threshold: f64,
    success_rate_met: Option<bool>,
    guardrail_coverage_met: Option<bool>,
    ready: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct Stage {
    pipeline_id: String,
    stage_id: String,
    runs: u64,
    failed: u64,
    duration_seconds: Option<Spread>,
    /// The trees on which it ended.
    trees: u64,
    /// Those on which it both succeeded and failed.
    flaky_trees: u64,
    /// Runs that began it more than once.
    repeated: u64,
}

#[derive(Serialize, JsonSchema)]
struct StageRef {
    pipeline_id: String,
    stage_id: String,
}

/// Returns the content of `metrics-summary.json`.
pub fn summary(task: &TaskMetrics, at: Stamp) -> Vec<u8> {
    pretty(&of_task(task, task.whole(), at))
}

/// Returns what is wrong with the lines that were read, a sentence per task.
pub fn warnings(found: &Metrics) -> Vec<String> {
    let damaged = found.tasks.iter().filter(|task| task.unreadable > 0);
    damaged
        .map(|task| {
            let lines = match task.unreadable {
                1 => "1 line of it".to_owned(),
                more => format!("{more} lines of it"),
            };
            let first = task.examples.first().map(|example| example.error.as_str()).unwrap_or_default();
            format!(
                "`{}`: {lines} cannot be read and counts for nothing; the first: {}",
                untrusted(&task.file),
                untrusted(first)
            )
        })
        .collect()
}

fn of_task(task: &TaskMetrics, report: &LookBack, at: Stamp) -> Summary {
    Summary {
        task_id: Some(task.task.to_string()),
        metrics_file: Some(task.file.clone()),
        ..of_report(report, at, &task.examples, task.unreadable)
    }
}

fn of_report(report: &LookBack, at: Stamp, examples: &[Unreadable], unreadable: u64) -> Summary {
    let named = |stages: Vec<&StageReport>| {
        let stages = stages.into_iter().take(NAMED);
        stages
            .map(|stage| StageRef {
                pipeline_id: stage.name.pipeline.to_string(),
                stage_id: stage.name.stage.to_string(),
            })
            .collect()
    };
    Summary {
        generated_at: at,
        task_id: None,
        metrics_file: None,
        entries_total: report.runs,
        entries_succeeded: report.succeeded,
        entries_failed: report.failed,
        success_rate: report.success_rate(),
        guardrail_coverage: report.guardrail_coverage(),
        average_duration_seconds: report.durations.average().map(round),
        parse_errors: examples
            .iter()
            .map(|example| ParseError { error: example.error.clone(), raw: example.raw.clone() })
            .collect(),
        parse_errors_total: unreadable,
        entries_cancelled: report.cancelled,
        entries_superseded: report.superseded,
        duration_seconds: spread(&report.durations),
        reviewer_readiness: Readiness {
            threshold: READY,
            success_rate_met: report.success_rate().map(|rate| rate >= READY),
            guardrail_coverage_met: report.guardrail_coverage().map(|rate| rate >= READY),
            ready: report.is_ready(),
        },
        stages: report.stages.iter().map(stage).collect(),
        slowest_stages: named(report.slowest()),
        flakiest_stages: named(report.flakiest()),
    }
}

fn spread(durations: &Durations) -> Option<Spread> {
    let average = round(durations.average()?);
    let Durations { count, p50, p90, p95, p99, max, .. } = *durations;
    let [p50, p90, p95, p99, max] = [p50, p90, p95, p99, max].map(round);
    Some(Spread { count, average, p50, p90, p95, p99, max })
}

fn stage(report: &StageReport) -> Stage {
    Stage {
        pipeline_id: report.name.pipeline.to_string(),
        stage_id: report.name.stage.to_string(),
        runs: report.runs,
        failed: report.failed,
        duration_seconds: spread(&report.durations),
        trees: report.trees,
        flaky_trees: report.flaky_trees,
        repeated: report.repeated,
    }
}

impl Answer for Summed<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Metrics { at, place, since, tasks, all } = self.found;
        let each = |task| of_task(task, &task.report, *at);
        let summary = match tasks.as_slice() {
            [only] if self.one => each(only),
            _ => {
                let examples: Vec<_> = tasks.iter().flat_map(|task| task.examples.clone()).collect();
                of_report(all, *at, &examples, tasks.iter().map(|task| task.unreadable).sum())
            }
        };
        let point = |point: &Point| TrendPoint { seconds: point.seconds, succeeded: point.succeeded };
        Document {
            summary,
            root: place.root.display().to_string(),
            since: *since,
            trend: all.trend.iter().map(point).collect(),
            tasks: (!self.one).then(|| tasks.iter().map(each).collect()),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Metrics { place, since, tasks, all, .. } = self.found;
        about(out, place)?;
        if all.runs == 0 {
            return writeln!(out, "No runs.");
        }
        let of = match tasks.as_slice() {
            [only] => format!("task {}", untrusted(only.task.as_str())),
            tasks => format!("{} tasks", tasks.len()),
        };
        let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
        writeln!(
            out,
            "Runs of {of}{since}: {} ({} succeeded, {} failed, {} cancelled)",
            all.runs, all.succeeded, all.failed, all.cancelled
        )?;
        self.rate(out, "Success rate", all.success_rate())?;
        self.rate(out, "Guardrail coverage", all.guardrail_coverage())?;
        let (word, color) = match all.is_ready() {
            Some(true) => ("yes", style("ok")),
            _ => ("no", style("warning")),
        };
        writeln!(out, "Ready for review: {color}{word}{color:#} (it takes {:.0} % of both)", READY * 100.0)?;
        if let Some(average) = all.durations.average() {
            let Durations { p50, p90, p95, p99, .. } = all.durations;
            let [average, p50, p90, p95, p99] = [average, p50, p90, p95, p99].map(span);
            writeln!(out, "Duration: average {average}, p50 {p50}, p90 {p90}, p95 {p95}, p99 {p99}")?;
        }
        if self.charts {
            write!(out, "Trend: ")?;
            for (bar, point) in spark(&all.trend).into_iter().zip(&all.trend) {
                let color = style(if point.succeeded { "ok" } else { "failed" });
                write!(out, "{color}{bar}{color:#}")?;
            }
            writeln!(out)?;
        }
        if let [_, _, ..] = tasks.as_slice() {
            writeln!(out)?;
            self.tasks(out)?;
        }
        self.slowest(out, &all.slowest())?;
        self.flakiest(out, &all.flakiest())
    }
}

impl Summed<'_> {
    fn rate(&self, out: &mut dyn Write, what: &str, rate: Option<f64>) -> io::Result<()> {
        let rate = rate.unwrap_or(0.0);
        let color = style(if rate >= READY { "ok" } else { "warning" });
        write!(out, "{what}: {color}{:.1} %{color:#}", rate * 100.0)?;
        if self.charts {
            write!(out, "  {color}{}{color:#}", bar(rate))?;
        }
        writeln!(out)
    }

    fn tasks(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new("TASK\tRUNS\tSUCCESS\tGUARDED\tP50\tP95")?;
        for TaskMetrics { task, report, .. } in self.found.tasks.iter().filter(|task| task.report.runs > 0) {
            let percent = |rate: Option<f64>| format!("{:.1} %", rate.unwrap_or(0.0) * 100.0);
            writeln!(
                table.0,
                "{}\t{}\t{}\t{}\t{}\t{}",
                untrusted(task.as_str()),
                report.runs,
                percent(report.success_rate()),
                percent(report.guardrail_coverage()),
                span(report.durations.p50),
                span(report.durations.p95),
            )?;
        }
        table.print(out)
    }

    fn slowest(&self, out: &mut dyn Write, stages: &[&StageReport]) -> io::Result<()> {
        let Some(slowest) = stages.first() else { return Ok(()) };
        writeln!(out)?;
        let mut table = Table::new("SLOWEST STAGES\tPIPELINE\tRUNS\tP50\tP95")?;
        for stage in stages.iter().take(NAMED) {
            let Durations { p50, p95, .. } = stage.durations;
            let share = if slowest.durations.p95 > 0.0 { p95 / slowest.durations.p95 } else { 0.0 };
            write!(
                table.0,
                "{}\t{}\t{}\t{}\t{}",
                untrusted(&stage.name.stage).with_width(NAME),
                untrusted(&stage.name.pipeline).with_width(NAME),
                stage.runs,
                span(p50),
                span(p95)
            )?;
            if self.charts {
                write!(table.0, "\t{}", bar(share))?;
            }
            writeln!(table.0)?;
        }
        table.print(out)
    }

    fn flakiest(&self, out: &mut dyn Write, stages: &[&StageReport]) -> io::Result<()> {
        if stages.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut table = Table::new("FLAKIEST STAGES\tPIPELINE\tTREES\tBOTH VERDICTS")?;
        for stage in stages.iter().take(NAMED) {
            let share = stage.flaky_trees as f64 / stage.trees as f64;
            write!(
                table.0,
                "{}\t{}\t{}\t{} ({:.1} %)",
                untrusted(&stage.name.stage).with_width(NAME),
                untrusted(&stage.name.pipeline).with_width(NAME),
                stage.trees,
                stage.flaky_trees,
                share * 100.0
            )?;
            if self.charts {
                write!(table.0, "\t{}", bar(share))?;
            }
            writeln!(table.0)?;
        }
        table.print(out)
    }
}

/// Returns a share as a bar of a fixed width, in eighths of a column.
fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let (whole, rest) = (eighths / 8, eighths % 8);
    let drawn = whole + usize::from(rest > 0);
    format!("{}{}{}", "█".repeat(whole), PARTS[rest], "·".repeat(BAR - drawn))
}

/// Returns a bar per run, as high as the run was long.
fn spark(trend: &[Point]) -> Vec<char> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let longest = trend.iter().filter_map(|point| point.seconds).fold(0.0, f64::max);
    let height = |point: &Point| match point.seconds {
        Some(seconds) if longest > 0.0 => BARS[((seconds / longest * 7.0).round() as usize).min(7)],
        Some(_) => BARS[0],
        None => '·',
    };
    trend.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_the_same_width_whatever_it_says() {
        for share in [-1.0, 0.0, 0.001, 0.5, 0.949, 0.999, 1.0, 7.0, f64::NAN] {
            assert_eq!(bar(share).chars().count(), BAR, "{share}");
        }
        assert_eq!(bar(0.5), format!("{}{}", "█".repeat(10), "·".repeat(10)));
    }

    #[test]
    fn a_trend_shows_short_and_long_runs() {
        let run = |seconds| Point { seconds, succeeded: true };
        let drawn: String =
            spark(&[run(Some(0.0)), run(Some(5.0)), run(None), run(Some(10.0))]).iter().collect();
        assert_eq!(drawn, "▁▅·█");
        assert_eq!(spark(&[run(Some(0.0))]), ['▁']);
    }
}
