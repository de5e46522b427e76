//! `budget`: who holds what of this machine's budget, and who waits.

use std::num::NonZeroU16;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Context, plan};
use crate::pipeline::budget::Budget as Settings;
use crate::run::stamp::Stamp;
use crate::sys::budget::{self, KINDS, Machine, Source, View};
use crate::sys::clock::Clock;
use crate::sys::env::Env;

/// The budget, as a run that is started here would see it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where the tokens lie.
    pub folder: PathBuf,
    /// Whether runs that are started here ignore it.
    pub ignored: bool,
    pub tokens: NonZeroU16,
    pub settings: Settings,
    pub view: View,
    /// How many percent of the last ten seconds something waited for the processor, the disk and memory.
    pub pressure: [Option<f32>; 3],
    /// How many bytes of memory there are, and how many can be had.
    pub memory: Option<(u64, u64)>,
    pub now: Stamp,
}

/// Looks at the budget. It is the same in and outside of repositories; only how many tokens there are may differ.
pub fn standing(env: Env, clock: Clock) -> Result<Standing> {
    let asked = Source::of(&env);
    let ignored = asked.is_none();
    let source = asked.unwrap_or_else(|| Source::anyway(&env));
    let settings = Context::look(env, clock).ok().and_then(|ctx| plan::load(&ctx).ok());
    let settings = settings.map(|config| config.budget).unwrap_or_default();
    let machine = Machine::here();
    Ok(Standing {
        folder: source.folder().to_owned(),
        ignored,
        tokens: source.tokens(&settings),
        settings,
        view: budget::look(source.folder()).context("cannot look at the budget of this machine")?,
        pressure: KINDS.map(|kind| machine.pressure(kind)),
        memory: machine.memory(),
        now: clock.now(),
    })
}
