//! `evidence receive`: what a server asks before it takes a push, by what its own branches say, and never by what
//! the push says of itself.

use std::collections::BTreeSet;

use anyhow::Result;

use super::policy::{Asked, Base, Policy};
use super::read;
use super::verify::{OfCommit, Required, check};
use crate::git::{NOTES, Object, Ref, Repo};
use crate::ops::{Context, Refusal};

/// What is judged when nobody says it: everything below these.
pub const JUDGED: [&str; 2] = ["refs/heads/", "refs/tags/"];

/// One line of what git tells a hook that receives a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Nothing for a ref that is new.
    pub old: Option<String>,
    /// Nothing for a ref that goes.
    pub new: Option<String>,
    pub name: String,
}

/// What a push has to bring.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub required: Required,
    pub asked: Asked,
    /// The refs that are judged: names, or prefixes that end with a slash.
    pub refs: Vec<String>,
    /// Whether only the commit counts that a ref will name, and not those on the way to it.
    pub tips: bool,
}

/// What became of a push.
#[derive(Debug)]
pub struct Received {
    pub refs: Vec<OfRef>,
}

/// What was found out about one ref.
#[derive(Debug)]
pub struct OfRef {
    pub update: Update,
    /// What its commits were held against; nothing if there was nothing to judge.
    pub policy: Option<Policy>,
    pub commits: Vec<OfCommit>,
    /// Why it is refused, if not for its commits.
    pub refused: Option<String>,
}

impl OfRef {
    /// Whether nothing speaks against the ref.
    pub fn is_good(&self) -> bool {
        self.refused.is_none() && self.commits.iter().all(is_good)
    }
}

/// Whether nothing speaks against a commit. Where nothing is required, nothing is proven.
pub fn is_good(of: &OfCommit) -> bool {
    of.is_proven() && !of.stages.is_empty()
}

impl Received {
    /// Whether the push may be taken.
    pub fn is_good(&self) -> bool {
        self.refs.iter().all(OfRef::is_good)
    }

    /// Whether something is not to be believed.
    pub fn is_invalid(&self) -> bool {
        self.refs.iter().flat_map(|of| &of.commits).any(OfCommit::is_invalid)
    }
}

/// Reads what git tells a hook that receives a push: the old and the new id and the name of each ref.
pub fn updates(text: &str) -> Result<Vec<Update>> {
    let id = |word: &str| {
        let is_id = word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| Some(word.to_owned()).filter(|id| id.bytes().any(|byte| byte != b'0')))
    };
    let update = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (old, new, name) = (id(words.next()?)?, id(words.next()?)?, words.next()?);
        name.starts_with("refs/").then(|| Update { old, new, name: name.to_owned() })
    };
    let read = |line: &str| {
        let no_update = || {
            Refusal::usage(format!("`{}` is no line that git gives a hook", line.escape_debug()))
                .hint("this is called by a `pre-receive` hook: see `hooks/README.md`")
        };
        update(line).ok_or_else(|| no_update().into())
    };
    text.lines().map(read).collect()
}

/// Judges a push.
pub fn receive(ctx: &Context, updates: Vec<Update>, wanted: &Wanted) -> Result<Received> {
    let refs = notes(&ctx.repo, &updates)?;
    let mut seen = BTreeSet::new();
    let mut judged = Vec::new();
    for update in updates {
        let mut of = OfRef { update, policy: None, commits: Vec::new(), refused: None };
        if of.update.name.starts_with(NOTES) {
            of.refused = wrong_notes(&ctx.repo, &of.update)?;
        } else if is_judged(&of.update.name, &wanted.refs)
            && let Some(new) = of.update.new.clone()
        {
            judge(ctx, &mut of, &new, wanted, &refs, &mut seen)?;
        }
        judged.push(of);
    }
    Ok(Received { refs: judged })
}

fn is_judged(name: &str, refs: &[String]) -> bool {
    refs.iter()
        .any(|known| if known.ends_with('/') { name.starts_with(known.as_str()) } else { name == known })
}

/// Returns the notes as they will be.
fn notes(repo: &Repo, updates: &[Update]) -> Result<Vec<Ref>> {
    let mut refs = read::refs(repo)?;
    for update in updates.iter().filter(|update| update.name.starts_with(NOTES)) {
        refs.retain(|of| of.name != update.name);
        refs.extend(update.new.as_ref().map(|tip| Ref { name: update.name.clone(), tip: tip.clone() }));
    }
    Ok(refs)
}

/// Says what is wrong with a change of notes: they only grow, and what holds none is nobody's evidence.
fn wrong_notes(repo: &Repo, update: &Update) -> Result<Option<String>> {
    // A name below that of a writer keeps this one from having notes at all.
    let is_writer = !update.name[NOTES.len()..].contains('/');
    if let Some(new) = &update.new {
        if !is_writer {
            return Ok(Some("no writer has a name with a slash in it".to_owned()));
        }
        if !matches!(repo.object(new)?, Object::Commit { .. }) {
            return Ok(Some("it names no commit, so there are no notes in it".to_owned()));
        }
    }
    let Some(old) = &update.old else { return Ok(None) };
    if !is_writer || matches!(repo.object(old)?, Object::Tree | Object::Other) {
        return Ok(None);
    }
    let kept = update.new.as_ref().map(|new| repo.is_ancestor(old, new)).transpose()?;
    Ok((kept != Some(true)).then(|| {
        "it takes evidence away that is here: `git orchestrate evidence push` sends it without".to_owned()
    }))
}

/// Judges what a ref brings: the commits that none of the judged refs has yet, and always the one that it will name.
fn judge(
    ctx: &Context,
    of: &mut OfRef,
    new: &str,
    wanted: &Wanted,
    refs: &[Ref],
    seen: &mut BTreeSet<String>,
) -> Result<()> {
    let Some(tip) = ctx.repo.commit(new)? else {
        of.refused = Some("it names no commit, so nothing can be proven of it".to_owned());
        return Ok(());
    };
    let (prefixes, names): (Vec<_>, Vec<_>) =
        wanted.refs.iter().cloned().partition(|name| name.ends_with('/'));
    let known: Vec<_> =
        names.iter().filter_map(|name| ctx.repo.tip(name).transpose()).collect::<Result<_, _>>()?;
    let mut commits = ctx.repo.commits_beyond(&tip.id, &prefixes, &known)?;
    if wanted.tips {
        commits.retain(|commit| commit.id == tip.id);
    }
    let is_branch = of.update.name.starts_with("refs/heads/");
    if is_branch && commits.iter().all(|commit| commit.id != tip.id) {
        commits.push(tip);
    }
    // A tag and its branch bring the same commits; one refusal is enough.
    commits.retain(|commit| is_branch || seen.insert(commit.id.clone()));
    seen.extend(commits.iter().map(|commit| commit.id.clone()));
    if commits.is_empty() {
        return Ok(());
    }
    let policy = policy(ctx, &of.update, wanted)?;
    of.commits = check(ctx, commits, &wanted.required, &policy, refs)?;
    of.policy = Some(policy);
    Ok(())
}

/// Returns what a ref is held against: what it named until now, or for a new one what the repository's own branch has.
fn policy(ctx: &Context, update: &Update, wanted: &Wanted) -> Result<Policy> {
    if let Some(named) = &wanted.asked.base {
        let commit = ctx.repo.commit_named(named)?;
        let unknown = || Refusal::usage(format!("the base `{}` names no commit", named.escape_debug()));
        let base = Base { label: named.clone(), commit: commit.ok_or_else(unknown)? };
        return Policy::with(ctx, Some(base), None, &wanted.asked);
    }
    let short = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
    let own = match &update.old {
        Some(old) if update.name.starts_with("refs/heads/") => {
            ctx.repo.commit_named(old)?.map(|commit| Base { label: short(&update.name), commit })
        }
        _ => None,
    };
    let head = ctx.repo.head()?;
    let of_head = || {
        Some(Base { label: short(head.branch.as_deref().unwrap_or("HEAD")), commit: head.commit.clone()? })
    };
    if let Some(base) = own.or_else(of_head) {
        return Policy::with(ctx, Some(base), None, &wanted.asked);
    }
    if ctx.repo.refs_below("refs/heads/")?.is_empty() {
        return Policy::with(ctx, None, Some("there is no branch here yet".to_owned()), &wanted.asked);
    }
    let why = "`HEAD` of the server names no branch that is there: `git symbolic-ref HEAD refs/heads/main` on the server";
    Policy::unknown(ctx, why.to_owned(), &wanted.asked)
}
