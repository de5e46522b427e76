//! The lines that a change adds, one piece after the other: no more than a piece is in memory at a time.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rustix::fs::OFlags;

use super::diff::Target;
use super::error::At;
use super::{GitError, Repo};
use crate::sys::beneath;

/// The longest piece.
const PIECE: u64 = 64 << 10;

/// A line that is added, or a piece of a long one.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    pub path: &'a str,
    /// From 1, in the file as it will be.
    pub line: u64,
    /// Without the line break.
    pub piece: &'a [u8],
    /// Whether it begins the line.
    pub begins: bool,
    /// Whether it ends the line.
    pub ends: bool,
}

/// Who is told about every line.
pub type Tell<'a> = dyn FnMut(Added<'_>) + 'a;

impl Repo {
    /// Tells of every line that `target` adds to the commit `base`, or to nothing at all, in files that git
    /// knows. Binary files count as text, whatever attributes say, so that no change can hide a line.
    pub fn added_lines(
        &self,
        base: Option<&str>,
        target: Target<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<(), GitError> {
        let base = base.map_or_else(|| self.no_tree(), |base| Ok(base.to_owned()))?;
        let git = self.git().args(["-c", "core.quotePath=false"]);
        let git = git.args(["diff", "--text", "--unified=0"]);
        let git = git.args(["--inter-hunk-context=0", "--no-ext-diff", "--no-textconv", "--no-color"]);
        let git = git.args(["--no-renames", "--no-relative", "--submodule=short", "--ignore-submodules=all"]);
        let git = git.args(["--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers"]);
        let git = match target {
            Target::WorkTree => git.args([base.as_str()]),
            Target::Staged => git.args(["--cached", base.as_str()]),
            Target::Commit(commit) => git.args([base.as_str(), commit]),
        };
        git.args(["--"]).stream(|out| Patch::new(out).read(tell))
    }

    /// Tells of every line of a file on disk that git does not know. A link and a repository have none.
    pub fn lines_of(&self, path: &str, tell: &mut Tell<'_>) -> Result<(), GitError> {
        let disk = self.work_tree.join(path);
        let kind = disk.symlink_metadata().at(&disk)?.file_type();
        if kind.is_symlink() || kind.is_dir() {
            return Ok(());
        }
        let open = || -> std::io::Result<std::fs::File> {
            let top = std::fs::File::open(&self.work_tree)?;
            // A pipe that nobody writes to would make us wait.
            let file = beneath::open_at(&top, path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK)?;
            let file = std::fs::File::from(file);
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(std::io::Error::other("it is no regular file")),
            }
        };
        let mut file = BufReader::new(open().at(&disk)?);
        let mut line = 1;
        while pieces(&mut file, &mut |piece, begins, ends| tell(Added { path, line, piece, begins, ends }))
            .at(&disk)?
        {
            line += 1;
        }
        Ok(())
    }
}

/// Reads one line in pieces; false at the end of everything.
fn pieces(from: &mut dyn BufRead, tell: &mut dyn FnMut(&[u8], bool, bool)) -> std::io::Result<bool> {
    let mut piece = Vec::new();
    let mut begins = true;
    loop {
        piece.clear();
        let read = (&mut *from).take(PIECE).read_until(b'\n', &mut piece)? as u64;
        let is_whole = piece.pop_if(|last| *last == b'\n').is_some();
        let ends = is_whole || read < PIECE;
        if read > 0 || !begins {
            tell(&piece, begins, ends);
        }
        if ends {
            return Ok(read > 0 || !begins);
        }
        begins = false;
    }
}

/// What `git diff` prints.
struct Patch<'r> {
    out: &'r mut dyn BufRead,
    /// The path of the file that follows; nothing if it was removed.
    path: Option<String>,
}

impl<'r> Patch<'r> {
    fn new(out: &'r mut dyn BufRead) -> Self {
        Self { out, path: None }
    }

    fn read(mut self, tell: &mut Tell<'_>) -> Result<(), GitError> {
        while let Some(line) = self.header()? {
            let known = ["diff --git ", "index ", "--- ", "\\ No newline"];
            let modes = ["old mode ", "new mode ", "deleted file mode ", "new file mode "];
            if let Some(name) = line.strip_prefix(b"+++ ") {
                self.path = destination(name).ok_or_else(|| unknown(&line))?;
            } else if line.starts_with(b"@@ ") {
                let hunk = hunk(&line).ok_or_else(|| unknown(&line))?;
                self.lines(hunk, tell)?;
            } else if !known.iter().chain(&modes).any(|word| line.starts_with(word.as_bytes())) {
                return Err(unknown(&line));
            }
        }
        Ok(())
    }

    /// Reads a line outside of hunks.
    fn header(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let mut line = Vec::new();
        let there = pieces(self.out, &mut |piece, begins, _| {
            if begins {
                line.extend_from_slice(piece);
            }
        });
        Ok(there.at(Path::new("the answer of git"))?.then_some(line))
    }

    /// Reads the lines of a hunk: so many that went, and so many that came.
    fn lines(&mut self, hunk: Hunk, tell: &mut Tell<'_>) -> Result<(), GitError> {
        let Self { out, path } = self;
        let (mut left, mut came) = (hunk.went + hunk.came, 0);
        while left > 0 {
            let mut sign = 0;
            let there = pieces(*out, &mut |piece, begins, ends| {
                let mut piece = piece;
                if begins {
                    sign = piece.first().copied().unwrap_or_default();
                    piece = piece.get(1..).unwrap_or_default();
                }
                if sign == b'+'
                    && let Some(path) = path
                {
                    tell(Added { path, line: hunk.first + came, piece, begins, ends });
                }
            });
            if !there.at(Path::new("the answer of git"))? {
                return Err(unknown(b"an end in the middle"));
            }
            match sign {
                b'+' => (left, came) = (left - 1, came + 1),
                b'-' => left -= 1,
                b'\\' => {}
                other => return Err(unknown(&[other])),
            }
        }
        Ok(())
    }
}

/// How many lines went and came, and the number of the first that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hunk {
    went: u64,
    first: u64,
    came: u64,
}

fn hunk(line: &[u8]) -> Option<Hunk> {
    let text = String::from_utf8_lossy(line);
    let (ranges, _) = text.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(u64, u64)> {
        match text.split_once(',') {
            Some((first, count)) => Some((first.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let ((_, went), (first, came)) = (range(old)?, range(new)?);
    Some(Hunk { went, first, came })
}

/// Reads the name after `+++`, as git quotes it; nothing within if the file was removed.
fn destination(name: &[u8]) -> Option<Option<String>> {
    let name = name.strip_suffix(b"\t").unwrap_or(name);
    if name == b"/dev/null" {
        return Some(None);
    }
    let name = match name.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        Some(quoted) => unquoted(quoted)?,
        None => name.to_owned(),
    };
    Some(Some(super::diff::shown(name.strip_prefix(b"b/")?)))
}

fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        plain.push(match rest.next()? {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            byte @ (b'"' | b'\\') => byte,
            first => {
                let digits = [first, rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()?
            }
        });
    }
    Some(plain)
}

/// Says that git has answered something that we do not know.
fn unknown(line: &[u8]) -> GitError {
    let said: String = String::from_utf8_lossy(line).chars().take(80).collect();
    GitError::Unexpected { command: "diff".to_owned(), said }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(patch: &[u8]) -> Result<Vec<(String, u64, String)>, String> {
        let mut lines: Vec<(String, u64, String)> = Vec::new();
        let mut tell = |added: Added<'_>| {
            let piece = String::from_utf8_lossy(added.piece).into_owned();
            match added.begins {
                true => lines.push((added.path.to_owned(), added.line, piece)),
                false => lines.last_mut().unwrap().2.push_str(&piece),
            }
        };
        let mut patch = patch;
        let read = Patch::new(&mut patch).read(&mut tell);
        read.map(|()| lines).map_err(|err| err.to_string())
    }

    #[test]
    fn what_looks_like_a_header_is_a_line_where_lines_are_due() {
        let patch = b"diff --git a/a b b/a b\nindex 1..2 100644\n--- a/a b\t\n+++ b/a b\t\n\
            @@ -1,2 +1,3 @@ fn x\n--- a/gone\n-x\n+++ b/no\n+@@ -1 +1 @@\n+\n\\ No newline at end of file\n\
            @@ -9 +10 @@\n-a\n\\ No newline at end of file\n+b\n";
        let line = |number, text: &str| ("a b".to_owned(), number, text.to_owned());
        let lines = [line(1, "++ b/no"), line(2, "@@ -1 +1 @@"), line(3, ""), line(10, "b")];
        assert_eq!(read(patch).unwrap(), lines);
    }

    #[test]
    fn odd_names_are_read_as_git_writes_them() {
        for (name, expected) in [
            (&b"b/a"[..], Some(Some("a"))),
            (b"b/with space\t", Some(Some("with space"))),
            (br#""b/a\nb\t\"\\\001""#, Some(Some("a\nb\t\"\\\u{1}"))),
            (b"b/\xc3\xa9", Some(Some("\u{e9}"))),
            (b"b/\xff", Some(Some("\\xFF"))),
            (b"/dev/null", Some(None)),
            (b"c/a", None),
            (br#""b/\9""#, None),
        ] {
            let found = destination(name);
            assert_eq!(found.as_ref().map(|it| it.as_deref()), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn what_nobody_expects_is_an_error() {
        for patch in [
            &b"* Unmerged path a\n"[..],
            b"Binary files a/x and b/x differ\n",
            b"+++ b/a\n@@ -1 +1 @@\n-x\n",
            b"+++ b/a\n@@ -1 +1,x @@\n",
            b"+++ b/a\n@@ -1 +1 @@\n x\n",
            b"Submodule x 1..2:\n",
        ] {
            assert!(read(patch).is_err(), "{}", patch.escape_ascii());
        }
    }

    #[test]
    fn long_lines_come_in_pieces() {
        let long = vec![b'x'; 2 * PIECE as usize];
        for (text, expected) in [
            (long.clone(), vec![(PIECE, true, false), (PIECE, false, false), (0, false, true)]),
            (
                [&long[..], b"y\n"].concat(),
                vec![(PIECE, true, false), (PIECE, false, false), (1, false, true)],
            ),
            (b"\n".to_vec(), vec![(0, true, true)]),
        ] {
            let mut found = Vec::new();
            let mut from = &text[..];
            let mut tell = |piece: &[u8], begins, ends| found.push((piece.len() as u64, begins, ends));
            assert!(pieces(&mut from, &mut tell).unwrap());
            assert!(!pieces(&mut from, &mut tell).unwrap());
            assert_eq!(found, expected);
        }
    }
}
