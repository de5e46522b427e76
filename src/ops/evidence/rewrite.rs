//! `evidence rewrite`: commits that were rewritten keep their notes, exactly where the tree is the same.
//!
//! What a record says stays as it is, also which commit was checked out; the text for people says from where it was
//! carried over. The note about the tree needs none of this: a tree that is the same is the same object.

use std::collections::BTreeSet;

use anyhow::Result;

use super::ours::{self, Ours, Step, last_record, moved, note_with};
use super::write::PATIENCE;
use super::{lock, read};
use crate::git::{Changes, Object, Ref, Repo};
use crate::ops::Refusal;
use crate::proof::note;
use crate::proof::statement::Envelope;
use crate::run::stamp::Stamp;
use crate::sys::digest::sha256_hex;

/// A commit, and the one that it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In hex.
    pub old: String,
    /// In hex.
    pub new: String,
}

/// What became of the notes of rewritten commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The ref that has the notes; nothing if none was written.
    pub reference: Option<String>,
    pub carried: Vec<Carried>,
    /// Commits that have notes, which the new commit does not get.
    pub left: Vec<Left>,
}

/// A commit whose notes the new one has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub pair: Pair,
    pub runs: Vec<String>,
}

/// A commit whose notes the new one has not, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub pair: Pair,
    pub why: &'static str,
}

/// Reads pairs as git gives them to `post-rewrite`: the old commit, a blank, the new one, and perhaps more.
pub fn pairs(text: &str) -> Result<Vec<Pair>, Refusal> {
    let is_id = |word: &&str| matches!(word.len(), 40 | 64) && word.bytes().all(|it| it.is_ascii_hexdigit());
    let pair = |(at, line): (usize, &str)| {
        let mut words = line.split(' ');
        match (words.next().filter(is_id), words.next().filter(is_id)) {
            (Some(old), Some(new)) => Ok(Pair { old: old.to_owned(), new: new.to_owned() }),
            _ => Err(Refusal::usage(format!(
                "line {} names no two commits: `{}`",
                at + 1,
                line.escape_debug()
            ))
            .hint("a line is the old commit, a blank and the new one, as git tells `post-rewrite`")),
        }
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(pair).collect()
}

/// Carries notes over from each old commit to its new one, if both have the same tree. Records of this writer go
/// along; of what others wrote, the text says where it stands.
pub fn rewrite(repo: &Repo, pairs: &[Pair], sign: Option<bool>, now: Stamp) -> Result<Rewritten> {
    let refs = read::refs(repo)?;
    if refs.is_empty() || pairs.is_empty() {
        return Ok(Rewritten::default());
    }
    let ours = Ours::of(repo, sign, now)?;
    let _lock = lock(repo, "lock", PATIENCE)?;
    moved(repo, &ours.reference, &ours.author, |tip| {
        let work = Work { repo, refs: &refs, ours: &ours, tip };
        let mut rewritten = Rewritten::default();
        let changes = work.changes(pairs, &mut rewritten)?;
        if changes.notes.is_empty() {
            return Ok(Step::Stay(rewritten));
        }
        // The next record of this writer goes on where the last one was.
        let last = tip.map(|tip| last_record(repo, tip)).transpose()?.flatten();
        let what = format!("carried over to {} commits", changes.notes.len());
        let message = ours::message(&what, last.as_deref());
        let parents: Vec<_> = tip.into_iter().collect();
        let new = repo.commit_notes(&parents, &changes, &ours.author, &message)?;
        rewritten.reference = Some(ours.reference.clone());
        Ok(Step::Move(new, rewritten))
    })
}

struct Work<'a> {
    repo: &'a Repo,
    refs: &'a [Ref],
    ours: &'a Ours,
    /// What our own ref names.
    tip: Option<&'a str>,
}

impl Work<'_> {
    fn changes(&self, pairs: &[Pair], rewritten: &mut Rewritten) -> Result<Changes> {
        let olds: BTreeSet<_> = pairs.iter().map(|pair| pair.old.clone()).collect();
        let (lines, _) = read::lines(self.repo, self.refs, &olds);
        let mut changes = Changes::default();
        for pair in pairs.iter().filter(|pair| pair.old != pair.new) {
            let mut about = lines.iter().filter(|line| line.object == pair.old).peekable();
            if about.peek().is_none() {
                continue;
            }
            let mut left = |why| rewritten.left.push(Left { pair: pair.clone(), why });
            let tree = match (self.repo.object(&pair.old)?, self.repo.object(&pair.new)?) {
                (Object::Commit { tree: old }, Object::Commit { tree: new }) if old == new => new,
                (Object::Commit { .. }, Object::Commit { .. }) => {
                    left("the new commit has another tree");
                    continue;
                }
                _ => {
                    left("one of the two is no commit of this repository");
                    continue;
                }
            };
            let mut note = note_with(self.repo, self.tip, &changes, &pair.new)?;
            let mut runs = Vec::new();
            for line in about {
                // What is not to be believed where it stands is so nowhere else.
                let Ok(envelope) = Envelope::parse(&line.bytes, sha256_hex) else { continue };
                if envelope.statement.record.tree == tree
                    && envelope.statement.writer == line.writer
                    && let Some(more) = self.with(&note, &envelope, &line.bytes, pair)
                {
                    note = more;
                    runs.push(envelope.statement.record.run_id);
                }
            }
            if !runs.is_empty() {
                changes.notes.retain(|(object, _)| *object != pair.new);
                changes.notes.push((pair.new.clone(), note));
                rewritten.carried.push(Carried { pair: pair.clone(), runs });
            }
        }
        Ok(changes)
    }

    /// Returns a note with one more record; nothing if it has it already.
    fn with(&self, note: &[u8], envelope: &Envelope, line: &[u8], pair: &Pair) -> Option<Vec<u8>> {
        let record = &envelope.statement.record;
        let known = format!("run {}, ", record.run_id);
        let is_ours = envelope.statement.writer == self.ours.writer;
        let by = match is_ours {
            true => format!("{} <{}>", self.ours.author.name, self.ours.author.email),
            false => format!("writer {}", envelope.statement.writer),
        };
        let key = envelope.signatures.first().map(|signature| signature.keyid.as_str());
        let mut text = note::text(record, &by, key);
        if !is_ours {
            // Nobody has checked the signature here.
            text.truncate(text.trim_end().rfind('\n').map_or(0, |at| at + 1));
        }
        text.push_str(&format!("  carried over from {}, which has this very tree\n", &pair.old[..12]));
        if is_ours {
            let line = String::from_utf8_lossy(line);
            let has = note::lines(note).any(|known| known == line.as_bytes());
            return (!has).then(|| note::add(note, Some(&text), &line));
        }
        // Two writers never write to one ref: the record stays where it is, with the tree.
        let writer = &envelope.statement.writer;
        text.push_str(&format!("  its record stands in the notes of {writer}, about the tree\n"));
        let has = memchr::memmem::find(note, known.as_bytes()).is_some();
        (!has).then(|| note::add_text(note, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_git_tells_post_rewrite() {
        let (a, b) = ("a".repeat(40), "b".repeat(64));
        let pair = |old: &str, new: &str| Pair { old: old.to_owned(), new: new.to_owned() };
        let text = format!("{a} {b}\n\n{b} {a} extra words\n");
        assert_eq!(pairs(&text).unwrap(), [pair(&a, &b), pair(&b, &a)]);
        assert_eq!(pairs("").unwrap(), []);
        for wrong in [format!("{a}\n"), format!("HEAD {a}\n"), format!("{a} HEAD {b}\n"), "x y\n".to_owned()]
        {
            let said = pairs(&wrong).unwrap_err().to_string();
            assert!(said.starts_with("line 1 names no two commits: `"), "{said}");
        }
    }
}
