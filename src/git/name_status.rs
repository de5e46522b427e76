//! What git prints with `--name-status -z`: a letter and a path per file, and the name before of one that moved.

use gix::bstr::BString;

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// git's letter: `A`, `M`, `D`, `R`, `T`.
    pub letter: u8,
    pub path: BString,
    /// The name before a rename.
    pub from: Option<BString>,
}

/// Reads all of it.
pub(super) fn read(output: &[u8]) -> Vec<Listed> {
    let mut fields = output.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let mut files = Vec::new();
    while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
        let (letter, path) = (status[0], BString::from(path));
        files.push(match matches!(letter, b'R' | b'C').then(|| fields.next()).flatten() {
            Some(to) => Listed { letter, path: to.into(), from: Some(path) },
            None => Listed { letter, path, from: None },
        });
    }
    files
}
