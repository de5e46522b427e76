//! What stages that mend changed, and what became of it.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::hook::line;
use super::printer::style;
use crate::git::Obstacle;
use crate::ops::hook::mend::{Mended, Outcome};
use crate::output::untrusted::untrusted;
use crate::run::fix::FileChange;
use crate::run::shell;

/// So many files are named in a text.
const NAMED: usize = 5;

/// The change in a document.
#[derive(Serialize, JsonSchema)]
pub(super) struct Document {
    /// The tree that would have been committed.
    from: String,
    /// The tree that the stages made of it.
    to: String,
    stages: Vec<String>,
    files: Vec<File>,
    /// The file with the change, as `git apply` takes it.
    patch: String,
    /// Whether it is in the index and in the work tree.
    came_back: bool,
    /// Why it did not come back: one entry for each file that is in the way.
    obstacles: Vec<InTheWay>,
    /// Why it did not come back, if that is not for a file.
    why: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct File {
    path: String,
    change: FileChange,
}

#[derive(Serialize, JsonSchema)]
struct InTheWay {
    path: String,
    why: String,
}

fn obstacles(mended: &Mended) -> &[Obstacle] {
    match &mended.outcome {
        Outcome::Hindered(obstacles) => obstacles,
        _ => &[],
    }
}

fn why(mended: &Mended) -> Option<&'static str> {
    match &mended.outcome {
        Outcome::CameBack | Outcome::Hindered(_) => None,
        Outcome::Fails => Some("the stages do not pass on what they changed"),
        Outcome::Endless => Some("the stages change something each time they run"),
        Outcome::NotTheirs => Some("a stage without `fixes` changed files too"),
    }
}

pub(super) fn document(mended: &Mended) -> Document {
    Document {
        from: mended.from.clone(),
        to: mended.to.clone(),
        stages: mended.stages.clone(),
        files: mended
            .changes
            .iter()
            .map(|change| File { path: change.path().display().to_string(), change: change.kind() })
            .collect(),
        patch: mended.patch.display().to_string(),
        came_back: mended.outcome == Outcome::CameBack,
        obstacles: obstacles(mended)
            .iter()
            .map(|it| InTheWay { path: it.path().display().to_string(), why: it.to_string() })
            .collect(),
        why: why(mended),
    }
}

pub(super) fn text(out: &mut dyn Write, mended: &Mended) -> io::Result<()> {
    let came_back = mended.outcome == Outcome::CameBack;
    let (word, color) = match came_back {
        true => ("mended", style("ok")),
        false => ("NOT DONE", style("warning")),
    };
    let sign = |change| match change {
        FileChange::Added => "+",
        FileChange::Changed => "",
        FileChange::Deleted => "-",
    };
    let count = mended.changes.len();
    let mut files: Vec<_> = mended
        .changes
        .iter()
        .take(NAMED)
        .map(|change| format!("{}{}", sign(change.kind()), change.path().display()))
        .collect();
    if count > NAMED {
        files.push(format!("{} more", count - NAMED));
    }
    let stages = mended.stages.join(", ");
    write!(out, "{color}{word:>8}{color:#}  by {}", untrusted(&stages))?;
    writeln!(out, "  {}", untrusted(&files.join(", ")))?;
    if came_back {
        return Ok(());
    }
    for obstacle in obstacles(mended) {
        line(out, &format!("`{}` {obstacle}", obstacle.path().display()))?;
    }
    let patch = shell::word(&mended.patch.display().to_string());
    if let Some(why) = why(mended) {
        line(out, why)?;
        return line(out, &format!("→ what they changed: {patch}"));
    }
    if obstacles(mended).iter().any(Obstacle::may_pass) {
        return line(out, "→ commit again; what was changed so far was taken back");
    }
    line(out, "nothing was changed; to take it into the index alone, and then commit again:")?;
    line(out, &format!("→ git apply --cached --3way {patch}"))
}
