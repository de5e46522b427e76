//! The same counts by the git program: slower, and right where gix cannot read the repository.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use gix::bstr::{BString, ByteSlice};

use super::super::program::Git;
use super::super::tree::by_git::{EXPANDED, copy_of_index};
use super::super::{GitError, Repo, name_status};
use super::exclude::Pathspecs;
use super::{DiffRule, Target, renames, shown};
use crate::guardrail::{File, Status};

/// Prepares the comparison that git is to make; nobody's configuration decides how.
pub(super) fn compare(ours: &Repo, base: &str, target: Target<'_>) -> Git {
    let git = match target {
        Target::WorkTree => ours.git().args(["diff"]),
        Target::Staged => ours.git().args(["diff", "--cached"]),
        Target::Commit(_) => ours.git().args(["diff-tree", "-r"]),
    };
    let git = git.args(["--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=myers"]);
    let git = git.args(["--ignore-submodules=untracked", "--no-relative"]).args([base]);
    match target {
        Target::Commit(commit) => git.args([commit]),
        _ => git,
    }
}

/// Returns what [`Repo::diff`] returns.
pub(super) fn diff(
    ours: &Repo,
    base: Option<&str>,
    target: Target<'_>,
    rule: &DiffRule,
) -> Result<Vec<File>, GitError> {
    // The tree that no file is in: git knows it without having it.
    let empty = || ours.git().args(["hash-object", "-t", "tree", "--stdin"]).line();
    let base = &base.map_or_else(empty, |base| Ok(base.to_owned()))?;
    let detect: &[&str] = if rule.renames { &renames::RULE } else { &["--no-renames"] };
    let statuses = compare(ours, base, target).args(detect).args(["--name-status", "-z", "--"]).run()?;
    let statuses: BTreeMap<_, _> =
        name_status::read(&statuses).into_iter().map(|file| (file.path, file.letter)).collect();
    let counted = compare(ours, base, target).args(detect).args(["--numstat", "-z", "--"]).run()?;
    let mut rows: Vec<Row> = rows_of(&counted);
    for row in &mut rows {
        row.file.status = match (&row.file.from, statuses.get(&row.path)) {
            (Some(_), _) => Status::Renamed,
            (None, Some(b'A')) => Status::Added,
            (None, Some(b'D')) => Status::Deleted,
            _ => Status::Modified,
        };
    }
    // Paths in conflict have rows of both kinds.
    rows.sort_by(|a, b| (&a.path, b.file.lines()).cmp(&(&b.path, a.file.lines())));
    rows.dedup_by(|later, first| later.path == first.path);
    if let Target::WorkTree = target {
        let staged =
            compare(ours, base, Target::Staged).args(["--no-renames", "--numstat", "-z", "--"]).run()?;
        let moved: HashSet<_> = rows.iter().filter_map(|row| row.file.from.clone()).collect();
        for staged in rows_of(&staged) {
            match rows.iter_mut().find(|row| row.path == staged.path) {
                Some(row) if row.file.from.is_none() && staged.file.lines() > row.file.lines() => {
                    (row.file.added, row.file.deleted) = (staged.file.added, staged.file.deleted);
                    row.file.kind = Some("staged".to_owned());
                }
                Some(_) => {}
                None if moved.contains(&staged.file.path) => {}
                None => rows.push(staged),
            }
        }
        rows.extend(untracked(ours)?);
    }
    exclude(ours, base, rule, &mut rows)?;
    Ok(rows.into_iter().map(|row| row.file).collect())
}

/// One row of the answer, with the path as git has it.
struct Row {
    path: BString,
    file: File,
}

fn rows_of(output: &[u8]) -> Vec<Row> {
    let mut fields = output.split(|byte| *byte == 0);
    let mut rows = Vec::new();
    while let Some(field) = fields.next().filter(|field| !field.is_empty()) {
        let mut parts = field.splitn(3, |byte| *byte == b'\t');
        let (added, deleted, path) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let number = |part: Option<&[u8]>| part?.to_str().ok()?.parse::<u64>().ok();
        let (path, from) = match path.is_empty() {
            false => (path, None),
            true => {
                let from = fields.next().unwrap_or_default();
                (fields.next().unwrap_or_default(), Some(shown(from)))
            }
        };
        let kind = number(added).is_none().then(|| "binary".to_owned());
        let counts = (number(added).unwrap_or(0), number(deleted).unwrap_or(0));
        let file = File {
            from,
            added: counts.0,
            deleted: counts.1,
            kind,
            ..File::new(shown(path), Status::Modified)
        };
        rows.push(Row { path: path.into(), file });
    }
    rows
}

/// Returns the untracked files, with the lines that they would have once added.
fn untracked(ours: &Repo) -> Result<Vec<Row>, GitError> {
    let listed = ours.git().args(["ls-files", "--others", "--exclude-standard", "-z"]).run()?;
    let left_out = Pathspecs::new(
        &ours.left_out.iter().map(|it| it.trim_start_matches('/').to_owned()).collect::<Vec<_>>(),
    );
    let mut left_out = left_out?;
    let mut paths: HashSet<BString> = listed
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| BString::from(path.strip_suffix(b"/").unwrap_or(path)))
        .collect();
    paths.retain(|path| left_out.matching(path.as_bstr(), &mut |_, _, _, _| false).is_none());
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let (_temp, index) = copy_of_index(ours)?;
    let git =
        || ours.git().env("GIT_INDEX_FILE", &index).args(["-c", "core.splitIndex=false"]).args(EXPANDED);
    let quiet = ["-c", "advice.addEmbeddedRepo=false"];
    let add = git().args(quiet).args(["add", "--intent-to-add", "--ignore-errors", "--sparse", "--", ":/"]);
    add.run_expecting(&[0, 1, 128])?;
    let words = ["diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--numstat", "-z", "--"];
    let mut rows: Vec<_> =
        rows_of(&git().args(words).run()?).into_iter().filter(|row| paths.remove(&row.path)).collect();
    for row in &mut rows {
        (row.file.untracked, row.file.status) = (true, Status::Added);
    }
    for path in paths {
        let mut file = File::new(shown(&path), Status::Added);
        file.untracked = true;
        file.unmeasured = Some("git could not add it".to_owned());
        rows.push(Row { path, file });
    }
    Ok(rows)
}

/// Marks what does not count; the attributes are those of the base.
fn exclude(ours: &Repo, base: &str, rule: &DiffRule, rows: &mut [Row]) -> Result<(), GitError> {
    let mut pathspecs = Pathspecs::new(&rule.ignore)?;
    for row in rows.iter_mut() {
        row.file.excluded = pathspecs.matching(row.path.as_bstr(), &mut |_, _, _, _| false);
    }
    if rule.ignore_attributes.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = rule.ignore_attributes.iter().map(|name| name.trim_start_matches('-')).collect();
    for rows in rows.chunks_mut(256) {
        let git = ours.git().args([format!("--attr-source={base}")]).args(["check-attr", "-z"]);
        let git = git.args(&names).args(["--"]);
        let listed = git.args(rows.iter().map(|row| std::ffi::OsStr::from_bytes(&row.path))).run()?;
        let fields: Vec<_> = listed.split(|byte| *byte == 0).collect();
        for found in fields.chunks_exact(3) {
            let state = match found[2] {
                b"unspecified" => continue,
                b"unset" => format!("-{}", found[1].as_bstr()),
                _ => found[1].as_bstr().to_string(),
            };
            if rule.ignore_attributes.contains(&state)
                && let Some(row) = rows.iter_mut().find(|row| row.path.as_slice() == found[0])
            {
                row.file.excluded.get_or_insert(state);
            }
        }
    }
    Ok(())
}
