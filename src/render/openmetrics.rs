//! Metrics as OpenMetrics 1.0 text: families one after the other, each with its type, unit and help.

use std::fmt::Write;

use crate::ops::metrics::Metrics;
use crate::run::look_back::{Durations, LookBack, READY};

/// Returns the document.
pub fn text(found: &Metrics) -> String {
    let mut page = Page::default();
    let tasks: Vec<_> = found.tasks.iter().map(|task| (task.task.as_str(), task)).collect();

    page.family("git_orchestrate_runs", "counter", None, "Runs that ended, each counted as it ended last.");
    for (task, metrics) in &tasks {
        for (status, count) in by_status(&metrics.report) {
            page.sample("_total", &[("task", task), ("status", status)], count as f64);
        }
    }
    page.family(
        "git_orchestrate_unreadable_lines",
        "gauge",
        None,
        "Lines of metrics that count for nothing.",
    );
    for (task, metrics) in &tasks {
        page.sample("", &[("task", task)], metrics.unreadable as f64);
    }
    type Rate = fn(&LookBack) -> Option<f64>;
    let rates: [(&str, Rate, &str); 2] = [
        ("git_orchestrate_success_ratio", LookBack::success_rate, "Share of runs that succeeded."),
        (
            "git_orchestrate_guardrail_coverage_ratio",
            LookBack::guardrail_coverage,
            "Share of runs in which a guard stage succeeded.",
        ),
    ];
    for (name, rate, help) in rates {
        page.family(name, "gauge", Some("ratio"), help);
        for (task, metrics) in &tasks {
            if let Some(rate) = rate(&metrics.report) {
                page.sample("", &[("task", task)], rate);
            }
        }
    }
    let help = format!("Whether both ratios reach {READY}.");
    page.family("git_orchestrate_reviewer_ready", "gauge", None, &help);
    for (task, metrics) in &tasks {
        if let Some(ready) = metrics.report.is_ready() {
            page.sample("", &[("task", task)], f64::from(u8::from(ready)));
        }
    }
    page.family("git_orchestrate_run_duration_seconds", "summary", Some("seconds"), "How long runs took.");
    for (task, metrics) in &tasks {
        page.summary(&[("task", task)], &metrics.report.durations);
    }
    let stages = || {
        tasks.iter().flat_map(|(task, metrics)| {
            metrics.report.stages.iter().map(move |stage| {
                let labels =
                    [("task", *task), ("pipeline", &*stage.name.pipeline), ("stage", &*stage.name.stage)];
                (labels, stage)
            })
        })
    };
    page.family(
        "git_orchestrate_stage_duration_seconds",
        "summary",
        Some("seconds"),
        "How long stages took.",
    );
    for (labels, stage) in stages() {
        page.summary(&labels, &stage.durations);
    }
    page.family("git_orchestrate_stage_failures", "counter", None, "Runs in which the stage failed.");
    for (labels, stage) in stages() {
        page.sample("_total", &labels, stage.failed as f64);
    }
    let help = "Trees on which the stage both succeeded and failed.";
    page.family("git_orchestrate_stage_flaky_trees", "gauge", None, help);
    for (labels, stage) in stages() {
        page.sample("", &labels, stage.flaky_trees as f64);
    }
    page.text.push_str("# EOF\n");
    page.text
}

fn by_status(report: &LookBack) -> [(&'static str, u64); 4] {
    let other = report.runs - report.succeeded - report.failed - report.cancelled;
    [
        ("succeeded", report.succeeded),
        ("failed", report.failed),
        ("cancelled", report.cancelled),
        ("other", other),
    ]
}

/// What is written so far. Samples belong to the family that was begun last.
#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, unit: Option<&str>, help: &str) {
        self.family = name;
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help));
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let name = self.family;
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.text, "{name}{suffix}{{{}}} {value}", labels.join(","));
    }

    fn summary(&mut self, labels: &[(&str, &str)], durations: &Durations) {
        if durations.count == 0 {
            return;
        }
        let Durations { count, sum, p50, p90, p95, p99, .. } = *durations;
        for (quantile, value) in [("0.5", p50), ("0.9", p90), ("0.95", p95), ("0.99", p99)] {
            let labels: Vec<_> = labels.iter().copied().chain([("quantile", quantile)]).collect();
            self.sample("", &labels, round(value));
        }
        self.sample("_sum", labels, round(sum));
        self.sample("_count", labels, count as f64);
    }
}

/// Durations are measured in milliseconds; what is behind them is noise of the arithmetic.
pub fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
