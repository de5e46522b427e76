//! Every path that we write, and the one place that decides where the roots are.

use std::path::{Component, Path, PathBuf};

use crate::id::{RunId, TaskId, slug};
use crate::sys::env::Env;
use crate::sys::fs;

/// Where a worktree's runs live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The repository's root: the top of the worktree, or `CODEX_ORCHESTRATOR_ROOT`.
    pub root: PathBuf,
    /// `<root>/.runs`, or `CODEX_ORCHESTRATOR_RUNS_DIR`.
    pub runs: PathBuf,
    /// `<root>/out`, or `CODEX_ORCHESTRATOR_OUT_DIR`.
    pub out: PathBuf,
}

/// A path of ours that somebody turned into something else.
#[derive(Debug, thiserror::Error)]
pub enum UnsafePath {
    #[error("`{}` is a symbolic link, and we write through none that a repository could ship", .0.display())]
    Link(PathBuf),
    #[error("`{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    #[error("`{}` cannot hold runs: it holds the project itself", .0.display())]
    Root(PathBuf),
}

impl Layout {
    /// Resolves the roots of the worktree at `top` (`contract-core.md` §3). Relative variables are
    /// relative to the root, wherever the program was called.
    pub fn resolve(top: &Path, env: &Env) -> Self {
        let root =
            env.path("CODEX_ORCHESTRATOR_ROOT").map_or_else(|| top.to_owned(), |root| env.cwd().join(root));
        let root = normalize(&root);
        let redirected = |name, default: &str| {
            normalize(&root.join(env.path(name).unwrap_or_else(|| PathBuf::from(default))))
        };
        Self {
            runs: redirected("CODEX_ORCHESTRATOR_RUNS_DIR", ".runs"),
            out: redirected("CODEX_ORCHESTRATOR_OUT_DIR", "out"),
            root,
        }
    }

    /// Returns the layout of another worktree, whose roots are where ours would be in it.
    pub fn of_worktree(&self, top: &Path) -> Self {
        let moved = |path: &Path| match path.strip_prefix(&self.root) {
            Ok(inside) => top.join(inside),
            // A root outside of the worktree is shared by all.
            Err(_) => path.to_owned(),
        };
        Self { root: top.to_owned(), runs: moved(&self.runs), out: moved(&self.out) }
    }

    /// Returns a path as it stands in our files: relative to the root, with slashes.
    pub fn relative(&self, path: &Path) -> String {
        relative(&self.root, path)
    }

    /// Returns the paths of one run.
    pub fn run(&self, task: &TaskId, run: &RunId) -> RunPaths {
        RunPaths::new(self.task(task).join("cli").join(run.as_str()))
    }

    /// Returns the folder of a task under `.runs`.
    pub fn task(&self, task: &TaskId) -> PathBuf {
        self.runs.join(task.as_str())
    }

    /// Returns the folder of a task under `out`.
    pub fn task_out(&self, task: &TaskId) -> PathBuf {
        self.out.join(task.as_str())
    }

    /// Returns the lock around the files that all runs of a task share.
    pub fn task_lock(&self, task: &TaskId) -> PathBuf {
        self.task(task).join(".lock")
    }

    /// Returns the lines of git's exclude file that hide what we write below `top`, the top of the work tree, from where
    /// git counts them: `.runs`, and of `out`, which a project may use for files of its own, only our files.
    pub fn exclude_patterns(&self, top: &Path) -> Vec<String> {
        let inside = |path: &Path| pattern_below(top, path);
        let mut patterns: Vec<_> = inside(&self.runs).map(|runs| format!("{runs}/")).into_iter().collect();
        if let Some(out) = inside(&self.out) {
            for ours in ["runs.json", "state.json", "metrics/mttr-delta.json", "control-plane/drift.json"] {
                patterns.push(format!("{out}/*/{ours}"));
            }
            // A history that was put aside, and what a crash leaves half written.
            patterns.push(format!("{out}/*/runs.json.corrupt-*"));
            patterns.push(format!("{out}/**/.tmp-*"));
        }
        patterns
    }

    /// Checks the folders that a run of `task` is about to write to, as far as they exist: none may
    /// be a symbolic link below the root, or a repository could make us write elsewhere.
    pub fn check(&self, task: &TaskId) -> Result<(), UnsafePath> {
        // Nothing could hide runs from git there, and each of them would look like a change.
        if let Some(root) = [&self.runs, &self.out].into_iter().find(|dir| self.root.starts_with(dir)) {
            return Err(UnsafePath::Root(root.clone()));
        }
        let runs = [&self.runs, &self.task(task), &self.task(task).join("cli"), &self.task(task).join("mcp")];
        for path in runs.into_iter().chain([
            &self.task(task).join("metrics"),
            &self.task(task).join("metrics.pending"),
            &self.runs.join("local-mcp"),
            &self.out,
            &self.task_out(task),
            &self.task_out(task).join("metrics"),
            &self.task_out(task).join("control-plane"),
        ]) {
            for part in path.ancestors().take_while(|part| part.starts_with(&self.root) && *part != self.root)
            {
                match std::fs::symlink_metadata(part) {
                    Ok(meta) if meta.is_symlink() => return Err(UnsafePath::Link(part.to_owned())),
                    _ => {}
                }
            }
        }
        // What must be a folder before anything starts; side files may fail later, with a warning.
        for path in runs.into_iter().chain([&self.runs.join("local-mcp")]) {
            if path.exists() && !path.is_dir() {
                return Err(UnsafePath::NoFolder(path.to_owned()));
            }
        }
        Ok(())
    }
}

/// The paths of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPaths {
    pub dir: PathBuf,
    pub manifest: PathBuf,
    pub journal: PathBuf,
    pub heartbeat: PathBuf,
    pub token: PathBuf,
    /// Locked for as long as a process works on the run.
    pub lease: PathBuf,
    pub commands: PathBuf,
    pub errors: PathBuf,
    pub summary: PathBuf,
    pub privacy: PathBuf,
}

impl RunPaths {
    /// Returns the paths of the run that lives in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            manifest: dir.join("manifest.json"),
            journal: dir.join("runner.ndjson"),
            heartbeat: dir.join(".heartbeat"),
            token: dir.join(".resume-token"),
            lease: dir.join(".lease"),
            commands: dir.join("commands"),
            errors: dir.join("errors"),
            summary: dir.join("run-summary.json"),
            privacy: dir.join("privacy-decisions.ndjson"),
            dir,
        }
    }

    /// Checks the folders of a run that is there already: none may be a symbolic link.
    pub fn check(&self) -> Result<(), UnsafePath> {
        let approvals = self.approvals();
        match [&self.dir, &self.commands, &self.errors, &approvals].into_iter().find(|path| path.is_symlink())
        {
            Some(link) => Err(UnsafePath::Link(link.clone())),
            None => Ok(()),
        }
    }

    /// Returns where somebody asks for the end of an attempt.
    pub fn cancel_request(&self, attempt: usize) -> PathBuf {
        self.dir.join(format!("cancel-request.{attempt}.json"))
    }

    /// Returns the folder of the decisions about stages of the run, and of its child runs.
    pub fn approvals(&self) -> PathBuf {
        self.dir.join("approvals")
    }

    /// Returns the folder of the decisions of attempts before one in which the tree had moved.
    pub fn approvals_before(&self, attempt: usize) -> PathBuf {
        self.dir.join(format!("approvals.before-attempt-{attempt}"))
    }

    /// Returns where the owner of a detached run tells what a terminal would show.
    pub fn supervisor_log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    /// Returns where the patch is of what stages that mend changed.
    pub fn patch(&self, attempt: usize) -> PathBuf {
        self.dir.join(match attempt {
            0 | 1 => "fix.patch".to_owned(),
            attempt => format!("fix.attempt-{attempt}.patch"),
        })
    }

    /// Returns the log of a stage.
    pub fn stage_log(&self, index: usize, id: &str) -> PathBuf {
        self.commands.join(format!("{}.ndjson", stem(index, id)))
    }

    /// Returns the folder in which guardrails of a stage leave their verdicts.
    pub fn verdicts(&self, index: usize, attempt: usize) -> PathBuf {
        self.dir.join("verdicts").join(format!("{index:02}-{attempt}"))
    }

    /// Returns the failure note of a stage.
    pub fn stage_error(&self, index: usize, id: &str) -> PathBuf {
        self.errors.join(format!("{}.json", stem(index, id)))
    }

    /// Returns where the failure note of an earlier attempt is kept.
    pub fn earlier_stage_error(&self, index: usize, id: &str, attempt: u32) -> PathBuf {
        self.errors.join(format!("{}.attempt-{attempt}.json", stem(index, id)))
    }

    /// Returns where the failure note is kept of an attempt after which the stage was run again, in
    /// one attempt of the run.
    pub fn failed_attempt_error(&self, index: usize, id: &str, of_run: u32, attempt: u32) -> PathBuf {
        self.errors.join(format!("{}.attempt-{of_run}.{attempt}.json", stem(index, id)))
    }
}

/// The index keeps stages with the same slug apart.
pub(super) fn stem(index: usize, id: &str) -> String {
    format!("{index:02}-{}", slug(id))
}

/// Removes `.` and `..` by text: the folders need not exist.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

fn relative(from: &Path, to: &Path) -> String {
    let mut up = 0;
    let mut base = from;
    let rest = loop {
        if let Ok(rest) = to.strip_prefix(base) {
            break rest;
        }
        up += 1;
        match base.parent() {
            Some(parent) => base = parent,
            None => return to.to_string_lossy().into_owned(),
        }
    };
    let parts = std::iter::repeat_n("..".into(), up).chain(rest.iter().map(|part| part.to_string_lossy()));
    parts.collect::<Vec<_>>().join("/")
}

/// Returns the pattern that means a path below the top of a work tree, and nothing else.
pub fn pattern_below(top: &Path, path: &Path) -> Option<String> {
    let inside = match path.strip_prefix(top) {
        Ok(inside) => inside.to_owned(),
        // The root may have been named through a link; the top is without any.
        Err(_) => fs::resolved(path).ok()?.strip_prefix(top).ok()?.to_owned(),
    };
    let text = inside.to_str()?.replace('\\', "/");
    (!text.is_empty()).then(|| format!("/{}", escape_pattern(&text)))
}

/// Escapes what means something in git's patterns.
fn escape_pattern(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '#' | ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)], cwd: &str) -> Env {
        Env::new(vars.iter().map(|(k, v)| ((*k).into(), (*v).into())), cwd.into())
    }

    #[test]
    fn the_roots_do_not_depend_on_the_subfolder() {
        let layout = Layout::resolve(Path::new("/repo"), &env(&[], "/repo/deep/down"));
        assert_eq!(layout.runs, Path::new("/repo/.runs"));
        assert_eq!(layout.out, Path::new("/repo/out"));
    }

    #[test]
    fn redirected_roots_are_one_resolver_s_work() {
        let vars = [
            ("CODEX_ORCHESTRATOR_ROOT", "../other"),
            ("CODEX_ORCHESTRATOR_RUNS_DIR", "../runs"),
            ("CODEX_ORCHESTRATOR_OUT_DIR", "/abs/out"),
        ];
        let layout = Layout::resolve(Path::new("/repo"), &env(&vars, "/repo"));
        assert_eq!(layout.root, Path::new("/other"));
        assert_eq!(layout.runs, Path::new("/runs"));
        assert_eq!(layout.relative(&layout.runs.join("t")), "../runs/t");
        assert_eq!(layout.exclude_patterns(Path::new("/repo")), [] as [&str; 0]);
    }

    #[test]
    fn what_a_project_keeps_in_out_stays_visible() {
        let layout =
            Layout::resolve(Path::new("/repo"), &env(&[("CODEX_ORCHESTRATOR_RUNS_DIR", "a [b]")], "/repo"));
        let patterns = layout.exclude_patterns(Path::new("/repo"));
        assert_eq!(patterns[0], r"/a\ \[b\]/");
        assert!(patterns.contains(&"/out/*/runs.json".to_owned()));
        assert!(!patterns.contains(&"/out/".to_owned()));
    }

    #[test]
    fn git_counts_what_it_excludes_from_the_top_of_the_work_tree() {
        let vars = [("CODEX_ORCHESTRATOR_ROOT", "sub"), ("CODEX_ORCHESTRATOR_RUNS_DIR", "../runs")];
        let layout = Layout::resolve(Path::new("/repo"), &env(&vars, "/repo"));
        let patterns = layout.exclude_patterns(Path::new("/repo"));
        assert_eq!(patterns[..2], ["/runs/", "/sub/out/*/runs.json"]);
    }

    #[test]
    fn another_worktree_has_the_same_layout() {
        let layout = Layout::resolve(Path::new("/repo"), &env(&[], "/repo"));
        assert_eq!(layout.of_worktree(Path::new("/wt")).runs, Path::new("/wt/.runs"));
    }
}
