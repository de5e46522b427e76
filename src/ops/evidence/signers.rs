//! Who may sign: a file of the commit that a change is compared with, or of the user's own configuration, and
//! never one of the change that is judged.

use std::path::Path;

use anyhow::Result;

use crate::git::GitError;
use crate::id::short;
use crate::ops::{Context, Refusal};
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
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let text = fs::read_regular(&real, LARGEST).map_err(|err| {
        Refusal::usage(format!("the file of allowed signers cannot be read: {err}"))
            .hint("name a file whose lines are as `ssh-keygen` reads them")
    })?;
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
    // Where a link leads to nothing, nobody is allowed.
    let read = |base: &str, path: &str| match ctx.repo.file_behind(base, path) {
        Err(GitError::DeadLink { .. }) => Ok(None),
        read => read,
    };
    let in_base = |path: &str, signers: &mut Signers| -> Result<()> {
        if let Some(base) = base
            && let Some(text) = read(base, path)?
        {
            signers.add(&text, format!("{path} of {}", short(base)));
        }
        Ok(())
    };
    if let Some(base) = base
        && let Some(text) = read(base, FILE_NAME)?
        && let Ok(config) = parse(FILE_NAME, &String::from_utf8_lossy(&text))
        && let Some(path) = config.evidence.signers
    {
        in_base(&path, &mut signers)?;
    }
    if let Some(path) = ctx.repo.allowed_signers()? {
        // People keep such files behind links. None of them leads into the work tree, or out of it, unseen.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let work_tree = ctx.repo.work_tree();
        let roots = [work_tree.to_owned(), work_tree.canonicalize().unwrap_or_else(|_| work_tree.to_owned())];
        let places = roots.iter().flat_map(|root| [path.strip_prefix(root), real.strip_prefix(root)]);
        let inside = |place: &&Path| !place.starts_with(".git");
        match places.flatten().find(inside) {
            // A file of the work tree belongs to the change that is judged.
            Some(place) => place.to_str().map_or(Ok(()), |place| in_base(place, &mut signers))?,
            None => {
                if let Ok(text) = fs::read_regular(&real, LARGEST) {
                    signers.add(&text, path.display().to_string());
                }
            }
        }
    }
    Ok(signers)
}
