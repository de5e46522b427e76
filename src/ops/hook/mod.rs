//! `hook`: what git asks when it calls a hook. A file per event, and what events have in common.

pub mod commit;
pub mod gate;
pub mod guards;
pub mod let_pass;
pub mod mend;
pub mod pre_push;
pub mod proof;
pub mod reason;
pub mod required;
pub mod run;
pub mod update;

use crate::pipeline::hooks::Event;

/// The events that there is an answer to.
pub const READY: &[Event] = &Event::ALL;

/// The variable that makes a hook say that it was called, and do nothing else.
pub const PROBE: &str = "GIT_ORCHESTRATE_PROBE";

/// Returns what a hook says that was only tried.
pub fn probed(event: Event) -> String {
    format!("git-orchestrate hook {event} was called")
}
