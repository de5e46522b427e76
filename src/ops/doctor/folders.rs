//! Where evidence goes: `.runs` and `out`, and the disk below them.

use std::path::{Path, PathBuf};

use super::super::Context;
use super::{Check, quoted};
use crate::id::TaskId;
use crate::store::layout::UnsafePath;
use crate::sys::room::{self, Room};

/// Below this much room the next run may end in the middle.
const LITTLE: u64 = 256 << 20;
/// Below this much not even its first files are safe.
const NOTHING: u64 = 1 << 20;

pub fn look(ctx: &Context, checks: &mut Vec<Check>) {
    let layout = &ctx.layout;
    let before = checks.len();
    let task: TaskId = match ctx.env.get("MCP_RUNNER_TASK_ID").and_then(|text| text.parse().ok()) {
        Some(task) => task,
        None => "0101".parse().expect("the default task is an id"),
    };
    // As a run would ask: for its own task, then for those that are there.
    let tasks = std::iter::once(task).chain(super::runs::tasks(ctx));
    let mut said = Vec::new();
    for check in tasks.filter_map(|task| layout.check(&task).err()).map(|err| unsafe_path(&err)) {
        if !said.contains(&check) {
            said.push(check);
        }
    }
    checks.append(&mut said);
    for dir in [&layout.runs, &layout.out] {
        let there = nearest(dir);
        if let Err(err) = room::may_write_in(&there) {
            let message = format!("cannot write in `{}`: {err}", there.display());
            let mend = match err.kind() {
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing, or keep runs elsewhere: CODEX_ORCHESTRATOR_RUNS_DIR and \
                     CODEX_ORCHESTRATOR_OUT_DIR name the folders"
                        .to_owned()
                }
                _ => format!("chmod u+rwx {}, or ask its owner", quoted(&there)),
            };
            checks.push(Check::problem("folders.writable", message, mend).about(layout.relative(dir)));
        }
    }
    if checks.len() == before {
        let both = [&layout.runs, &layout.out].map(|dir| format!("`{}`", layout.relative(dir)));
        checks.push(Check::ok("folders", format!("evidence goes to {}", both.join(" and "))));
    }
    hidden(ctx, checks);
    let mut rooms: Vec<(PathBuf, Room)> = Vec::new();
    for there in [&layout.runs, &layout.out].map(|dir| nearest(dir)) {
        if let Some(room) = room::of(&there)
            && !rooms.iter().any(|(_, known)| *known == room)
        {
            rooms.push((there, room));
        }
    }
    checks.extend(rooms.iter().map(|(path, room)| disk(path, room)));
}

/// Returns the path itself or the first folder above it that exists.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn unsafe_path(err: &UnsafePath) -> Check {
    let (path, mend) = match err {
        UnsafePath::Link(path) => (
            path,
            format!(
                "rm {}, or keep runs elsewhere by CODEX_ORCHESTRATOR_RUNS_DIR or CODEX_ORCHESTRATOR_OUT_DIR",
                quoted(path)
            ),
        ),
        UnsafePath::NoFolder(path) => (path, format!("mv {0} {0}.aside", quoted(path))),
        UnsafePath::Root(path) => (
            path,
            "set CODEX_ORCHESTRATOR_RUNS_DIR and CODEX_ORCHESTRATOR_OUT_DIR to folders of their own"
                .to_owned(),
        ),
    };
    Check::problem("folders.safe", err.to_string(), mend).about(path.display().to_string())
}

/// Looks whether git sees our files: what it sees makes every tree a dirty one.
fn hidden(ctx: &Context, checks: &mut Vec<Check>) {
    let layout = &ctx.layout;
    let inside = |dir: &Path| dir.starts_with(ctx.repo.work_tree()) && dir != ctx.repo.work_tree();
    if !inside(&layout.runs) {
        return;
    }
    let histories: Vec<_> = super::runs::tasks(ctx)
        .into_iter()
        .flat_map(|task| ["runs.json", "state.json"].map(|name| layout.task_out(&task).join(name)))
        .filter(|path| inside(path))
        .collect();
    let ours: Vec<&Path> =
        std::iter::once(&*layout.runs).chain(histories.iter().map(PathBuf::as_path)).collect();
    match ctx.repo.tracked(&ours) {
        Ok(tracked) if !tracked.is_empty() => {
            let message = format!(
                "git tracks {} of our files, such as `{}`: every run that writes them is void",
                tracked.len(),
                tracked[0]
            );
            let mut paths: Vec<_> = vec![quoted(Path::new(&layout.relative(&layout.runs)))];
            paths.extend(
                histories
                    .iter()
                    .map(|path| layout.relative(path))
                    .filter(|path| tracked.contains(path))
                    .map(|path| quoted(Path::new(&path))),
            );
            let mend = format!("git rm -r --cached --ignore-unmatch -- {}", paths.join(" "));
            checks.push(Check::warning("folders.tracked", message, mend));
        }
        Ok(_) => {}
        Err(err) => checks.push(Check::warning("folders.tracked", super::chain(&err), "git status")),
    }
    let probe = layout.runs.join("0101");
    let exclude = ctx.repo.common_dir().join("info/exclude");
    let line = ctx.exclude_patterns().into_iter().next().unwrap_or_default();
    checks.push(match ctx.repo.ignores(&probe) {
        Ok(true) => Check::ok("folders.excluded", format!("git ignores `{}`", layout.relative(&layout.runs))),
        Ok(false) if exclude.metadata().is_ok_and(|meta| meta.permissions().readonly()) => Check::warning(
            "folders.excluded",
            format!("git sees `{}`, and `{}` is read-only", layout.relative(&layout.runs), exclude.display()),
            format!("chmod u+w {}, or add the line `{line}` to .gitignore", quoted(&exclude)),
        ),
        Ok(false) if layout.runs.exists() => Check::warning(
            "folders.excluded",
            format!("git sees `{}`; the next run adds it to info/exclude", layout.relative(&layout.runs)),
            format!("if a line such as `!{line}` is in .gitignore, take it out"),
        ),
        Ok(false) => Check::ok(
            "folders.excluded",
            format!("the first run hides `{}` from git in info/exclude", layout.relative(&layout.runs)),
        ),
        Err(err) => Check::warning("folders.excluded", super::chain(&err), "git status"),
    });
}

fn disk(path: &Path, room: &Room) -> Check {
    let path = path.display();
    let mend = "make room: `df -h .` and `df -i .` show where it is missing";
    if room.read_only {
        let mend = "mount it for writing, or keep runs elsewhere by CODEX_ORCHESTRATOR_RUNS_DIR and \
                    CODEX_ORCHESTRATOR_OUT_DIR";
        return Check::problem("disk", format!("the file system of `{path}` is read-only"), mend);
    }
    if room.files.is_some_and(|files| files < 100) {
        return Check::problem(
            "disk",
            format!("the file system of `{path}` takes hardly another file"),
            mend,
        );
    }
    match room.bytes {
        Some(bytes) if bytes < NOTHING => {
            Check::problem("disk", format!("the file system of `{path}` is full"), mend)
        }
        Some(bytes) if bytes < LITTLE => Check::warning(
            "disk",
            format!("only {} MiB are left on the file system of `{path}`", bytes >> 20),
            mend,
        ),
        Some(bytes) if bytes < 10 << 30 => Check::ok("disk", format!("{} MiB left", bytes >> 20)),
        Some(bytes) => Check::ok("disk", format!("{} GiB left", bytes >> 30)),
        None => Check::ok("disk", "its file system counts no room"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn little_room_is_a_warning_and_none_is_a_problem() {
        let room = |bytes, files, read_only| Room { bytes, files, read_only };
        for (room, expected) in [
            (room(Some(1 << 40), Some(1_000_000), false), Verdict::Ok),
            (room(None, None, false), Verdict::Ok),
            (room(Some(100 << 20), Some(1_000_000), false), Verdict::Warning),
            (room(Some(4096), Some(1_000_000), false), Verdict::Problem),
            (room(Some(1 << 40), Some(3), false), Verdict::Problem),
            (room(Some(1 << 40), Some(1_000_000), true), Verdict::Problem),
        ] {
            let check = disk(Path::new("/x"), &room);
            assert_eq!(check.verdict, expected, "{check:?}");
            assert_eq!(check.mend.is_some(), expected != Verdict::Ok);
        }
    }
}
