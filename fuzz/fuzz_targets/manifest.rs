//! A manifest from anywhere: what is read is written as it was, and reads back the same.
#![no_main]

use git_orchestrate::run::manifest::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let again: Manifest = serde_json::from_slice(&manifest.to_json()).expect("we read what we write");
    assert_eq!(again.to_json(), manifest.to_json());
});
