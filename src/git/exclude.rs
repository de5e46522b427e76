//! Lines of our own in `info/exclude`, so that our folders never show up in `git status`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::At;
use super::{GitError, Repo};

const HEADING: &str = "# git orchestrate: its runs";

impl Repo {
    /// Leaves untracked files that match out of every tree, too, as if the patterns stood in
    /// `info/exclude`: for a repository in which they cannot.
    pub fn leave_out(&mut self, patterns: Vec<String>) {
        self.left_out.extend(patterns);
    }

    /// Makes sure that each pattern, such as `/.runs/`, is a line of the repository's
    /// `info/exclude`. What stands there stays, byte for byte; concurrent calls lose nothing.
    pub fn exclude(&self, patterns: &[String]) -> Result<(), GitError> {
        if let Some(pattern) = patterns.iter().find(|pattern| !is_one_line(pattern)) {
            return Err(GitError::BadPattern { pattern: pattern.clone() });
        }
        let named = self.common_dir.join("info/exclude");
        if missing(&read(&named)?, patterns).is_empty() {
            return Ok(());
        }
        let folder = self.common_dir.join("orchestrate");
        fs::create_dir_all(&folder).at(&folder)?;
        let lock_path = folder.join("exclude.lock");
        let lock = File::options().create(true).append(true).open(&lock_path).at(&lock_path)?;
        lock.lock().at(&lock_path)?;
        // Only now does what we read stay true until we write.
        let old = read(&named)?;
        let lines = missing(&old, patterns);
        match lines.first() {
            Some(line) => replace(&named, &with_lines(old, &lines), line),
            None => Ok(()),
        }
    }
}

/// Whether git would read the text as exactly this one pattern.
fn is_one_line(pattern: &str) -> bool {
    !pattern.is_empty()
        && !pattern.starts_with('#')
        && pattern.trim_end() == pattern
        && !pattern.contains(['\n', '\r', '\0'])
}

/// The content of a file, which may not be there yet.
fn read(path: &Path) -> Result<Vec<u8>, GitError> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).at(path),
    }
}

/// The patterns that do not stand in `content` or, by a later line, no longer count.
fn missing(content: &[u8], patterns: &[String]) -> Vec<String> {
    let mut lines = Vec::<String>::new();
    for pattern in patterns {
        let stands = content
            .split(|byte| *byte == b'\n')
            .any(|line| line.strip_suffix(b"\r").unwrap_or(line) == pattern.as_bytes());
        if !stands && !lines.contains(pattern) {
            lines.push(pattern.clone());
        }
    }
    lines
}

/// Appends `lines` to `content`, below our heading.
fn with_lines(mut content: Vec<u8>, lines: &[String]) -> Vec<u8> {
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    let last = content.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty());
    let ours = last.is_some_and(|last| last == HEADING.as_bytes());
    for line in (!ours).then_some(HEADING).into_iter().chain(lines.iter().map(String::as_str)) {
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
    }
    content
}

/// Replaces the file, so that git reads the old lines or the new ones. `line` is for the error.
fn replace(named: &Path, content: &[u8], line: &str) -> Result<(), GitError> {
    let path = target(named)?;
    let permissions = match fs::metadata(&path) {
        // The rename would succeed, yet whoever made it read-only meant it.
        Ok(found) if found.permissions().readonly() => {
            return Err(GitError::ExcludeReadOnly { path, line: line.to_owned() });
        }
        Ok(found) => Some(found.permissions()),
        Err(_) => None,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at(folder)?;
    let mut temp = new_file(folder).at(folder)?;
    temp.write_all(content).at(&path)?;
    if let Some(permissions) = permissions {
        temp.as_file().set_permissions(permissions).at(&path)?;
    }
    temp.as_file().sync_all().at(&path)?;
    temp.persist(&path).map_err(|error| error.error).at(&path)?;
    Ok(())
}

/// Makes a temporary file with the permissions of an ordinary one.
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".exclude-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The user's umask takes away what it should.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// The file itself: git follows a link here, so the link has to stay.
fn target(named: &Path) -> Result<PathBuf, GitError> {
    match fs::symlink_metadata(named) {
        Ok(found) if found.is_symlink() => match named.canonicalize() {
            Ok(path) => Ok(path),
            // A dangling link: make the file it names.
            Err(_) => {
                let link = fs::read_link(named).at(named)?;
                Ok(named.parent().unwrap_or(Path::new(".")).join(link))
            }
        },
        _ => Ok(named.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(content: &str, patterns: &[&str]) -> String {
        let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let content = content.as_bytes().to_vec();
        let lines = missing(&content, &patterns);
        String::from_utf8(match lines.is_empty() {
            true => content,
            false => with_lines(content, &lines),
        })
        .expect("text in, text out")
    }

    #[test]
    fn lines_are_appended_once_and_nothing_else_changes() {
        for (content, patterns, expected) in [
            ("", vec!["/.runs/"], format!("{HEADING}\n/.runs/\n")),
            ("*.o", vec!["/.runs/"], format!("*.o\n{HEADING}\n/.runs/\n")),
            ("*.o\r\n", vec!["/out/"], format!("*.o\r\n{HEADING}\n/out/\n")),
            ("/.runs/\r\n", vec!["/.runs/"], "/.runs/\r\n".to_owned()),
            ("a\n/.runs/", vec!["/.runs/"], "a\n/.runs/".to_owned()),
            ("", vec!["/a", "/a"], format!("{HEADING}\n/a\n")),
        ] {
            assert_eq!(added(content, &patterns), expected);
        }
    }

    #[test]
    fn what_git_would_read_otherwise_is_refused() {
        for bad in ["", "a\nb", "# a", "a ", "a\r"] {
            assert!(!is_one_line(bad), "{bad:?}");
        }
    }
}
