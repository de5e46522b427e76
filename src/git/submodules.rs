//! Submodules of worktrees that we make: filled from the repositories of submodules that are here already, without
//! asking any server, and with nothing run that a repository names (`submodule.<name>.update`, hooks, templates).
//!
//! Which submodules that are is what git says: those that are active in the repository (`submodule.active`,
//! `submodule.<name>.active`, or a URL in its configuration). What is in one of them is filled in the same way.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::error::At;
use super::program::{Git, pairs};
use super::worktrees::relative;
use super::{GitError, Repo};

/// How a submodule gets its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// It reads those of the other repository, for as long as that is there.
    Shared,
    /// It has them itself; on one disk that takes no room.
    Own,
}

/// A submodule that stays empty although it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Where it is, as seen from the top of the outermost repository.
    pub path: String,
    pub why: WhyEmpty,
}

/// Why a submodule stays empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyEmpty {
    /// Nobody ever fetched it here.
    NoModule,
    /// It is here, without the commit that is wanted.
    NoCommit(String),
    /// git failed.
    Failed(String),
}

impl Lack {
    /// Says it, and what to type.
    pub fn said(&self) -> String {
        let path = self.path.escape_debug();
        let mend =
            format!("git submodule update --init --recursive -- {}", crate::run::shell::word(&self.path));
        match &self.why {
            WhyEmpty::NoModule => {
                format!("the submodule `{path}` is empty: it was never fetched here ({mend})")
            }
            WhyEmpty::NoCommit(id) => {
                format!("the submodule `{path}` has no commit {} here ({mend})", crate::id::short(id))
            }
            WhyEmpty::Failed(said) => format!("the submodule `{path}` is empty: {said}"),
        }
    }
}

/// One repository whose submodules are filled.
struct Level {
    top: PathBuf,
    git_dir: PathBuf,
    /// The repository whose configuration says which of them are active.
    told_by: Option<PathBuf>,
    /// Folders with the repositories of submodules that are here.
    known: Vec<PathBuf>,
    /// The same place in the main worktree, where a submodule may have its repository inside of its files.
    beside: Option<PathBuf>,
    /// Where it is, as seen from the outermost one, with a slash at its end.
    prefix: String,
}

/// One submodule that a commit has.
struct Submodule {
    name: String,
    path: String,
    commit: String,
}

impl Repo {
    /// Fills the submodules of this worktree that are empty.
    pub fn fill_submodules(&self, objects: Objects, later: bool) -> Result<Vec<Lack>, GitError> {
        let mut lacks = Vec::new();
        let mut levels = vec![Level {
            top: self.work_tree.clone(),
            git_dir: self.git_dir.clone(),
            told_by: None,
            known: self.known_modules(),
            beside: self.main_work_tree().filter(|main| *main != self.work_tree),
            prefix: String::new(),
        }];
        while let Some(level) = levels.pop() {
            for submodule in self.active(&level)? {
                match self.fill_one(&level, &submodule, objects, later) {
                    Ok(Ok(inside)) => levels.extend(inside),
                    Ok(Err(why)) => {
                        lacks.push(Lack { path: format!("{}{}", level.prefix, submodule.path), why });
                    }
                    Err(GitError::Program { stderr, .. }) => {
                        let why = WhyEmpty::Failed(stderr);
                        lacks.push(Lack { path: format!("{}{}", level.prefix, submodule.path), why });
                    }
                    Err(err) => return Err(err),
                }
            }
        }
        Ok(lacks)
    }

    /// Returns the folders with repositories of submodules: those of the repository, and of its linked worktrees.
    fn known_modules(&self) -> Vec<PathBuf> {
        let linked = std::fs::read_dir(self.common_dir.join("worktrees")).into_iter().flatten().flatten();
        let own = std::iter::once(self.common_dir.join("modules"));
        let mut known: Vec<_> = own.chain(linked.map(|entry| entry.path().join("modules"))).collect();
        known.retain(|modules| modules.is_dir() && !modules.starts_with(self.git_dir.join("modules")));
        known
    }

    /// Returns the submodules that somebody wants and that are empty.
    fn active(&self, level: &Level) -> Result<Vec<Submodule>, GitError> {
        let file = level.top.join(".gitmodules");
        // Nobody follows a link there.
        if !file.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Ok(Vec::new());
        }
        let words = ["config", "--null", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$"];
        let (_, listed) = Git::new(&level.top).args(words).run_expecting(&[0, 1])?;
        let mut names = BTreeMap::new();
        for (key, path) in pairs(&listed) {
            let name = key.strip_prefix("submodule.").and_then(|key| key.strip_suffix(".path"));
            if let Some(name) = name.filter(|name| is_inside(name) && is_inside(&path)) {
                names.insert(path.clone(), name.to_owned());
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let inside = || Git::new(&level.top).repository(&level.git_dir, &level.top);
        let told = match &level.told_by {
            None => self.git(),
            Some(git_dir) => about(git_dir),
        };
        let (_, said) =
            told.args(["config", "--null", "--get-regexp", r"^submodule\."]).run_expecting(&[0, 1])?;
        let said = pairs(&said);
        let specs: Vec<_> =
            said.iter().filter(|(key, _)| key == "submodule.active").map(|(_, spec)| spec.clone()).collect();
        let selected = match specs.is_empty() {
            true => Vec::new(),
            false => links(&inside().args(["ls-files", "--stage", "-z", "--"]).args(&specs).run()?),
        };
        let listing = inside().env("GIT_LITERAL_PATHSPECS", "1").args(["ls-files", "--stage", "-z", "--"]);
        let all = links(&listing.args(names.keys()).run()?);
        let wanted = |name: &str, path: &str| {
            let own = |what: &str| {
                let key = format!("submodule.{name}.{what}");
                said.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
            };
            match own("active") {
                Some(value) => !matches!(value.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "0"),
                None if !specs.is_empty() => selected.iter().any(|(known, _)| known == path),
                None => own("url").is_some(),
            }
        };
        let empty = |path: &str| level.top.join(path).join(".git").symlink_metadata().is_err();
        // What a link on the way leads to is somebody else's.
        let is_here = |path: &str| {
            let mut above = Path::new(path).ancestors().filter(|part| !part.as_os_str().is_empty());
            above.all(|part| level.top.join(part).symlink_metadata().map_or(true, |found| found.is_dir()))
        };
        Ok(all
            .into_iter()
            .filter_map(|(path, commit)| Some(Submodule { name: names.get(&path)?.clone(), path, commit }))
            .filter(|it| wanted(&it.name, &it.path) && empty(&it.path) && is_here(&it.path))
            .collect())
    }

    /// Fills one submodule. Returns what is in it.
    fn fill_one(
        &self,
        level: &Level,
        submodule: &Submodule,
        objects: Objects,
        later: bool,
    ) -> Result<Result<Option<Level>, WhyEmpty>, GitError> {
        let Submodule { name, path, commit } = submodule;
        let beside = level.beside.as_ref().map(|beside| beside.join(path));
        let mut there: Vec<_> = level.known.iter().map(|modules| modules.join(name)).collect();
        there.extend(beside.as_ref().map(|beside| beside.join(".git")));
        there.retain(|module| module.join("HEAD").is_file());
        if there.is_empty() {
            return Ok(Err(WhyEmpty::NoModule));
        }
        let mut module = None;
        for candidate in &there {
            let asked = about(candidate);
            let asked = asked.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
            if asked.run_expecting(&[0, 1, 128])?.0 == 0 {
                module = Some(candidate);
                break;
            }
        }
        let Some(module) = module else { return Ok(Err(WhyEmpty::NoCommit(commit.clone()))) };
        let (top, git_dir) = (level.top.join(path), level.git_dir.join("modules").join(name));
        let filled = self.bring(module, &git_dir, &top, (commit, objects, later));
        if filled.is_err() {
            // Half of it is worse than nothing.
            for left in [top.join(".git"), git_dir.clone()] {
                super::slot::remove(&left).at(&left)?;
            }
        }
        filled?;
        Ok(Ok(Some(Level {
            known: there.iter().map(|module| module.join("modules")).filter(|it| it.is_dir()).collect(),
            told_by: Some(module.clone()),
            beside,
            prefix: format!("{}{path}/", level.prefix),
            top,
            git_dir,
        })))
    }

    /// Makes the repository of a submodule from another one, and checks a commit out of it.
    fn bring(
        &self,
        module: &Path,
        git_dir: &Path,
        top: &Path,
        (commit, objects, later): (&str, Objects, bool),
    ) -> Result<(), GitError> {
        super::slot::remove(git_dir).at(git_dir)?;
        for folder in [git_dir.parent().unwrap_or(git_dir), top] {
            std::fs::create_dir_all(folder).at(folder)?;
        }
        let share = if objects == Objects::Shared { "--shared" } else { "--local" };
        let words = ["clone", "--quiet", "--mirror", "--template=", "--no-reject-shallow", "--origin=origin"];
        // The one folder that it is about is ours.
        let git = Git::new(&self.work_tree).args(["-c", "protocol.file.allow=always"]).args(words);
        git.args([share, "--"]).args([module, git_dir]).run()?;
        let git = || Git::new(top).repository(git_dir, top);
        // What somebody had set aside or begun there is theirs.
        let names = git().args(["for-each-ref", "--format=%(refname)"]).run()?;
        let names = String::from_utf8_lossy(&names).into_owned();
        let is_kept = |name: &&str| name.starts_with("refs/remotes/") || name.starts_with("refs/tags/");
        let gone: String =
            names.lines().filter(|name| !is_kept(name)).map(|name| format!("delete {name}\n")).collect();
        if !gone.is_empty() {
            git().args(["update-ref", "--no-deref", "--stdin"]).given(gone.as_bytes())?.run()?;
        }
        let of_module = |key: &str| -> Result<Option<String>, GitError> {
            let asked = about(module).args(["config", "--get", key]);
            let (code, value) = asked.run_expecting(&[0, 1])?;
            Ok((code == 0).then(|| String::from_utf8_lossy(&value).trim_end_matches('\n').to_owned()))
        };
        git().args(["config", "--remove-section", "remote.origin"]).run()?;
        let mut settings = vec![("core.worktree".to_owned(), relative(top, git_dir))];
        // What is fetched and pushed from there goes where it always goes.
        if let Some(url) = of_module("remote.origin.url")? {
            settings.push(("remote.origin.url".to_owned(), url));
            settings
                .push(("remote.origin.fetch".to_owned(), "+refs/heads/*:refs/remotes/origin/*".to_owned()));
        }
        let asked = about(module);
        let words = ["config", "--null", "--get-regexp", r"^submodule\.(.*\.(url|active)|active)$"];
        settings.extend(pairs(&asked.args(words).run_expecting(&[0, 1])?.1));
        about(git_dir).args(["config", "core.bare", "false"]).run()?;
        for (key, value) in &settings {
            about(git_dir).args(["config", "--add", key, value]).run()?;
        }
        let dot_git = top.join(".git");
        let text = [b"gitdir: ", relative(git_dir, top).as_bytes(), b"\n"].concat();
        std::fs::write(&dot_git, text).at(&dot_git)?;
        let git = if later { git().env("GIT_LFS_SKIP_SMUDGE", "1") } else { git() };
        let git = git.args(["-c", "submodule.recurse=false", "-c", "checkout.workers=0"]);
        git.args(["checkout", "--quiet", "--force", "--no-recurse-submodules", "--detach", commit]).run()?;
        Ok(())
    }

    /// Says which submodules of this worktree hold commits that are nowhere else: at no remote, and in no other
    /// repository of the same submodule.
    pub fn submodule_work(&self) -> Result<Vec<String>, GitError> {
        let own = self.git_dir.join("modules");
        let mut found = Vec::new();
        if own == self.common_dir.join("modules") {
            return Ok(found);
        }
        let others = self.known_modules();
        for module in modules_below(&own) {
            let git = || about(&module);
            let name = module.strip_prefix(&own).unwrap_or(&module).to_string_lossy().into_owned();
            // `HEAD` need not be at any commit while branches hold some.
            let words = ["rev-list", "--exclude=refs/stash", "--all", "--not", "--remotes", "--tags"];
            let listed = match git().args(words).run() {
                Ok(listed) => listed,
                Err(GitError::Program { stderr, .. }) => {
                    let name = name.escape_debug();
                    found.push(format!("nobody can tell what is in the submodule `{name}`: {stderr}"));
                    continue;
                }
                Err(err) => return Err(err),
            };
            let twins: Vec<_> = others.iter().map(|modules| modules.join(&name)).collect();
            let is_there = |commit: &str| {
                let mut twins = twins.iter().filter(|twin| twin.join("HEAD").is_file());
                twins.any(|twin| about(twin).args(["cat-file", "-e", commit]).run().is_ok())
            };
            let listed = String::from_utf8_lossy(&listed);
            let only_here = listed.lines().filter(|commit| !is_there(commit)).count();
            if only_here > 0 {
                let commits =
                    if only_here == 1 { "1 commit".to_owned() } else { format!("{only_here} commits") };
                found.push(format!("{commits} of the submodule `{}` at no remote", name.escape_debug()));
            }
            let stash =
                git().args(["rev-parse", "--verify", "--quiet", "refs/stash"]).run_expecting(&[0, 1])?;
            if stash.0 == 0 {
                found.push(format!("something is stashed in the submodule `{}`", name.escape_debug()));
            }
        }
        Ok(found)
    }
}

/// Prepares a call of git on the repository of a submodule, wherever its files are, if they still are.
fn about(git_dir: &Path) -> Git {
    Git::new(git_dir).repository(git_dir, git_dir)
}

/// Returns the repositories of submodules below a folder, also those in others; a name may have several parts.
fn modules_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path())
        {
            match path.join("HEAD").is_file() && path.join("objects").is_dir() {
                true => {
                    folders.push(path.join("modules"));
                    found.push(path);
                }
                false => folders.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Whether a name or path leads to nothing outside of the folder that it is seen from.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(name) if !is_git(name)))
}

fn is_git(name: &OsStr) -> bool {
    name.as_bytes().eq_ignore_ascii_case(b".git")
}

/// Reads the submodules of what `git ls-files --stage -z` lists, with their commits.
fn links(listed: &[u8]) -> Vec<(String, String)> {
    let lines = listed.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let link = |line: std::borrow::Cow<'_, str>| {
        let (facts, path) = line.strip_prefix("160000 ")?.split_once('\t')?;
        // One that nobody has resolved is none yet.
        let (commit, stage) = facts.split_once(' ')?;
        (stage == "0").then(|| (path.to_owned(), commit.to_owned()))
    };
    lines.filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_no_submodules() {
        for (name, expected) in [
            ("sub", true),
            ("libs/a b", true),
            ("..", false),
            ("a/../../b", false),
            ("/etc", false),
            ("", false),
            ("a/.git", false),
            (".GIT/hooks", false),
        ] {
            assert_eq!(is_inside(name), expected, "{name}");
        }
    }
}
