//! `start`: what runs, what is seen, what stays on disk.

use crate::fixture::Fixture;

#[test]
fn a_failing_stage_ends_the_run_and_is_recorded() {
    let repo = Fixture::new("failing-lint");

    let seen = repo.orchestrate("start diagnostics --task 0101");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · 52a21f7c2edf on main, clean
          ok  build  [SPAN]
      FAILED  lint  [SPAN]  Exited with code 3 — line 7: too long
              git orchestrate logs [RUN] lint
    Run finished: [RUN]
    Status: failed
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 1]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["status"], "failed");
    assert!(manifest["commands"][2]["started_at"].is_null());
}
