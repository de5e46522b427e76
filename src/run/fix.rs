//! What stages that mend changed in a side worktree: the manifest's `fix` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A change that is to come back to whoever asked for it. An extension section of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// The tree on which the stages ran, in hex.
    pub from: String,
    /// The tree that they left, in hex. The run proves nothing about it.
    pub to: String,
    /// The stages with `fixes` that ran.
    pub stages: Vec<String>,
    /// The files that changed; at most so many as a person would read.
    pub files: Vec<FixedFile>,
    /// How many files changed.
    pub count: usize,
    pub patch: Patch,
}

impl Fix {
    /// Returns a line for a reader.
    pub fn line(&self) -> String {
        let (stages, count) = (self.stages.join(", "), self.count);
        let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        format!("Mended by {stages}: {files}. This run proves nothing about what they are now.")
    }
}

/// One file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixedFile {
    pub path: String,
    pub change: FileChange,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    Added,
    Changed,
    Deleted,
}

/// The change as `git apply` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Patch {
    /// The file, relative to the repository's root.
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
}
