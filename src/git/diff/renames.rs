//! Renames: git itself says which of the files that went and came are the same.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use gix::bstr::BString;
use gix::objs::tree::EntryKind;

use super::super::tree::Fail;
use super::super::{GitError, Repo, name_status};
use super::{Now, Pair, Target};

/// How similar files must be, and how many may be compared: git's own defaults, written down so
/// that nobody's configuration decides.
pub(super) const RULE: [&str; 2] = ["-M50%", "-l1000"];

/// More bytes of names than this are no command line.
const MAX_ARGUMENTS: usize = 96 << 10;

/// Joins what went and what came into one where git sees a rename.
pub(super) fn pair(
    ours: &Repo,
    base: Option<&str>,
    target: Target<'_>,
    pairs: &mut Vec<Pair>,
) -> Result<(), Fail> {
    let Some(base) = base else { return Ok(()) };
    let counts = |pair: &&Pair| !pair.untracked && pair.excluded.is_none() && pair.unmeasured.is_none();
    let went =
        |pair: &&Pair| pair.now == Now::Gone && pair.old.is_some_and(|old| old.kind != EntryKind::Commit);
    let came = |pair: &&Pair| pair.old.is_none() && pair.now != Now::Gone;
    if !pairs.iter().any(|it| counts(&it) && went(&it)) || !pairs.iter().any(|it| counts(&it) && came(&it)) {
        return Ok(());
    }
    let candidates: Vec<_> = pairs
        .iter()
        .filter(counts)
        .filter(|pair| went(pair) || came(pair))
        .map(|pair| pair.path.clone())
        .collect();
    let mut renames = ask(ours, base, target, &candidates).map_err(Fail::Error)?;
    // Of too many names git was not told which ones count, and it may see a file move to one that does not.
    let targets: HashSet<_> = pairs.iter().filter(counts).filter(came).map(|pair| &pair.path).collect();
    renames.retain(|(_, to)| targets.contains(to));
    let mut sources: HashMap<_, _> = renames.iter().map(|(from, _)| (from, None)).collect();
    pairs.retain(|pair| match sources.get_mut(&pair.path) {
        Some(old @ None) if went(&pair) && counts(&pair) => {
            *old = pair.old;
            false
        }
        _ => true,
    });
    let mut renamed: HashMap<_, _> = renames.iter().map(|(from, to)| (to, from)).collect();
    for pair in pairs.iter_mut().filter(|pair| came(&&**pair) && counts(&&**pair)) {
        if let Some(from) = renamed.remove(&pair.path)
            && let Some(old) = sources.remove(from).flatten()
        {
            pair.old = Some(old);
            pair.from = Some(from.clone());
        }
    }
    Ok(())
}

/// Returns the renames among some paths, as git finds them.
fn ask(
    ours: &Repo,
    base: &str,
    target: Target<'_>,
    paths: &[BString],
) -> Result<Vec<(BString, BString)>, GitError> {
    let mut git = super::by_git::compare(ours.git(), base, target);
    git = git.args(RULE).args(["--name-status", "-z", "--"]);
    if paths.iter().map(|path| path.len() + 1).sum::<usize>() < MAX_ARGUMENTS {
        git = git.env("GIT_LITERAL_PATHSPECS", "1");
        git = git.args(paths.iter().map(|path| std::ffi::OsStr::from_bytes(path)));
    }
    let moved = name_status::read(&git.run()?).into_iter().filter(|file| file.letter == b'R');
    Ok(moved.filter_map(|file| Some((file.from?, file.path))).collect())
}
