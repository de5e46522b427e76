//! A repository in a temporary folder, and what git itself says about it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::git::{Overrides, Repo, TreeState};

/// A folder with a work tree `top` somewhere in it.
pub struct Scene {
    pub temp: tempfile::TempDir,
    pub top: PathBuf,
}

/// Calls git with nothing of the caller's environment or configuration.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.com"),
        ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
        ("GIT_COMMITTER_NAME", "C"),
        ("GIT_COMMITTER_EMAIL", "c@example.com"),
        ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
        ("LC_ALL", "C"),
    ] {
        command.env(name, value);
    }
    command.args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]);
    command
}

pub fn git_in(dir: &Path, words: &str) -> String {
    let output = try_git_in(dir, words);
    assert!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub fn try_git_in(dir: &Path, words: &str) -> Output {
    command(dir).args(words.split(' ')).output().expect("git starts")
}

impl Scene {
    /// A folder with nothing in it.
    pub fn empty() -> Self {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there").join("repo");
        fs::create_dir(&top).expect("an empty folder takes a folder");
        Self { temp, top }
    }

    /// A repository with a few folders and one commit.
    pub fn new() -> Self {
        Self::made_by("init --quiet")
    }

    pub fn made_by(init: &str) -> Self {
        let scene = Self::empty();
        scene.git(init);
        scene.fill();
        scene.git("add --force --all");
        scene.git("commit --quiet -m one");
        scene
    }

    /// Writes the files that most tests begin with.
    pub fn fill(&self) {
        for (path, content) in [
            ("a", "a\n"),
            ("a-b", "between a and a/\n"),
            ("dir/b.txt", "b\n"),
            ("dir/deep/er/c.txt", "c\n"),
            ("dir/deep/d.txt", "d\n"),
            ("dir.txt", "beside dir\n"),
            ("empty", ""),
            ("other/e.txt", "e\n"),
            ("other/f.log", "tracked although ignored\n"),
            (".gitignore", "*.log\n/build/\n!keep.log\nother/skip\n"),
            ("dir/.gitignore", "local\n/deep/*.tmp\n"),
        ] {
            self.write(path, content);
        }
        self.write("run.sh", "#!/bin/sh\n");
        self.chmod("run.sh", 0o755);
        self.link("a", "link");
    }

    /// Another work tree of the same folder.
    pub fn at(self, top: PathBuf) -> Self {
        Self { top, ..self }
    }

    pub fn git(&self, words: &str) -> String {
        git_in(&self.top, words)
    }

    pub fn path(&self, path: impl AsRef<OsStr>) -> PathBuf {
        self.top.join(Path::new(path.as_ref()))
    }

    pub fn write(&self, path: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it is in the work tree")).expect("folders");
        fs::write(path, content).expect("a file");
    }

    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        match path.is_dir() && !path.is_symlink() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        }
        .expect("it was there");
    }

    pub fn link(&self, target: &str, path: &str) {
        std::os::unix::fs::symlink(target, self.path(path)).expect("a link");
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(path), mode).expect("it is ours");
    }

    pub fn repo(&self) -> Repo {
        Repo::discover_with(&self.top, &Overrides::default()).expect("a repository")
    }

    /// Returns once the file system's clock shows another time than before.
    pub fn wait_for_a_later_moment(&self) {
        let probe = self.temp.path().join("probe");
        let time = || {
            fs::write(&probe, "").expect("a file");
            let found = fs::metadata(&probe).expect("it is there");
            (found.ctime(), found.ctime_nsec())
        };
        let begin = time();
        while time() == begin {}
    }

    pub fn state(&self) -> TreeState {
        self.repo().tree_now().expect("a tree").state
    }

    /// What git names the tree, from a copy of the index so old that no stat data is believed.
    pub fn oracle(&self) -> String {
        self.oracle_with("add --all")
    }

    pub fn oracle_with(&self, add: &str) -> String {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let index = temp.path().join("index");
        let objects = temp.path().join("objects");
        fs::create_dir(&objects).expect("a folder");
        let name = |what: &str| self.git(&format!("rev-parse --path-format=absolute --git-path {what}"));
        if fs::copy(name("index"), &index).is_ok() {
            let file = fs::File::options().write(true).open(&index).expect("our copy");
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
            file.set_modified(old).expect("our copy");
        }
        let call = |words: &str| {
            let output = command(&self.top)
                .env("GIT_INDEX_FILE", &index)
                .env("GIT_OBJECT_DIRECTORY", &objects)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", name("objects"))
                .args(["-c", "core.splitIndex=false"])
                .args(words.split(' '))
                .output()
                .expect("git starts");
            let tolerated = words.contains("--ignore-errors") && output.status.code() == Some(1);
            assert!(
                output.status.success() || tolerated,
                "oracle: git {words}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        };
        call(add);
        call("write-tree")
    }

    /// Everything in the scene: path, size, mode, times and content.
    pub fn contents(&self) -> Vec<(PathBuf, u64, u32, i64, i64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.temp.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let metadata = path.symlink_metadata().expect("it is there");
                let content = match metadata.is_file() {
                    true => fs::read(&path).expect("a file"),
                    false => Vec::new(),
                };
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                found.push((
                    path,
                    metadata.len(),
                    metadata.mode(),
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    content,
                ));
            }
        }
        found.sort();
        found
    }
}
