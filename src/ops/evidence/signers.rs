//! Who may sign: a file of the commit that a change is compared with, or of the user's own configuration, and
//! never one of the change that is judged.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::id::short;
use crate::ops::Context;
use crate::pipeline::config::{FILE_NAME, parse};
use crate::sys::fs;

/// The largest file of signers that is read.
const LARGEST: u64 = 4 << 20;

/// Allowed signers, and where that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// Lines as ssh-keygen reads them.
    pub text: Vec<u8>,
    /// Such as `.git-signers of 0badcafe`.
    pub from: Vec<String>,
}

impl Signers {
    fn add(&mut self, text: &[u8], from: String) {
        self.text.extend_from_slice(text);
        self.text.push(b'\n');
        self.from.push(from);
    }
}

/// Returns the signers of a file that somebody named.
pub fn of_file(path: &Path) -> Result<Signers> {
    let mut signers = Signers::default();
    let text = fs::read_regular(path, LARGEST).context("the file of allowed signers cannot be read")?;
    signers.add(&text, path.display().to_string());
    Ok(signers)
}

/// Returns the signers that the base commit and the user's configuration allow.
pub fn allowed(ctx: &Context) -> Result<Signers> {
    // Without a base there is nothing but the user's own word.
    let base = match super::policy::usual(ctx) {
        Ok(Some(usual)) => match ctx.repo.head()?.commit {
            Some(head) => ctx.repo.merge_base(&usual.commit, &head)?,
            None => Some(usual.commit),
        },
        Ok(None) | Err(_) => None,
    };
    of_base(ctx, base.as_deref())
}

/// Returns the signers that a commit and the user's configuration allow.
pub fn of_base(ctx: &Context, base: Option<&str>) -> Result<Signers> {
    let mut signers = Signers::default();
    let in_base = |path: &str, signers: &mut Signers| -> Result<()> {
        if let Some(base) = base
            && let Some(text) = ctx.repo.file_at(base, path)?
        {
            signers.add(&text, format!("{path} of {}", short(base)));
        }
        Ok(())
    };
    if let Some(base) = base
        && let Some(text) = ctx.repo.file_at(base, FILE_NAME)?
        && let Ok(config) = parse(FILE_NAME, &String::from_utf8_lossy(&text))
        && let Some(path) = config.evidence.signers
    {
        in_base(&path, &mut signers)?;
    }
    if let Some(path) = ctx.repo.allowed_signers()? {
        match path.strip_prefix(ctx.repo.work_tree()).ok().and_then(Path::to_str) {
            // A file of the work tree belongs to the change that is judged.
            Some(inside) if !inside.starts_with(".git/") => in_base(inside, &mut signers)?,
            _ => {
                if let Ok(text) = fs::read_regular(&path, LARGEST) {
                    signers.add(&text, path.display().to_string());
                }
            }
        }
    }
    Ok(signers)
}
