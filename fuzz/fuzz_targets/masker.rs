//! A secret among any bytes, read in any pieces: it never comes out, and nothing else is lost.
#![no_main]

use git_orchestrate::output::mask::{MaskMode, Masker};
use git_orchestrate::output::secrets::Secrets;

const SECRET: &str = "s3cr3t-value-0815";

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, u8, Vec<u8>)| {
    let (before, cut, after) = input;
    let secrets = Secrets::new([("A_TOKEN", SECRET)]);
    let text = [&before[..], SECRET.as_bytes(), &after[..]].concat();
    let masked = |mode, size: usize| {
        let (mut masker, mut out) = (Masker::new(&secrets, mode), Vec::new());
        for piece in text.chunks(size) {
            masker.push(piece, &mut out);
        }
        masker.finish(&mut out);
        out
    };
    let size = usize::from(cut) + 1;
    let whole = masked(MaskMode::Enforce, text.len());
    assert!(!whole.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let pieces = masked(MaskMode::Enforce, size);
    assert!(!pieces.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    assert_eq!(masked(MaskMode::Shadow, size), text);
});
