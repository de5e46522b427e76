//! Which changed files do not count, and which are binary because somebody says so.
//!
//! The attributes are those of the base: a change that marks its own files as generated gains nothing.

use std::collections::BTreeSet;
use std::path::Path;

use gix::ObjectId;
use gix::attrs::StateRef;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::glob::pattern::Case;
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stat};
use gix::objs::tree::EntryKind;
use gix::pathspec::{self, Search};
use gix::worktree::stack::state::attributes::Source;

use super::super::GitError;
use super::super::tree::Fail;
use super::{AsText, DiffRule, Pair, Side, Target};

const FILE: &[u8] = b".gitattributes";

/// The pathspecs of a rule, each with its text.
pub(super) struct Pathspecs {
    search: Search,
    texts: Vec<String>,
}

impl Pathspecs {
    pub fn new(texts: &[String]) -> Result<Self, GitError> {
        let mut patterns = Vec::new();
        for text in texts {
            let pattern = pathspec::parse(text.as_bytes(), Default::default())
                .map_err(|_| GitError::BadPattern { pattern: text.clone() })?;
            patterns.push(pattern);
        }
        let search = Search::from_specs(patterns, None, Path::new("/"))
            .map_err(|_| GitError::BadPattern { pattern: texts.join(" ") })?;
        Ok(Self { search, texts: texts.to_vec() })
    }

    /// Returns the pathspec that a path matches.
    pub fn matching(
        &mut self,
        path: &BStr,
        attributes: &mut dyn FnMut(&BStr, Case, bool, &mut gix::attrs::search::Outcome) -> bool,
    ) -> Option<String> {
        if self.texts.is_empty() {
            return None;
        }
        let found = self.search.pattern_matching_relative_path(path, Some(false), attributes)?;
        Some(self.texts.get(found.sequence_number).cloned().unwrap_or_default())
    }
}

/// Marks what is excluded, and notes what the attribute `diff` says.
pub(super) fn mark(
    repo: &gix::Repository,
    base: Option<ObjectId>,
    index: &State,
    target: Target<'_>,
    rule: &DiffRule,
    pairs: &mut [Pair],
) -> Result<(), Fail> {
    let mut pathspecs = Pathspecs::new(&rule.ignore).map_err(Fail::Error)?;
    let (state, source) = match (base, target) {
        // Without a base there is nobody else to ask.
        (None, Target::Commit(_)) => (State::new(repo.object_hash()), Source::IdMapping),
        (None, _) => (index.clone(), Source::WorktreeThenIdMapping),
        (Some(base), Target::Commit(_)) => (of_folders(repo, base, pairs)?, Source::IdMapping),
        (Some(_), _) => (of_index(repo, index, pairs), Source::IdMapping),
    };
    let mut stack = repo.attributes_only(&state, source).map_err(|_| Fail::NeedsGit)?;
    let names = rule.ignore_attributes.iter().map(|name| name.trim_start_matches('-'));
    let names: Vec<&str> = names.chain(["diff"]).collect();
    let mut outcome = stack.selected_attribute_matches(names.iter().copied());
    for pair in pairs {
        let at = stack.at_entry(pair.path.as_bstr(), None);
        let found = at.map_err(|_| Fail::NeedsGit)?.matching_attributes(&mut outcome);
        let mut by_attribute = None;
        if found {
            for item in outcome.iter_selected() {
                let (name, state) = (item.assignment.name.as_str(), item.assignment.state);
                if by_attribute.is_none() {
                    by_attribute = wanted(&rule.ignore_attributes, name, state);
                }
                if name == "diff" {
                    pair.as_text = as_text(repo, state);
                }
            }
        }
        let mut attributes = |path: &BStr, _: Case, _: bool, out: &mut gix::attrs::search::Outcome| {
            stack.at_entry(path, None).is_ok_and(|at| at.matching_attributes(out))
        };
        pair.excluded = pathspecs.matching(pair.path.as_bstr(), &mut attributes).or(by_attribute);
    }
    Ok(())
}

/// Returns what a rule says of files with an attribute in that state: its name, or `-name` where it is unset.
pub(super) fn wanted(rules: &[String], name: &str, state: StateRef<'_>) -> Option<String> {
    let is_no = match state {
        StateRef::Set => false,
        StateRef::Unset => true,
        // Code hosts take that for a no. To git itself it is the name of a driver.
        StateRef::Value(value) => name != "diff" && value.as_bstr() == "false",
        StateRef::Unspecified => return None,
    };
    let is_wanted = |rule: &&String| match is_no {
        true => rule.strip_prefix('-') == Some(name),
        false => rule.as_str() == name,
    };
    rules.iter().find(is_wanted).cloned()
}

fn as_text(repo: &gix::Repository, state: StateRef<'_>) -> AsText {
    match state {
        StateRef::Set => AsText::Always,
        StateRef::Unset => AsText::Never,
        StateRef::Unspecified => AsText::ByContent,
        StateRef::Value(driver) => {
            let key = format!("diff.{}.binary", driver.as_bstr());
            match repo.config_snapshot().boolean(key.as_str()) {
                Some(true) => AsText::Never,
                Some(false) => AsText::Always,
                None => AsText::ByContent,
            }
        }
    }
}

fn push(state: &mut State, path: &BStr, id: ObjectId) {
    state.dangerously_push_entry(Stat::default(), id, Flags::empty(), Mode::FILE, path);
}

fn is_file(side: &Side) -> bool {
    matches!(side.kind, EntryKind::Blob | EntryKind::BlobExecutable)
}

/// Returns the attribute files of the base: those of the index, but for what has changed since.
fn of_index(repo: &gix::Repository, index: &State, pairs: &[Pair]) -> State {
    let mut state = State::new(repo.object_hash());
    let is_attributes = |path: &BStr| {
        path.ends_with(FILE) && (path.len() == FILE.len() || path[path.len() - FILE.len() - 1] == b'/')
    };
    let changed = pairs.iter().filter(|pair| !pair.untracked && is_attributes(pair.path.as_bstr()));
    let changed: Vec<_> = changed.collect();
    for entry in index.entries() {
        let path = entry.path(index);
        if is_attributes(path) && !changed.iter().any(|pair| pair.path == path) {
            push(&mut state, path, entry.id);
        }
    }
    for pair in changed {
        if let Some(old) = pair.old.filter(is_file) {
            push(&mut state, pair.path.as_bstr(), old.id);
        }
    }
    state.sort_entries();
    state
}

/// Returns the attribute files of the base in the folders on the way to what has changed.
fn of_folders(repo: &gix::Repository, base: ObjectId, pairs: &[Pair]) -> Result<State, Fail> {
    let mut folders = BTreeSet::from([BString::default()]);
    for pair in pairs {
        let slashes = pair.path.find_iter("/");
        folders.extend(slashes.map(|slash| BString::from(&pair.path[..=slash])));
    }
    let tree = repo.find_tree(base).map_err(|_| Fail::NeedsGit)?;
    let mut state = State::new(repo.object_hash());
    for mut path in folders {
        path.extend_from_slice(FILE);
        let parts = path.split(|byte| *byte == b'/');
        let found = tree.lookup_entry(parts).map_err(|_| Fail::NeedsGit)?;
        if let Some(entry) = found.filter(|entry| entry.mode().is_blob()) {
            push(&mut state, path.as_bstr(), entry.object_id());
        }
    }
    state.sort_entries();
    Ok(state)
}
