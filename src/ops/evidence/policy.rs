//! What commits are held against: the stages, the age and the signers of the commit at which a change began, and
//! never those of the change itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use anyhow::Result;
use jiff::SignedDuration;

use super::signers::{self, Signers};
use crate::git::{Commit, GitError, UsualBase};
use crate::id::short;
use crate::ops::host::max_age;
use crate::ops::plan::{Declares, declared_at};
use crate::ops::{Context, Refusal};
use crate::pipeline::plan::Plan;
use crate::run::key::Definition;
use crate::sys::digest::sha256_hex;

/// The commit at which a change began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The name under which it was found, such as `origin/main`.
    pub label: String,
    /// In hex.
    pub commit: String,
}

/// Whose word counts about what a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of the base.
    Base,
    /// That of the commit itself: there is no base, or it declares nothing.
    Own,
    /// That of the commit before: a stage that is redefined shows where that happened.
    Parent,
}

/// What a configuration says about evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// What the stages of each id do. Where the pipeline that runs by default has one of that id, it is that one; else
    /// it is any of the others.
    pub stages: BTreeMap<String, Vec<Definition>>,
    /// The stages of the pipeline that runs by default, as far as records can speak for them.
    pub usual: Vec<String>,
    pub max_age: Option<SignedDuration>,
}

/// What is known of a configuration: what it declares, that there is none, or why it cannot be read.
pub type Known = std::result::Result<Option<Declared>, String>;

/// What commits are held against.
#[derive(Debug)]
pub struct Policy {
    pub base: Option<Base>,
    /// Why there is no base, or why it says nothing.
    pub why: Option<String>,
    pub whose: Whose,
    /// Whether what the commit itself says of a stage counts too.
    pub own_too: bool,
    pub signers: Signers,
    of_base: Known,
    /// What configurations say, by the commits that have them.
    read: Mutex<HashMap<String, std::sync::Arc<Known>>>,
}

/// What somebody said about the base, as far as anybody did.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub base: Option<String>,
    /// Whether what the commit itself says of a stage counts too.
    pub own_too: bool,
    pub signers: Option<Signers>,
}

impl Policy {
    /// Finds what the commits of a revision or range are held against.
    pub fn of(ctx: &Context, revision: &str, asked: &Asked) -> Result<Self> {
        match find(ctx, revision, asked.base.as_deref())? {
            Start::At(base) => Self::with(ctx, Some(base), None, asked),
            Start::Nowhere(why) => Self::with(ctx, None, Some(why), asked),
            Start::CutOff(why) => Self::unknown(ctx, why, asked),
        }
    }

    /// Holds each commit against the one before it, unless somebody named a base.
    pub fn of_parents(ctx: &Context, revision: &str, asked: &Asked) -> Result<Self> {
        let mut policy = Self::of(ctx, revision, asked)?;
        if asked.base.is_none() {
            (policy.whose, policy.why) = (Whose::Parent, None);
        }
        Ok(policy)
    }

    /// Holds commits against a base that nobody can find, so that nothing is proven.
    pub fn unknown(ctx: &Context, why: String, asked: &Asked) -> Result<Self> {
        let policy = Self::with(ctx, None, None, asked)?;
        Ok(Self { whose: Whose::Base, of_base: Err(why), ..policy })
    }

    /// Holds commits against a base that is known, or says why there is none.
    pub fn with(ctx: &Context, base: Option<Base>, why: Option<String>, asked: &Asked) -> Result<Self> {
        let at = base.as_ref().map(|base| base.commit.as_str());
        let signers = match &asked.signers {
            Some(signers) => signers.clone(),
            None if at.is_some() => signers::of_base(ctx, at)?,
            None => signers::allowed(ctx)?,
        };
        let of_base = at.map_or(Ok(None), |at| declared(ctx, at));
        let declares_nothing = matches!(of_base, Ok(None));
        let nothing = |base: &Base| format!("{} declares no pipeline", base.named());
        let why = why.or_else(|| base.as_ref().filter(|_| declares_nothing).map(nothing));
        let whose = if declares_nothing { Whose::Own } else { Whose::Base };
        let own_too = asked.own_too;
        Ok(Self { base, why, whose, own_too, signers, of_base, read: Mutex::default() })
    }

    /// Returns whose word counts, in words.
    pub fn said(&self) -> String {
        match (&self.base, self.whose) {
            (Some(base), Whose::Base) => format!("stages as {} has them", base.named()),
            (None, Whose::Base) => "nothing, because no base was found".to_owned(),
            (_, Whose::Parent) => "stages as the commit before each has them".to_owned(),
            (_, _) => match &self.why {
                Some(why) => format!("stages as each commit itself has them: {why}"),
                None => "stages as each commit itself has them".to_owned(),
            },
        }
    }

    /// Returns what a commit is held against, and who says so.
    pub fn expected(&self, ctx: &Context, commit: &Commit) -> (Known, String) {
        let named = |base: &Option<Base>| base.as_ref().map_or("the base".to_owned(), Base::named);
        match self.whose {
            Whose::Base => (self.of_base.clone(), named(&self.base)),
            Whose::Own => (self.read(ctx, &commit.id), "the commit itself".to_owned()),
            Whose::Parent => match ctx.repo.parents(&commit.id) {
                Ok(parents) => match parents.first() {
                    Some(parent) => {
                        (self.read(ctx, parent), format!("the commit before ({})", short(parent)))
                    }
                    None => (self.read(ctx, &commit.id), "the commit itself".to_owned()),
                },
                Err(err) => (Err(err.to_string()), "the commit before".to_owned()),
            },
        }
    }

    /// Returns what the configuration of a commit says.
    pub fn read(&self, ctx: &Context, commit: &str) -> Known {
        if let Some(known) = self.read.lock().expect("nobody panics with it").get(commit) {
            return known.as_ref().clone();
        }
        let known = declared(ctx, commit);
        let kept = std::sync::Arc::new(known.clone());
        self.read.lock().expect("nobody panics with it").insert(commit.to_owned(), kept);
        known
    }
}

impl Base {
    /// Returns the name and the commit.
    pub fn named(&self) -> String {
        match self.commit.starts_with(&self.label) {
            true => short(&self.commit).to_owned(),
            false => format!("{} at {}", self.label, short(&self.commit)),
        }
    }
}

impl Declared {
    fn of(declares: Declares) -> Self {
        let Declares { default, others, evidence } = declares;
        let mut stages = BTreeMap::new();
        let mut usual = Vec::new();
        for planned in default.iter().flat_map(|plan| &plan.stages) {
            if let Some(definition) = Definition::of(planned) {
                usual.push(planned.stage.id.to_string());
                stages.insert(planned.stage.id.to_string(), vec![definition]);
            }
        }
        let mut more = BTreeMap::<String, Vec<Definition>>::new();
        for planned in others.iter().flat_map(|plan: &Plan| &plan.stages) {
            if let Some(definition) = Definition::of(planned) {
                more.entry(planned.stage.id.to_string()).or_default().push(definition);
            }
        }
        for (id, definitions) in more {
            stages.entry(id).or_insert(definitions);
        }
        Self { stages, usual, max_age: max_age(&evidence) }
    }

    /// Returns the digests of what stages of that id do.
    pub fn digests(&self, id: &str) -> impl Iterator<Item = String> {
        self.stages.get(id).into_iter().flatten().map(|definition| definition.digest(sha256_hex))
    }
}

fn declared(ctx: &Context, commit: &str) -> Known {
    match declared_at(ctx, commit) {
        Ok(declares) => Ok(declares.map(Declared::of)),
        Err(err) => Err(format!("{err:#}")),
    }
}

/// Where a change began.
enum Start {
    At(Base),
    /// Nobody says where, and there is nothing to be compared with.
    Nowhere(String),
    /// It began somewhere, and here nobody can tell where.
    CutOff(String),
}

/// Finds where a change began: the base that somebody named, the left end of a range, or the usual one.
fn find(ctx: &Context, revision: &str, named: Option<&str>) -> Result<Start> {
    let ends = revision.split_once("...").or_else(|| revision.split_once(".."));
    let head = |end: &str| if end.is_empty() { "HEAD".to_owned() } else { end.to_owned() };
    let tip = ends.map_or_else(|| revision.to_owned(), |(_, tip)| head(tip));
    let tip = ctx.repo.commit_named(&tip)?;
    let label = named.map(str::to_owned).or_else(|| ends.map(|(from, _)| head(from)));
    if let Some(label) = label {
        let from = match (ctx.repo.commit_named(&label)?, named) {
            (Some(from), _) => from,
            (None, Some(named)) => {
                let message = format!("the base `{}` names no commit", named.escape_debug());
                return Err(Refusal::usage(message).hint("name a commit, such as `origin/main`").into());
            }
            // What is wrong with the range is said where its commits are listed.
            (None, None) => return Ok(Start::Nowhere("the range has no left end".to_owned())),
        };
        return between(ctx, label, &from, tip);
    }
    let head = ctx.repo.head()?;
    if ctx.repo.is_bare() {
        // What its own branch has is what has been let in.
        return match (head.commit, head.branch) {
            (Some(commit), Some(branch)) => {
                let label = branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned();
                between(ctx, label, &commit, tip)
            }
            _ => Ok(Start::Nowhere("there is no base".to_owned())),
        };
    }
    match usual(ctx) {
        Ok(Some(usual)) if usual.found != "root" => between(ctx, usual.label, &usual.commit, tip),
        Ok(_) => Ok(Start::Nowhere("there is no base".to_owned())),
        Err(GitError::Shallow { what }) => Ok(Start::CutOff(format!(
            "no base can be found, because history is cut off ({what}): fetch more of it, or name one with `--base`"
        ))),
        Err(err) => Err(err.into()),
    }
}

/// Returns the usual base of what is checked out. A branch that was pushed follows itself, and what it says of itself
/// is no base: then it is the branch that changes go to in the end.
pub fn usual(ctx: &Context) -> Result<Option<UsualBase>, GitError> {
    let usual = ctx.repo.usual_base()?;
    let head = ctx.repo.head()?;
    let own = head.branch.as_deref().and_then(|branch| branch.strip_prefix("refs/heads/"));
    let follows_itself = usual.as_ref().is_some_and(|usual| {
        usual.found == "upstream" && own.is_some_and(|own| usual.label.ends_with(&format!("/{own}")))
    });
    match follows_itself {
        true => Ok(ctx.repo.default_branch()?.or(usual)),
        false => Ok(usual),
    }
}

fn between(ctx: &Context, label: String, from: &str, tip: Option<String>) -> Result<Start> {
    let Some(tip) = tip else { return Ok(Start::At(Base { label, commit: from.to_owned() })) };
    match ctx.repo.merge_base(from, &tip)? {
        Some(commit) => Ok(Start::At(Base { label, commit })),
        None if ctx.repo.is_shallow() => Ok(Start::CutOff(format!(
            "history is cut off (a shallow clone) before `{label}` and {} meet: fetch more of it",
            short(&tip)
        ))),
        None => Ok(Start::CutOff(format!(
            "`{label}` and {} have no commit in common: name a base with `--base`",
            short(&tip)
        ))),
    }
}
