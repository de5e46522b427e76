//! How fast the output of stages is masked, made text and escaped, in MB/s: one line per case.

use std::hint::black_box;
use std::time::{Duration, Instant};

use git_orchestrate::output::json::push_json_string;
use git_orchestrate::output::tail::Tail;
use git_orchestrate::output::text::Utf8Stitcher;
use git_orchestrate::output::{MaskMode, Masker, Secrets};

fn main() {
    let quiet =
        lines(|n| format!("compiled crate number {n} of the workspace and found nothing to say about it"));
    let log = lines(|n| {
        format!("2024-05-01T12:{:02}:00Z INFO worker={n} https://docs.rs/x passed: \"case {n}\"", n % 60)
    });
    let token = lines(|n| format!("request {n} sent with token=abcdef{n} and answered"));
    let few = Secrets::new((0..3).map(|n| (format!("T{n}_TOKEN"), format!("s3cr{n}t-v@lue-{n}{n}"))));
    let many = Secrets::new((0..40).map(|n| (format!("T{n}_TOKEN"), format!("{n}s3cr{n}t-v@lue-{n}{n}"))));
    let none = Secrets::default();

    for (name, text, secrets) in [
        ("mask, quiet lines, no known secrets", &quiet, &none),
        ("mask, quiet lines, 3 known secrets", &quiet, &few),
        ("mask, log lines, 3 known secrets", &log, &few),
        ("mask, log lines, 40 known secrets", &log, &many),
        ("mask, a token in each line", &token, &few),
    ] {
        let mut masker = Masker::new(secrets, MaskMode::Enforce);
        let mut out = Vec::new();
        measure(name, text.len(), || {
            out.clear();
            masker.push(text.as_bytes(), &mut out);
            out.len()
        });
    }
    let mut masker = Masker::new(&few, MaskMode::Enforce);
    let mut out = Vec::new();
    measure("mask, log lines pushed one by one", log.len(), || {
        out.clear();
        for line in log.as_bytes().chunks(100) {
            masker.push(line, &mut out);
        }
        out.len()
    });
    let mut stitcher = Utf8Stitcher::new();
    measure("text, log lines", log.len(), || stitcher.push(log.as_bytes()).text.len());
    let mut tail = Tail::default();
    measure("tail, log lines", log.len(), || {
        tail.push(log.as_bytes());
        log.len()
    });
    measure("json, log lines", log.len(), || {
        out.clear();
        push_json_string(&mut out, &log);
        out.len()
    });
    let mut masker = Masker::new(&few, MaskMode::Enforce);
    let (mut safe, mut json) = (Vec::new(), Vec::new());
    measure("mask, text, tail and json together", log.len(), || {
        safe.clear();
        json.clear();
        masker.push(log.as_bytes(), &mut safe);
        tail.push(&safe);
        push_json_string(&mut json, &stitcher.push(&safe).text);
        json.len()
    });
}

/// Returns 64 KiB of lines of 100 bytes.
fn lines(line: impl Fn(usize) -> String) -> String {
    let lines = (0..655).map(|n| format!("{:.<99}\n", line(n)));
    lines.collect()
}

fn measure(name: &str, bytes: usize, mut work: impl FnMut() -> usize) {
    black_box(work());
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < Duration::from_millis(300) {
        black_box(work());
        rounds += 1;
    }
    let speed = (bytes * rounds) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{speed:>8.0} MB/s  {name}");
}
