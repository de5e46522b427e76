//! Detached runs: a copy of this program owns the run, and whoever asked for it need not stay.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::host::{SharedWatch, Watch};
use super::resume::end_orphans;
use super::{Context, which};
use crate::git::is_local_variable;
use crate::id::{RunId, TaskId};
use crate::run::event::Happened;
use crate::run::manifest::{Manifest, Owner};
use crate::runner::Stream;
use crate::store::catalog::{self, Wanted};
use crate::store::layout::RunPaths;
use crate::store::lease::{Asked, Lease};
use crate::sys::daemon::{self, Guardian, Launched, Said};
use crate::sys::{heap, process, resident};

/// The request by which this program calls a copy of itself that is to own a run.
pub const SUPERVISE: &str = "supervise";
/// The request by which the guardian of a run calls this program.
pub const SWEEP: &str = "sweep";

/// What came of a request that a copy of this program was to carry out.
#[derive(Debug)]
pub enum Detached {
    /// The run is on disk and owned.
    Owned(Box<Manifest>),
    /// The copy has told on stderr why not.
    Refused(ExitStatus),
}

/// Hands a request over to this program, started anew, in another worktree if one is named. `args` are
/// those of the request, with its name.
pub fn hand_over(worktree: Option<&Path>, args: impl IntoIterator<Item = OsString>) -> Result<Detached> {
    let args = std::iter::once(SUPERVISE.into()).chain(args);
    // What ties us to our worktree would lead the copy astray.
    let ties = |name: &OsStr| is_local_variable(name) || name == "CODEX_ORCHESTRATOR_ROOT";
    outcome_of(daemon::launch(worktree, &ties, args).context("cannot start a process for the run")?)
}

/// Waits for what comes of a request that was handed over.
pub fn outcome_of(launched: Launched) -> Result<Detached> {
    Ok(match launched.listen().context("cannot hear from the process that is to own the run")? {
        Said::Ended(status) => Detached::Refused(status),
        Said::Answer(words) => {
            Detached::Owned(Box::new(serde_json::from_slice(&words).context("the run began oddly")?))
        }
    })
}

/// The watch of a run that is to be detached as soon as it is owned.
struct Supervised {
    inner: SharedWatch,
    guardian: Rc<RefCell<Option<Guardian>>>,
    /// Whether the caller has its answer: what is asked for may take several runs.
    is_gone: bool,
}

/// Carries out a request as the owner of a detached run. `work` is given the watch to use.
pub fn supervise<T>(watch: SharedWatch, work: impl FnOnce(SharedWatch) -> Result<T>) -> Result<T> {
    let guardian = Rc::new(RefCell::new(None));
    let supervised = Supervised { inner: watch, guardian: Rc::clone(&guardian), is_gone: false };
    let result = work(Rc::new(RefCell::new(supervised)));
    if let Some(guardian) = guardian.take() {
        guardian.dismiss();
    }
    result
}

impl Supervised {
    fn detach(&mut self, manifest: &Manifest, paths: &RunPaths) -> Result<()> {
        let log = paths.supervisor_log();
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let log = options.open(&log).with_context(|| format!("cannot open `{}`", log.display()))?;
        if !std::mem::replace(&mut self.is_gone, true) {
            daemon::let_go(&manifest.to_json(), &log).context("cannot let go of the terminal")?;
        }
        let (task, run) = (manifest.task_id.as_str(), manifest.run_id.as_str());
        let sweep = [SWEEP, "--task", task, run].map(OsString::from);
        *self.guardian.borrow_mut() = Some(Guardian::start(sweep).context("cannot start a guardian")?);
        Ok(())
    }
}

impl Watch for Supervised {
    fn event(&mut self, depth: usize, manifest: &Manifest, event: &Happened, index: usize) {
        self.inner.borrow_mut().event(depth, manifest, event, index);
        if matches!(event, Happened::Heartbeat) {
            // Most of what has run by now is not used again while a stage takes its time.
            resident::let_go_of_code();
            heap::give_back();
        }
    }

    fn logged(&mut self, depth: usize, lines: &[u8]) {
        self.inner.borrow_mut().logged(depth, lines);
    }

    fn printed(&mut self, depth: usize, manifest: &Manifest, index: usize, stream: Stream, text: &str) {
        self.inner.borrow_mut().printed(depth, manifest, index, stream, text);
    }

    fn is_detached(&self) -> bool {
        true
    }

    fn warn(&mut self, text: &str) {
        self.inner.borrow_mut().warn(text);
    }

    fn owned(&mut self, manifest: &Manifest, paths: &RunPaths) {
        if let Err(err) = self.detach(manifest, paths) {
            self.warn(&format!("{err:#}"));
        }
    }
}

/// Ends what the killed owner of a detached run left running. The run stays as it is, and can be
/// resumed.
pub fn sweep(ctx: &Context, task: &TaskId, run: &RunId, watch: &SharedWatch) -> Result<()> {
    let (found, _) = which::run(ctx, Some(task), &Wanted::Id(run.clone()))?;
    let me: Owner = process::myself(ctx.clock.now());
    // Whoever has the lease by now has ended it all before.
    let Asked::Granted(_lease) = Lease::ask(&found.paths.lease, &me)? else { return Ok(()) };
    let state = catalog::read(&found.paths)?;
    match state.manifest.status.is_terminal() {
        true => Ok(()),
        false => end_orphans(&found, &state.manifest, watch),
    }
}
