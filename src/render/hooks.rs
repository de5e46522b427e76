//! How hooks are installed, and whether they fire.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::hooks::install::HooksChanged;
use crate::ops::hooks::status::{Fires, HooksStatus, OfHook};
use crate::ops::hooks::{Place, Placed};
use crate::output::untrusted::untrusted;

/// What `hooks install` and `hooks uninstall` did.
pub struct Changed<'a> {
    pub changed: &'a HooksChanged,
    /// Whether they were put there, and not taken away.
    pub installed: bool,
}

/// The document of `hooks install` and `hooks uninstall`.
#[derive(Serialize, JsonSchema)]
pub struct ChangedDocument {
    hooks: Vec<PlacedDocument>,
    warnings: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct PlacedDocument {
    event: &'static str,
    /// `file`, `configuration` or `global-configuration`.
    how: &'static str,
    path: Option<String>,
    /// The hook that was there before: it runs first, or was put back.
    before: Option<String>,
    /// Whether something was changed.
    changed: bool,
}

impl Answer for Changed<'_> {
    type Document = ChangedDocument;

    fn document(&self) -> ChangedDocument {
        let one = |placed: &Placed| {
            let (how, path, before) = match &placed.place {
                Place::Configuration { global: false } => ("configuration", None, None),
                Place::Configuration { global: true } => ("global-configuration", None, None),
                Place::File { path, before } => ("file", Some(path), before.as_ref()),
            };
            PlacedDocument {
                event: placed.event.as_str(),
                how,
                path: path.map(|path| path.display().to_string()),
                before: before.map(|path| path.display().to_string()),
                changed: placed.changed,
            }
        };
        ChangedDocument {
            hooks: self.changed.placed.iter().map(one).collect(),
            warnings: self.changed.warnings.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Placed { event, place, changed } in &self.changed.placed {
            let word = match (self.installed, changed) {
                (true, true) => "installed",
                (true, false) => "as it was",
                (false, _) => "removed",
            };
            let place_shown = match place {
                Place::Configuration { global: false } => "git's configuration of this repository".to_owned(),
                Place::Configuration { global: true } => "git's configuration of all repositories".to_owned(),
                Place::File { path, .. } => path.display().to_string(),
            };
            writeln!(out, "{word:>9}  {event}  {}", untrusted(&place_shown))?;
            if let Place::File { before: Some(before), .. } = place {
                let text = match self.installed {
                    true => format!("what was there runs first: {}", before.display()),
                    false => "what was there before is there again".to_owned(),
                };
                writeln!(out, "           {}", untrusted(&text))?;
            }
        }
        if self.changed.placed.is_empty() {
            writeln!(out, "There was nothing of ours.")?;
        }
        for warning in &self.changed.warnings {
            let color = style("warning");
            writeln!(out, "{color}warning:{color:#} {}", untrusted(warning))?;
        }
        Ok(())
    }
}

/// The document of `hooks status`.
#[derive(Serialize, JsonSchema)]
pub struct StatusDocument {
    /// Whether every hook fires that somebody asked for.
    ok: bool,
    git: String,
    worktrees: Vec<Worktree>,
}

#[derive(Serialize, JsonSchema)]
struct Worktree {
    path: String,
    hooks: Vec<Hook>,
}

#[derive(Serialize, JsonSchema)]
struct Hook {
    event: &'static str,
    /// Whether it was tried and fired; `through` is a hook of another tool that names us, and was not tried.
    fires: bool,
    through: Option<String>,
    /// Whether the configuration asks for something where it would fire.
    configured: bool,
    place: Option<String>,
    why: Option<String>,
    /// What to type.
    mend: Option<String>,
}

impl Answer for HooksStatus {
    type Document = StatusDocument;

    fn document(&self) -> StatusDocument {
        let hook = |of: &OfHook| {
            let (why, mend) = match &of.fires {
                Fires::No { why, mend } => (Some(why.clone()), Some(mend.clone())),
                _ => (None, None),
            };
            let through = match &of.fires {
                Fires::Through(through) => Some(through.clone()),
                _ => None,
            };
            Hook {
                event: of.event.as_str(),
                fires: of.fires == Fires::Yes,
                through,
                configured: of.configured,
                place: of.place.clone(),
                why,
                mend,
            }
        };
        let worktrees = self.worktrees.iter().map(|of| Worktree {
            path: of.path.display().to_string(),
            hooks: of.hooks.iter().map(hook).collect(),
        });
        StatusDocument { ok: self.is_good(), git: self.git.clone(), worktrees: worktrees.collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for of in &self.worktrees {
            writeln!(out, "{}", untrusted(&of.path.display().to_string()))?;
            for hook in &of.hooks {
                let (word, color, said) = match &hook.fires {
                    Fires::Yes => ("fires", style("ok"), hook.place.clone().unwrap_or_default()),
                    Fires::Through(path) => ("named", style("warning"), format!("in {path}; not tried")),
                    Fires::No { why, .. } if !hook.configured && hook.place.is_none() => {
                        ("none", style("skipped"), why.clone())
                    }
                    Fires::No { why, .. } => ("SILENT", style("FAILED"), why.clone()),
                };
                writeln!(out, "  {color}{word:>6}{color:#}  {}  {}", hook.event, untrusted(&said))?;
                if let Fires::No { mend, .. } = &hook.fires {
                    for (at, line) in mend.lines().enumerate() {
                        writeln!(out, "          {} {}", if at == 0 { "→" } else { " " }, untrusted(line))?;
                    }
                }
            }
        }
        Ok(())
    }
}
