//! A journal from anywhere: each line is an event, or changes nothing, or is refused.
#![no_main]

use git_orchestrate::run::event::Replay;
use git_orchestrate::run::manifest::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut replay = Replay::from_nothing();
    for line in bytes.split(|byte| *byte == b'\n') {
        if replay.line(line).is_err() {
            return;
        }
    }
    if let Some(manifest) = replay.manifest() {
        serde_json::from_slice::<Manifest>(&manifest.to_json()).expect("we read what we write");
    }
});
