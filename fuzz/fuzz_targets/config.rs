//! The text of a configuration: read, or refused with an excerpt that does nothing to a terminal.
#![no_main]

use git_orchestrate::pipeline::config;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(err) = config::parse("codex.orchestrator.json", text) {
        let shown = err.render(false);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    }
});
