//! `evidence push --detach`: notes are sent by a process of its own, for which nobody waits.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::remote;
use crate::ops::Context;
use crate::sys::daemon::{self, Said};
use crate::sys::fs;

/// Notes on their way.
#[derive(Clone, Debug)]
pub struct Sending {
    pub remote: String,
    /// Where the process tells what came of it.
    pub log: PathBuf,
}

fn log(ctx: &Context) -> PathBuf {
    ctx.repo.common_dir().join("orchestrate/notes/push.log")
}

/// Starts a process that sends the notes, and does not wait for it.
pub fn send_later(ctx: &Context, named: Option<&str>, limit: Duration) -> Result<Sending> {
    // What is wrong with the question is told to whoever asked it.
    let remote = remote::named(ctx, named)?;
    let timeout = format!("{}ms", limit.as_millis());
    let words = ["evidence", "push", "--detached", "--timeout", &timeout, "--", &remote];
    let launched = daemon::launch(None, &|_| false, words.map(Into::into));
    match launched.and_then(daemon::Launched::listen).context("cannot start a process for the notes")? {
        Said::Answer(_) => Ok(Sending { remote, log: log(ctx) }),
        Said::Ended(status) => {
            anyhow::bail!("the process that was to send the notes ended at once: {status}")
        }
    }
}

/// Makes this process the one that nobody waits for.
pub fn let_go(ctx: &Context) -> Result<()> {
    let path = log(ctx);
    fs::create_dir_all(path.parent().expect("a file has a folder"))?;
    let log = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    daemon::leave_session();
    daemon::let_go(b"on its way\n", &log).context("cannot let go of the caller")
}
