//! Timing that the benchmarks of whole programs share: two sides in alternation, and the peak of memory.

use std::fs;
use std::process::Command;

/// One side of a comparison.
pub trait Side {
    /// What to call it.
    fn name(&self) -> &str;
    /// Returns the milliseconds of one run.
    fn time(&self) -> f64;
}

/// Prints the medians of two sides that take turns, and of the rounds' ratios, which is the figure to quote.
pub fn pair(rounds: usize, a: &impl Side, b: &impl Side, goal: &str) {
    a.time();
    b.time();
    let mut times = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (of_a, of_b) = if round % 2 == 0 {
            let of_a = a.time();
            (of_a, b.time())
        } else {
            let of_b = b.time();
            (a.time(), of_b)
        };
        times.0.push(of_a);
        times.1.push(of_b);
        ratios.push(of_a / of_b);
    }
    println!(
        "{:<38} {:>9.2} ms | {:<42} {:>9.2} ms | ratio {:>6.2}  (goal: {goal})",
        a.name(),
        median(&mut times.0),
        b.name(),
        median(&mut times.1),
        median(&mut ratios),
    );
}

/// Returns the middle of some figures.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the peak of resident memory in KiB, watched while the command runs.
pub fn peak_memory(command: &mut Command) -> i64 {
    let mut child = command.spawn().expect("the command starts");
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    peak
}
