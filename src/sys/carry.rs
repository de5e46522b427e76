//! A folder of one work tree, carried into another: blocks are shared where the file system can, and copied where not.
//!
//! Nothing is ever a link into the place where it comes from, and nothing half carried has the name of the whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::fs::{At, PathError};
use super::{cores, room};

/// So much is left on the disk.
const RESERVE: u64 = 64 << 20;
/// More threads than this do not make a disk faster.
const THREADS: usize = 4;

/// Where something is carried from, and where it is made.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The top of the work tree that it comes from. Nothing in it is changed.
    pub from: &'a Path,
    /// A folder on the file system that it goes to, which nobody else uses. What is in it goes.
    pub aside: &'a Path,
    /// Absolute links below any of these folders are refused.
    pub foreign: &'a [PathBuf],
}

impl Way<'_> {
    /// Returns where a link of the work tree leads, if there is one at a path below its top.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        fs::read_link(self.from.join(path)).ok()
    }
}

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// How many files and links.
    pub files: usize,
    /// Whether the file system shares their blocks.
    pub shared: bool,
}

/// Why something was not carried. Nothing of it is there then.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error(transparent)]
    Path(#[from] PathError),
    /// A link would lead out of the work tree.
    #[error("the link `{}` leads outside, to `{}`", link.display(), target.display())]
    LeadsOutside { link: PathBuf, target: PathBuf },
    /// It would fill the disk.
    #[error(
        "there is no room for `{}`: it takes {} MiB, and {} MiB are free",
        path.display(), needed.div_ceil(1 << 20), free >> 20
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
}

/// What is at a path, as far as that can be told without looking into it: it differs when a folder was made anew, or
/// something came or went directly in it. Nothing if nothing is there.
pub fn stamp(path: &Path) -> Option<String> {
    let it = path.symlink_metadata().ok()?;
    let size = if it.is_dir() { 0 } else { it.size() };
    Some(format!("{} {} {} {} {size}", it.dev(), it.ino(), it.mtime(), it.mtime_nsec()))
}

/// Copies what is at `path` in one work tree to a folder of the caller's, and returns where it is there: whole, and
/// ready to be renamed to where it belongs.
pub fn carry(way: &Way<'_>, path: &Path) -> Result<(PathBuf, Carried), CarryError> {
    carry_within(way, path, &|| room::of(way.aside).and_then(|room| room.bytes))
}

fn carry_within(
    way: &Way<'_>,
    path: &Path,
    free: &dyn Fn() -> Option<u64>,
) -> Result<(PathBuf, Carried), CarryError> {
    super::fs::remove_tree(way.aside)?;
    super::fs::create_dir_all(way.aside)?;
    let found = Found::look(way, path)?;
    let shared = found.files.first().is_some_and(|first| shares(&first.from(way), way.aside));
    if let Some(free) = free().filter(|_| !shared) {
        let needed = found.bytes;
        if needed > free.saturating_sub(RESERVE) {
            return Err(CarryError::NoRoom { path: path.to_owned(), needed, free });
        }
    }
    let top = way.aside.join("whole");
    let carried = Carried { files: found.files.len() + found.links.len(), shared };
    found.make(way, &top, shared)?;
    Ok((top, carried))
}

/// What there is to carry, by paths below the top of the work tree.
#[derive(Default)]
struct Found {
    path: PathBuf,
    /// Each before what is in it.
    folders: Vec<Entry>,
    files: Vec<Entry>,
    links: Vec<(PathBuf, PathBuf)>,
    bytes: u64,
}

struct Entry {
    path: PathBuf,
    metadata: Metadata,
}

impl Entry {
    fn from(&self, way: &Way<'_>) -> PathBuf {
        way.from.join(&self.path)
    }
}

impl Found {
    fn look(way: &Way<'_>, path: &Path) -> Result<Self, CarryError> {
        let mut found = Self { path: path.to_owned(), ..Self::default() };
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            let full = way.from.join(&path);
            let metadata = match full.symlink_metadata() {
                // Somebody works there meanwhile.
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.at(&full)?,
            };
            let kind = metadata.file_type();
            if kind.is_dir() {
                for entry in fs::read_dir(&full).at(&full)? {
                    waiting.push(path.join(entry.at(&full)?.file_name()));
                }
                found.folders.push(Entry { path, metadata });
            } else if kind.is_symlink() {
                let target = fs::read_link(&full).at(&full)?;
                if leads_outside(way, &path, &target) {
                    return Err(CarryError::LeadsOutside { link: path, target });
                }
                found.links.push((path, target));
            } else if kind.is_file() {
                found.bytes += metadata.len();
                found.files.push(Entry { path, metadata });
            }
            // A socket or a pipe belongs to whoever listens to it.
        }
        Ok(found)
    }

    fn make(&self, way: &Way<'_>, top: &Path, shared: bool) -> Result<(), CarryError> {
        let at = |path: &Path| match path.strip_prefix(&self.path) {
            Ok(below) if below.as_os_str().is_empty() => top.to_owned(),
            Ok(below) => top.join(below),
            Err(_) => top.to_owned(),
        };
        for Entry { path, .. } in &self.folders {
            let folder = at(path);
            fs::create_dir(&folder).at(&folder)?;
        }
        for (path, target) in &self.links {
            let link = at(path);
            symlink(target, &link).at(&link)?;
        }
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<(), PathError> {
            while !stop.load(Ordering::Relaxed)
                && let Some(entry) = self.files.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let (from, to) = (entry.from(way), at(&entry.path));
                let done = copy(&from, &to, &entry.metadata, shared);
                stop.fetch_or(done.is_err(), Ordering::Relaxed);
                done?;
            }
            Ok(())
        };
        let threads = cores::all().min(THREADS);
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads.min(self.files.len())).map(|_| scope.spawn(work)).collect();
            let mine = work();
            let others = helpers.into_iter().map(|it| it.join().expect("a copier does not panic"));
            others.fold(mine, |first, other| first.and(other))
        })?;
        // A folder may forbid to write in it, and its time changes with what comes into it.
        for Entry { path, metadata } in self.folders.iter().rev() {
            let folder = at(path);
            let opened = File::open(&folder).at(&folder)?;
            opened.set_permissions(metadata.permissions()).at(&folder)?;
            metadata.modified().and_then(|time| opened.set_modified(time)).at(&folder)?;
        }
        Ok(())
    }
}

/// Whether a link, which stands at `path` in the work tree, leads out of it. An absolute one does if it leads to where
/// files of the caller are; one to a program of the machine, as every Python environment has it, is as good elsewhere.
fn leads_outside(way: &Way<'_>, path: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return is_foreign(way, target);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    // As the names say it, too: where a link on the way is missing, they are all that counts.
    goes_outside(folder, target, |_| None, way) || goes_outside(folder, target, |at| way.link(at), way)
}

fn is_foreign(way: &Way<'_>, target: &Path) -> bool {
    let real = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    way.foreign.iter().any(|foreign| real.starts_with(foreign) || target.starts_with(foreign))
}

/// Goes a way from a folder of the work tree, over the links that `link` tells of.
fn goes_outside(
    folder: &Path,
    target: &Path,
    link: impl Fn(&Path) -> Option<PathBuf>,
    way: &Way<'_>,
) -> bool {
    /// A way over more links than this leads nowhere; the kernel gives up as well.
    const LINKS: usize = 40;
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut at = folder.to_owned();
    let mut rest: Vec<_> = parts(target);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            if !at.pop() {
                return true;
            }
        } else if part != "." {
            at.push(part);
            let Some(next) = link(&at) else { continue };
            links += 1;
            if links > LINKS {
                return false;
            }
            if next.is_absolute() {
                let whole = rest.iter().rev().fold(next, |whole, part| whole.join(part));
                return is_foreign(way, &whole);
            }
            at.pop();
            let more: Vec<_> = parts(&next);
            rest.extend(more);
        }
    }
    false
}

/// Copies one file, with its mode and its time.
fn copy(from: &Path, to: &Path, metadata: &Metadata, shared: bool) -> Result<(), PathError> {
    let source = match File::open(from) {
        // Somebody works there meanwhile.
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source.at(from)?,
    };
    let mode = metadata.permissions().mode() & 0o777;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(mode | 0o200).open(to).at(to)?;
    if !(shared && reflink(&source, &target)) {
        io::copy(&mut &source, &mut target).at(from)?;
    }
    target.set_permissions(fs::Permissions::from_mode(mode)).at(to)?;
    metadata.modified().and_then(|time| target.set_modified(time)).at(to)
}

/// Whether a file can share its blocks with one in a folder.
fn shares(file: &Path, folder: &Path) -> bool {
    let Ok(source) = File::open(file) else { return false };
    tempfile_in(folder).is_ok_and(|target| reflink(&source, &target))
}

/// Returns a file that has no name.
fn tempfile_in(folder: &Path) -> io::Result<File> {
    let path = folder.join("try");
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    super::fs::remove(&path).map_err(|err| err.source)?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn reflink(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn reflink(_from: &File, _to: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        dir: tempfile::TempDir,
        foreign: Vec<PathBuf>,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            fs::create_dir(dir.path().join("from")).expect("a folder");
            let from = dir.path().canonicalize().expect("it is there").join("from");
            Self { dir, foreign: vec![from] }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }

        fn carry(&self, free: Option<u64>) -> Result<(PathBuf, Carried), CarryError> {
            let (from, aside) = (self.path("from"), self.path("aside"));
            let way = Way { from: &from, aside: &aside, foreign: &self.foreign };
            carry_within(&way, Path::new("deps"), &|| free)
        }
    }

    #[test]
    fn what_is_carried_is_a_copy_with_modes_times_and_links() {
        let scene = Scene::new();
        scene.write("from/deps/a/b\n c", "text\n");
        scene.write("from/deps/-run", "#!/bin/sh\n");
        let run = scene.path("from/deps/-run");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o555)).expect("a mode");
        let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 7);
        File::open(&run).and_then(|it| it.set_modified(then)).expect("a time");
        fs::hard_link(&run, scene.path("from/deps/second")).expect("a second name");
        for (target, link) in [("../-run", "a/up"), ("../src", "out"), ("/bin/sh", "sh"), ("none", "broken")]
        {
            symlink(target, scene.path("from/deps").join(link)).expect("a link");
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            scene.path("from/deps/pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        fs::set_permissions(scene.path("from/deps/a"), fs::Permissions::from_mode(0o555)).expect("a mode");

        let (whole, carried) = scene.carry(None).expect("it is carried");

        assert_eq!(carried.files, 7);
        assert_eq!(fs::read_to_string(whole.join("a/b\n c")).expect("a file"), "text\n");
        let (source, copy) = (run.metadata().expect("it"), whole.join("-run").metadata().expect("it"));
        assert_eq!((copy.mode(), copy.modified().expect("a time")), (source.mode(), then));
        assert_ne!((copy.dev(), copy.ino()), (source.dev(), source.ino()));
        assert_eq!((copy.nlink(), whole.join("second").metadata().expect("it").nlink()), (1, 1));
        assert_eq!(fs::read_link(whole.join("out")).expect("a link"), Path::new("../src"));
        assert_eq!(whole.join("a").metadata().expect("it").mode() & 0o777, 0o555);
        assert!(!whole.join("pipe").exists());
        let time = |path: PathBuf| path.metadata().expect("it").modified().expect("a time");
        assert_eq!(time(whole.join("a")), time(scene.path("from/deps/a")));
        for folder in [scene.path("from/deps/a"), whole.join("a")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }

    #[test]
    fn links_that_lead_outside_are_refused() {
        let absolute = |scene: &Scene, name: &str| scene.foreign[0].join(name);
        for (link, target, refused) in [
            ("deps/a", "../..".to_owned(), true),
            ("deps/a", "../../from/deps".to_owned(), true),
            ("deps/a", "..".to_owned(), false),
            ("deps/a", "b/../../src/./x".to_owned(), false),
            ("deps", "elsewhere".to_owned(), false),
            ("deps", "../elsewhere".to_owned(), true),
            ("deps/a", "FOREIGN/src".to_owned(), true),
            ("deps/a", "/usr/bin/env".to_owned(), false),
            ("deps/a", "/".to_owned(), false),
        ] {
            let scene = Scene::new();
            let target = match target.strip_prefix("FOREIGN/") {
                Some(name) => absolute(&scene, name),
                None => PathBuf::from(target),
            };
            let path = scene.path("from").join(link);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            symlink(&target, path).expect("a link");

            let done = scene.carry(None);

            let is_refused = matches!(&done, Err(CarryError::LeadsOutside { .. }));
            assert_eq!(is_refused, refused, "{link} {}: {done:?}", target.display());
        }
    }

    #[test]
    fn links_that_lead_outside_over_other_links_are_refused() {
        let top = |scene: &Scene| scene.foreign[0].parent().expect("a folder").to_owned();
        for (links, refused) in [
            (&[("deps/a/b/up", "../../.."), ("deps/a/b/x", "up/../../outside")][..], true),
            (&[("deps/a/b/up", "../../.."), ("deps/a/b/x", "up/src")], false),
            // Also over one that is not carried itself.
            (&[("vendor", "../other"), ("deps/x", "../vendor/y")], true),
            (&[("vendor", "a/b/c"), ("deps/x", "../vendor/../src")], false),
            // Where `vendor` is missing, this one leads elsewhere.
            (&[("vendor", "a/b/c"), ("deps/x", "../vendor/../../../src")], true),
            (&[("vendor", "a/b/c"), ("deps/x", "../vendor/../../../../src")], true),
            (&[("deps/root", "/"), ("deps/x", "root/usr/bin/env")], false),
            (&[("deps/root", "/"), ("deps/x", "rootTOP/from/src")], true),
            (&[("deps/x", "y"), ("deps/y", "x")], false),
        ] {
            let scene = Scene::new();
            for (link, target) in links {
                let path = scene.path("from").join(link);
                fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
                let top = top(&scene);
                symlink(target.replace("TOP", top.to_str().expect("a text")), path).expect("a link");
            }

            let done = scene.carry(None);

            let is_refused = matches!(&done, Err(CarryError::LeadsOutside { .. }));
            assert_eq!(is_refused, refused, "{links:?}: {done:?}");
        }
    }

    #[test]
    fn the_disk_is_not_filled() {
        let scene = Scene::new();
        scene.write("from/deps/a", &"x".repeat(3 << 20));
        let shared = scene.carry(None).expect("there is room").1.shared;
        let done = scene.carry(Some(RESERVE + 10));
        if !shared {
            let said = done.expect_err("there is none").to_string();
            assert_eq!(said, "there is no room for `deps`: it takes 3 MiB, and 64 MiB are free");
            assert_eq!(fs::read_dir(scene.path("aside")).expect("a folder").count(), 0);
        }
        assert!(scene.carry(Some(RESERVE + (3 << 20))).is_ok());
    }

    #[test]
    fn what_an_interrupted_one_left_is_in_nobody_s_way() {
        let scene = Scene::new();
        scene.write("from/deps/a", "new\n");
        scene.write("aside/whole/a", "half");
        scene.write("aside/whole/b", "half");
        let (whole, _) = scene.carry(None).expect("it is carried");
        assert_eq!(fs::read_to_string(whole.join("a")).expect("a file"), "new\n");
        assert!(!whole.join("b").exists());
        let before = stamp(&scene.path("from/deps"));
        assert_eq!(stamp(&scene.path("from/deps")), before);
        scene.write("from/deps/more", "");
        assert_ne!(stamp(&scene.path("from/deps")), before);
        assert_eq!(stamp(&scene.path("from/nothing")), None);
    }
}
