//! The same counts by the git program: slower, and right where gix cannot read the repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use gix::bstr::{BString, ByteSlice};

use super::super::program::Git;
use super::super::tree::by_git::{EXPANDED, copy_of_index};
use super::super::{GitError, Repo, name_status};
use super::attributes::{OfBase, joined, state, states};
use super::exclude::{Pathspecs, wanted};
use super::{DiffRule, Target, renames, shown};
use crate::guardrail::{File, Status};

/// Prepares the comparison that git is to make; nobody's configuration decides how.
pub(super) fn compare(git: Git, base: &str, target: Target<'_>) -> Git {
    let git = match target {
        Target::WorkTree => git.args(["diff"]),
        Target::Staged => git.args(["diff", "--cached"]),
        Target::Commit(_) => git.args(["diff-tree", "-r"]),
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
    if let Target::Staged = target {
        let listed = ours.git().args(["ls-files", "--unmerged", "-z"]).run()?;
        let lines = listed.split(|byte| *byte == 0).filter_map(|line| line.split_once_str("\t"));
        GitError::of_conflicts(lines.map(|(_, path)| path)).map_or(Ok(()), Err)?;
    }
    let empty = ours.no_tree()?;
    let this = ByGit { ours, of_base: OfBase::new(ours, base)?, has_base: base.is_some(), empty };
    let base = base.unwrap_or(&this.empty);
    let detect: &[&str] = if rule.renames { &renames::RULE } else { &NO_RENAMES };
    let mut rows = this.tracked(base, target, detect)?;
    if let Target::WorkTree = target {
        let moved: HashSet<_> = rows.iter().filter_map(|row| row.file.from.clone()).collect();
        for staged in this.tracked(base, Target::Staged, &NO_RENAMES)? {
            match rows.iter_mut().find(|row| row.path == staged.path) {
                Some(row) if row.file.from.is_none() && staged.file.lines() > row.file.lines() => {
                    (row.file.added, row.file.deleted) = (staged.file.added, staged.file.deleted);
                    row.file.kind = Some("staged".to_owned());
                }
                Some(_) => {}
                None if moved.contains(&staged.file.path) => {}
                None => {
                    let kind = Some("staged".to_owned());
                    rows.push(Row { file: File { kind, ..staged.file }, ..staged });
                }
            }
        }
        rows.extend(this.untracked()?);
    }
    this.exclude(target, rule, &mut rows)?;
    Ok(rows.into_iter().map(|row| row.file).collect())
}

const NO_RENAMES: [&str; 1] = ["--no-renames"];

/// Runs a comparison twice, for what happened to the files and for their lines.
fn rows_of_comparison(compared: &dyn Fn() -> Git, detect: &[&str]) -> Result<Vec<Row>, GitError> {
    let statuses = compared().args(detect).args(["--name-status", "-z", "--"]).run()?;
    let statuses: HashMap<_, _> =
        name_status::read(&statuses).into_iter().map(|file| (file.path, file.letter)).collect();
    let mut rows = rows_of(&compared().args(detect).args(["--numstat", "-z", "--"]).run()?);
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
    Ok(rows)
}

/// A comparison with a base.
struct ByGit<'a> {
    ours: &'a Repo,
    of_base: OfBase<'a>,
    has_base: bool,
    /// The tree that no file is in.
    empty: String,
}

impl ByGit<'_> {
    /// Returns what differs of the files that git knows.
    fn tracked(&self, base: &str, target: Target<'_>, detect: &[&str]) -> Result<Vec<Row>, GitError> {
        if let Target::Commit(_) = target {
            return rows_of_comparison(&|| compare(self.of_base.git(), base, target), detect);
        }
        let mut rows = rows_of_comparison(&|| compare(self.ours.git(), base, target), detect)?;
        let mut odd = self.told_otherwise(&rows)?;
        if odd.is_empty() {
            return Ok(rows);
        }
        // What is there now, and what is not, whatever stands on disk where git has nothing any more.
        let mut there = Vec::new();
        let words = match target {
            Target::Staged => {
                let staged = self.ours.git().args(["ls-files", "--stage", "-z"]).run()?;
                for line in staged.split_inclusive(|byte| *byte == 0) {
                    let Some((head, path)) = line.split_once_str("\t") else { continue };
                    let path = BString::from(path.strip_suffix(b"\0").unwrap_or(path));
                    // A path in conflict has nothing that could be counted.
                    if odd.remove(&path) && head.ends_with(b" 0") {
                        there.extend_from_slice(line);
                    }
                }
                ["--index-info"].as_slice()
            }
            _ => {
                let gone = rows.iter().filter(|row| row.file.status == Status::Deleted);
                let gone =
                    gone.map(|row| &row.path).chain(rows.iter().filter_map(|row| row.moved_from.as_ref()));
                let gone: HashSet<_> = gone.collect();
                let (gone, left): (BTreeSet<_>, _) = odd.into_iter().partition(|path| gone.contains(path));
                (there, odd) = (joined(&left), gone);
                ON_DISK.as_slice()
            }
        };
        let steps = [(["--force-remove", "--stdin"].as_slice(), joined(&odd)), (words, there)];
        let tree = self.of_base.tree(true, &steps)?;
        let git = || compare(self.of_base.git(), base, Target::Commit(&tree));
        replace(&mut rows, rows_of_comparison(&git, detect)?);
        Ok(rows)
    }

    /// Returns the paths of which the attributes on disk say something else than the base does about
    /// what counts as text.
    fn told_otherwise(&self, rows: &[Row]) -> Result<BTreeSet<BString>, GitError> {
        // Without a base there is nobody else to ask.
        if !self.has_base {
            return Ok(BTreeSet::new());
        }
        let measured = rows.iter().filter(|row| row.file.unmeasured.is_none());
        let paths: Vec<_> = measured.map(|row| row.path.clone()).collect();
        let here = states(self.ours.git().args(["check-attr"]), &["diff"], &paths)?;
        let there = self.of_base.states(&["diff"], &paths)?;
        let odd = rows.iter().filter(|row| here.get(&row.path) != there.get(&row.path));
        Ok(odd.flat_map(|row| [Some(&row.path), row.moved_from.as_ref()]).flatten().cloned().collect())
    }

    /// Returns the untracked files, with the lines that they would have once added.
    fn untracked(&self) -> Result<Vec<Row>, GitError> {
        let ours = self.ours;
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
        let add =
            git().args(quiet).args(["add", "--intent-to-add", "--ignore-errors", "--sparse", "--", ":/"]);
        add.run_expecting(&[0, 1, 128])?;
        let words = ["diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--numstat", "-z", "--"];
        let mut rows: Vec<_> =
            rows_of(&git().args(words).run()?).into_iter().filter(|row| paths.remove(&row.path)).collect();
        let odd = self.told_otherwise(&rows)?;
        if !odd.is_empty() {
            let tree = self.of_base.tree(false, &[(&ON_DISK, joined(&odd))])?;
            let git = || compare(self.of_base.git(), &self.empty, Target::Commit(&tree));
            replace(&mut rows, rows_of_comparison(&git, &NO_RENAMES)?);
        }
        for row in &mut rows {
            (row.file.untracked, row.file.status) = (true, Status::Added);
        }
        for path in paths {
            let mut file = File::new(shown(&path), Status::Added);
            file.untracked = true;
            file.unmeasured = Some("git could not add it".to_owned());
            rows.push(Row { path, moved_from: None, file });
        }
        Ok(rows)
    }

    /// Marks what does not count; the attributes are those of the base.
    fn exclude(&self, target: Target<'_>, rule: &DiffRule, rows: &mut [Row]) -> Result<(), GitError> {
        let mut pathspecs = Pathspecs::new(&rule.ignore)?;
        let names: Vec<_> = rule.ignore_attributes.iter().map(|name| name.trim_start_matches('-')).collect();
        let paths: Vec<_> = rows.iter().map(|row| row.path.clone()).collect();
        let states = match (self.has_base, target) {
            (false, Target::WorkTree | Target::Staged) => {
                states(self.ours.git().args(["check-attr"]), &names, &paths)?
            }
            _ => self.of_base.states(&names, &paths)?,
        };
        for row in rows {
            row.file.excluded = pathspecs.matching(row.path.as_bstr(), &mut |_, _, _, _| false);
            if row.file.excluded.is_none() {
                let states = states.get(&row.path).into_iter().flatten();
                row.file.excluded = states
                    .filter_map(|(name, word)| wanted(&rule.ignore_attributes, name, state(word.as_bstr())))
                    .next();
            }
        }
        Ok(())
    }
}

/// Lets `update-index` read paths, and see what of them is on disk.
const ON_DISK: [&str; 4] = ["--add", "--remove", "--replace", "--stdin"];

/// Puts rows that were counted again in the place of those before; a move may have become two of them.
fn replace(rows: &mut Vec<Row>, again: Vec<Row>) {
    let paths: HashSet<_> = again.iter().map(|row| row.path.clone()).collect();
    rows.retain(|row| !paths.contains(&row.path));
    rows.extend(again);
}

/// One row of the answer, with the paths as git has them.
struct Row {
    path: BString,
    moved_from: Option<BString>,
    file: File,
}

fn rows_of(output: &[u8]) -> Vec<Row> {
    let mut fields = output.split(|byte| *byte == 0);
    let mut rows = Vec::new();
    while let Some(field) = fields.next().filter(|field| !field.is_empty()) {
        let mut parts = field.splitn(3, |byte| *byte == b'\t');
        let (added, deleted, path) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let number = |part: Option<&[u8]>| part?.to_str().ok()?.parse::<u64>().ok();
        let (path, moved_from) = match path.is_empty() {
            false => (path, None),
            true => {
                let from = fields.next().unwrap_or_default();
                (fields.next().unwrap_or_default(), Some(BString::from(from)))
            }
        };
        let kind = number(added).is_none().then(|| "binary".to_owned());
        let counts = (number(added).unwrap_or(0), number(deleted).unwrap_or(0));
        let file = File {
            from: moved_from.as_ref().map(|from| shown(from)),
            added: counts.0,
            deleted: counts.1,
            kind,
            ..File::new(shown(path), Status::Modified)
        };
        rows.push(Row { path: path.into(), moved_from, file });
    }
    rows
}
