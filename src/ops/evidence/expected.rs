//! What one commit is held against: which stages it has to pass, what they do, and what of it they look at.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::policy::{Declared, Policy, Whose};
use super::verdict::Verdict;
use super::verify::Required;
use crate::git::Commit;
use crate::ops::Context;
use crate::proof::StageRecord;
use crate::proof::standing::Rules;
use crate::run::key::{Definition, Subject};

/// What a commit is held against.
#[derive(Debug)]
pub struct Expected {
    pub stages: Vec<String>,
    /// What the stages do, by their ids; nothing where nobody says it.
    pub declared: Option<Declared>,
    /// What the commit itself says they do, if that counts too.
    own: Option<Declared>,
    /// Who says so.
    pub by: String,
    pub rules: Rules,
    pub defined: Verdict,
    /// The whole tree, in hex.
    tree: String,
    /// What lists of pathspecs select of the tree.
    selected: BTreeMap<Vec<String>, Subject>,
}

impl Expected {
    /// Finds what a commit is held against.
    pub fn of(ctx: &Context, policy: &Policy, required: &Required, commit: &Commit) -> Result<Self> {
        let (known, by) = policy.expected(ctx, commit);
        let (declared, mut defined) = match known {
            Ok(Some(declared)) => (Some(declared), Verdict::Holds),
            Ok(None) => {
                let why = format!("{by} declares no pipeline, so stages are known by id only");
                (None, Verdict::Open(why))
            }
            Err(why) if policy.base.is_none() && policy.whose == Whose::Base => (None, Verdict::Fails(why)),
            Err(why) => (None, Verdict::Fails(format!("what {by} declares cannot be read: {why}"))),
        };
        if let (Whose::Own, Some(why), Verdict::Holds) = (policy.whose, &policy.why, &defined) {
            defined = Verdict::Open(format!("{why}, so stages are as the commit itself has them"));
        }
        let own = match policy.own_too {
            true => policy.read(ctx, &commit.id).ok().flatten(),
            false => None,
        };
        let usual = || declared.as_ref().map(|declared| declared.usual.clone()).filter(|ids| !ids.is_empty());
        let stages = required.stages.clone().or_else(usual).unwrap_or_default();
        let max_age = required.max_age.or(declared.as_ref().and_then(|declared| declared.max_age));
        let rules = Rules { now: ctx.clock.now(), max_age, signed_by_others: true };
        let tree = commit.tree.clone();
        let mut expected =
            Self { stages, declared, own, by, rules, defined, tree, selected: BTreeMap::new() };
        let lists = expected.lists();
        let digests = ctx.repo.inputs_of_tree(&commit.tree, &lists)?;
        let tree = Subject::tree(&commit.tree, None);
        let subjects = digests.iter().map(|digest| Subject::selected(digest, &tree));
        expected.selected = lists.into_iter().zip(subjects).collect();
        Ok(expected)
    }

    /// Returns what the required stages look at that do not look at all of the tree.
    fn lists(&self) -> Vec<Vec<String>> {
        let mut lists = BTreeSet::new();
        for declared in self.declared.iter().chain(&self.own) {
            let definitions = self.stages.iter().filter_map(|id| declared.stages.get(id)).flatten();
            lists.extend(definitions.map(|it| it.inputs.clone()).filter(|inputs| !inputs.is_empty()));
        }
        lists.into_iter().collect()
    }

    /// Returns what the required stages look at that do not look at all of the tree.
    pub fn inputs(&self) -> impl Iterator<Item = &Subject> {
        self.selected.values().filter(|subject| !subject.is_tree())
    }

    /// Whether a verdict about a subject is one about all that a stage looks at in the commit.
    pub fn is_of(&self, stage: &StageRecord) -> bool {
        let inputs = &stage.definition.inputs;
        match inputs.is_empty() {
            // In a sparse checkout not all of the tree was there.
            true => stage.subject == Subject::tree(&self.tree, None),
            // Where nobody says what a stage looks at, nobody can tell.
            false => self.selected.get(inputs).is_some_and(|subject| stage.subject == *subject),
        }
    }

    /// Whether that is the whole tree.
    pub fn is_tree(&self, tree: &str) -> bool {
        self.tree == tree
    }

    /// Returns the digests of what a stage may do; nothing where that is open.
    pub fn digests(&self, id: &str) -> Option<BTreeSet<String>> {
        let declared = self.declared.as_ref()?;
        let own = self.own.iter().flat_map(|own| own.digests(id));
        let digests: BTreeSet<_> = declared.digests(id).chain(own).collect();
        // Nobody but the commit itself could say what that stage is.
        let is_open = digests.is_empty() && matches!(self.defined, Verdict::Open(_));
        (!is_open).then_some(digests)
    }

    /// Returns what a stage should do.
    pub fn definition(&self, id: &str) -> Option<&Definition> {
        self.declared.as_ref()?.stages.get(id)?.first()
    }
}
