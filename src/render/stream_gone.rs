//! Streams that were removed, that are back, or that could go.

use std::io::{self, Write};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use super::stream::Refused;
use crate::git::Merged;
use crate::id::StreamName;
use crate::ops::stream::prune::Offer;
use crate::ops::stream::rm::Gone;
use crate::ops::stream::undo::Back;
use crate::output::untrusted::untrusted;

/// What `stream rm` did.
pub struct Removed<'a>(pub &'a [(StreamName, Result<Gone>)]);

/// What `stream undo` did.
pub struct Restored<'a>(pub &'a Back);

/// What `stream prune` found.
pub struct Offers<'a>(pub &'a [Offer]);

/// The document of `stream rm`.
#[derive(Serialize, JsonSchema)]
pub struct RemovedDocument {
    removed: Vec<RemovedStream>,
    refused: Vec<Refused>,
}

#[derive(Serialize, JsonSchema)]
struct RemovedStream {
    name: String,
    branch: String,
    branch_removed: bool,
    /// How its branch was merged: `ancestor`, `tree` or `patch`; null if that is not why it went.
    merged: Option<&'static str>,
    warnings: Vec<String>,
}

/// The document of `stream undo`.
#[derive(Serialize, JsonSchema)]
pub struct RestoredDocument {
    name: String,
    path: String,
    branch: String,
    warnings: Vec<String>,
}

/// The document of `stream prune`.
#[derive(Serialize, JsonSchema)]
pub struct OffersDocument {
    streams: Vec<OfferDocument>,
}

#[derive(Serialize, JsonSchema)]
struct OfferDocument {
    name: String,
    why: &'static str,
    /// Whether it went.
    removed: bool,
    /// Why it did not go, if it should have.
    error: Option<String>,
}

/// Returns the word of a document for how something was merged.
pub(super) fn word(merged: Merged) -> &'static str {
    match merged {
        Merged::Ancestor => "ancestor",
        Merged::Tree => "tree",
        Merged::Patch => "patch",
    }
}

impl Answer for Removed<'_> {
    type Document = RemovedDocument;

    fn document(&self) -> RemovedDocument {
        let removed = |gone: &Gone| RemovedStream {
            name: gone.stream.name.to_string(),
            branch: gone.stream.branch.clone(),
            branch_removed: gone.branch_removed,
            merged: gone.merged.map(word),
            warnings: gone.warnings.clone(),
        };
        let refused =
            self.0.iter().filter_map(|(name, gone)| Some(Refused::new(name.as_str(), gone.as_ref().err()?)));
        RemovedDocument {
            removed: self.0.iter().filter_map(|(_, gone)| gone.as_ref().ok()).map(removed).collect(),
            refused: refused.collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for gone in self.0.iter().filter_map(|(_, gone)| gone.as_ref().ok()) {
            let branch = match (gone.branch_removed, gone.merged) {
                (true, Some(_)) => "its branch was merged and is gone too",
                (true, None) => "its branch is gone too",
                (false, _) => "its branch stays",
            };
            writeln!(out, "removed  {}  {branch}", untrusted(gone.stream.name.as_str()))?;
            for warning in &gone.warnings {
                let color = style("warning");
                writeln!(out, "         {color}warning:{color:#} {}", untrusted(warning))?;
            }
        }
        if self.0.iter().any(|(_, gone)| gone.is_ok()) {
            writeln!(out, "For a day, `git orchestrate stream undo` brings it back.")?;
        }
        Ok(())
    }
}

impl Answer for Restored<'_> {
    type Document = RestoredDocument;

    fn document(&self) -> RestoredDocument {
        let Back { stream, warnings } = self.0;
        RestoredDocument {
            name: stream.name.to_string(),
            path: stream.path.display().to_string(),
            branch: stream.branch.clone(),
            warnings: warnings.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Back { stream, warnings } = self.0;
        let path = stream.path.display().to_string();
        writeln!(out, "back  {}  {}", untrusted(stream.name.as_str()), untrusted(&path))?;
        for warning in warnings {
            let color = style("warning");
            writeln!(out, "      {color}warning:{color:#} {}", untrusted(warning))?;
        }
        Ok(())
    }
}

impl Answer for Offers<'_> {
    type Document = OffersDocument;

    fn document(&self) -> OffersDocument {
        let offer = |offer: &Offer| OfferDocument {
            name: offer.name.to_string(),
            why: offer.why.as_str(),
            removed: matches!(offer.gone, Some(Ok(()))),
            error: offer.gone.as_ref().and_then(|gone| Some(format!("{:#}", gone.as_ref().err()?))),
        };
        OffersDocument { streams: self.0.iter().map(offer).collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for offer in self.0 {
            let word = match offer.gone {
                None => "could go",
                Some(Ok(())) => "removed",
                Some(Err(_)) => "stays",
            };
            writeln!(out, "{word:>8}  {}  {}", untrusted(offer.name.as_str()), offer.why.as_str())?;
        }
        match (self.0.is_empty(), self.0.iter().any(|offer| offer.gone.is_none())) {
            (true, _) => writeln!(out, "No stream could go."),
            (_, true) => writeln!(out, "They go with: git orchestrate stream prune --yes"),
            _ => Ok(()),
        }
    }
}
