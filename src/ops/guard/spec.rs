//! `guard spec`: whether specs keep up with the code; and the stamp of somebody who has read one.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Result;

use super::super::{Context, Refusal};
use super::settings::{self, ConfigFrom};
use super::{GuardOptions, base, or_no};
use crate::git::{Added, DiffRule, GitError, Target};
use crate::guardrail::spec::fallback::{self, Found, Rule, Scan, WORDS};
use crate::guardrail::spec::{self, CODE, Case, MAX_AGE_DAYS, Places, SPECS, SpecFile};
use crate::guardrail::{File, Judged, Limit, Origin, Verdict};
use crate::pipeline::guardrails::{Guardrails, Spec, SpecFallback, SpecGroup};
use crate::sys::beneath::{Beneath, BeneathError};

/// How the guardrail calls itself in errors.
const NAME: &str = "Spec guard";

/// A larger file is no spec.
const MAX_BYTES: u64 = 4 << 20;

/// What a file in the root says about where more code is.
const DETECTED: [(&str, &str); 2] = [("Cargo.toml", "crates/"), ("go.mod", "*.go")];

/// Judges the work tree.
pub fn judge(ctx: &Context, options: &GuardOptions) -> Result<Vec<Verdict>> {
    or_no(ctx, NAME, work_tree(ctx, options))
}

fn work_tree(ctx: &Context, options: &GuardOptions) -> Result<Vec<Verdict>> {
    let base = base::find(ctx, NAME, options.base.as_deref(), &["BASE_SHA"])?;
    let settings = settings::read(ctx, base.start.as_deref(), options.config)?;
    let configured = settings.guardrails.spec.unwrap_or_default();
    let places = places(ctx, &configured);
    let proposed = settings::of_work_tree(ctx).ok();
    let changed = ctx.repo.diff(base.start.as_deref(), Target::WorkTree, &DiffRule::default())?;
    let rule = configured.fallback.as_ref().map(rule);
    let found = rule.as_ref().map(|rule| {
        let mut found = added(ctx, rule, base.start.as_deref(), Target::WorkTree, &changed, &places)?;
        fallback::join(&mut found, added(ctx, rule, base.start.as_deref(), Target::Staged, &[], &places)?);
        Ok(found)
    });
    let root = Beneath::open(ctx.repo.work_tree())?;
    let read = |path: &str| match root.read(Path::new(path), MAX_BYTES) {
        Ok(content) => content.map(|content| as_text(content.bytes)).transpose(),
        Err(err) => Err(err.to_string()),
    };
    let now = |path: &str| root.read(Path::new(path), MAX_BYTES).ok().flatten().map(|content| content.bytes);
    let trouble = RefCell::default();
    let was = |path: &str| base.start.as_deref().and_then(|start| file_at(ctx, start, path, &trouble));
    let mut verdict = spec::judge(
        base.judged("work-tree"),
        &Case {
            changed: &changed,
            specs: &specs(&root, &places),
            places: &places,
            max_age: &max_age(&configured, settings.origin),
            today: today(ctx)?,
            groups: &configured.groups,
            proposed: &groups(proposed, &configured),
            read: &read,
            now: &now,
            was: &was,
            fallback: rule.as_ref().zip(found.as_ref()),
        },
    );
    trouble.into_inner().map_or(Ok(()), Err)?;
    verdict.notes.extend(settings.note);
    verdict.decide(None, options.dry_run);
    Ok(vec![verdict])
}

/// Judges what a commit changed since it began at `start`, with the specs that it has itself.
pub fn judge_commit(
    ctx: &Context,
    start: &str,
    commit: &str,
    judged: Judged,
    config: ConfigFrom,
) -> Result<Verdict> {
    let judge = || -> Result<Verdict> {
        let settings = settings::read(ctx, Some(start), config)?;
        let configured = settings.guardrails.spec.unwrap_or_default();
        let is_file = |file: &str| matches!(ctx.repo.file_at(commit, file), Ok(Some(_)));
        let places = places_where(&is_file, &configured);
        let proposed = settings::read(ctx, Some(commit), ConfigFrom::Base).ok();
        let changed = ctx.repo.diff(Some(start), Target::Commit(commit), &DiffRule::default())?;
        let rule = configured.fallback.as_ref().map(rule);
        let found =
            rule.as_ref().map(|rule| added(ctx, rule, Some(start), Target::Commit(commit), &[], &places));
        let read = |path: &str| match ctx.repo.file_at(commit, path) {
            Ok(Some(bytes)) if bytes.len() as u64 > MAX_BYTES => Err("it is too large".to_owned()),
            Ok(bytes) => bytes.map(as_text).transpose(),
            Err(err) => Err(err.to_string()),
        };
        let trouble = RefCell::default();
        let now = |path: &str| file_at(ctx, commit, path, &trouble);
        let was = |path: &str| file_at(ctx, start, path, &trouble);
        let mut verdict = spec::judge(
            judged,
            &Case {
                changed: &changed,
                specs: &specs_of_commit(ctx, commit, &places)?,
                places: &places,
                max_age: &max_age(&configured, settings.origin),
                today: today(ctx)?,
                groups: &configured.groups,
                proposed: &groups(proposed.map(|proposed| proposed.guardrails), &configured),
                read: &read,
                now: &now,
                was: &was,
                fallback: rule.as_ref().zip(found.as_ref()),
            },
        );
        trouble.into_inner().map_or(Ok(()), Err)?;
        verdict.decide(None, false);
        Ok(verdict)
    };
    or_no(ctx, NAME, judge())
}

/// Returns a file of a commit, or notes why nobody can tell.
fn file_at(ctx: &Context, commit: &str, path: &str, trouble: &RefCell<Option<GitError>>) -> Option<Vec<u8>> {
    ctx.repo.file_at(commit, path).unwrap_or_else(|err| {
        trouble.borrow_mut().get_or_insert(err);
        None
    })
}

fn max_age(configured: &Spec, origin: Origin) -> Limit {
    let (value, origin) = match configured.max_age_days {
        Some(value) => (value, origin),
        None => (MAX_AGE_DAYS, Origin::Default),
    };
    Limit { name: "days".to_owned(), value, origin }
}

/// Returns the groups that a change leads to; those of the base, where nobody can read what it leads to.
fn groups(proposed: Option<Guardrails>, base: &Spec) -> Vec<SpecGroup> {
    match proposed {
        Some(proposed) => proposed.spec.unwrap_or_default().groups,
        None => base.groups.clone(),
    }
}

fn rule(configured: &SpecFallback) -> Rule {
    let usual = || WORDS.iter().map(|word| (*word).to_owned()).collect();
    Rule { words: configured.words.clone().unwrap_or_else(usual), tables: configured.tables.clone() }
}

/// Looks for fallbacks in what `target` adds to the base, and in those of the files that git does not
/// know; who cannot look says why.
fn added(
    ctx: &Context,
    rule: &Rule,
    base: Option<&str>,
    target: Target<'_>,
    changed: &[File],
    places: &Places,
) -> Result<Found, String> {
    let said = |err: GitError| format!("{:#}", anyhow::Error::from(ctx.repo.explain(err)));
    let mut scan = Scan::new(&rule.words, places);
    let mut look = |it: Added<'_>| scan.look(it.path, it.line, it.piece, it.begins, it.ends);
    ctx.repo.added_lines(base, target, &mut look).map_err(said)?;
    for file in changed.iter().filter(|file| file.untracked && places.is_code(&file.path)) {
        match &file.unmeasured {
            Some(why) => return Err(format!("`{}`: {why}", file.path)),
            None => ctx.repo.lines_of(&file.path, &mut look).map_err(said)?,
        }
    }
    Ok(scan.found())
}

fn as_text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}

/// Reads the specs that a commit has directly in their folders.
fn specs_of_commit(ctx: &Context, commit: &str, places: &Places) -> Result<Vec<SpecFile>> {
    let mut specs = Vec::new();
    for folder in places.specs.iter().map(|folder| folder.trim_end_matches('/')) {
        for name in ctx.repo.folder_at(commit, folder)?.into_iter().filter(|name| is_spec(name)) {
            let path = format!("{folder}/{name}");
            let text = match ctx.repo.file_at(commit, &path)? {
                Some(bytes) if bytes.len() as u64 > MAX_BYTES => Err("it is too large".to_owned()),
                Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                None => Err("it is no file".to_owned()),
            };
            specs.push(SpecFile { path, text });
        }
    }
    Ok(specs)
}

fn is_spec(name: &str) -> bool {
    name.ends_with(".md") && !name.eq_ignore_ascii_case("readme.md")
}

/// Returns where code and specs are: as configured, else as usual and as the project looks.
fn places(ctx: &Context, configured: &Spec) -> Places {
    let root = ctx.repo.work_tree();
    places_where(&|file| root.join(file).is_file(), configured)
}

fn places_where(is_file: &dyn Fn(&str) -> bool, configured: &Spec) -> Places {
    let code = configured.code.clone().unwrap_or_else(|| {
        let detected = DETECTED.iter().filter(|(file, _)| is_file(file));
        CODE.iter().copied().chain(detected.map(|(_, place)| *place)).map(str::to_owned).collect()
    });
    let specs = configured.specs.clone();
    let specs = specs.unwrap_or_else(|| SPECS.iter().map(|folder| (*folder).to_owned()).collect());
    Places { code, specs }
}

/// Reads the specs that are directly in their folders, which no link leads to.
fn specs(root: &Beneath, places: &Places) -> Vec<SpecFile> {
    let mut specs = Vec::new();
    for folder in places.specs.iter().map(|folder| folder.trim_end_matches('/')) {
        let names = match root.files_in(Path::new(folder)) {
            Ok(names) => names,
            Err(err) => {
                specs.push(SpecFile { path: format!("{folder}/"), text: Err(why(err)) });
                continue;
            }
        };
        for name in names {
            let shown = name.to_string_lossy().into_owned();
            if is_spec(&shown) {
                let text = match root.read(&Path::new(folder).join(name), MAX_BYTES) {
                    Ok(Some(content)) => Ok(String::from_utf8_lossy(&content.bytes).into_owned()),
                    // It has just gone.
                    Ok(None) => continue,
                    Err(err) => Err(why(err)),
                };
                specs.push(SpecFile { path: format!("{folder}/{shown}"), text });
            }
        }
    }
    specs
}

fn why(err: BeneathError) -> String {
    match err {
        BeneathError::Path(err) => err.source.to_string(),
        BeneathError::Link(_) => "a symbolic link leads there, and none is followed".to_owned(),
        BeneathError::NotA { what, .. } => format!("it is no {what}"),
        BeneathError::TooLarge { limit, .. } => format!("it is larger than {limit} bytes"),
    }
}

fn today(ctx: &Context) -> Result<jiff::civil::Date> {
    let now = ctx.clock.now().to_string();
    Ok(now.get(..10).unwrap_or_default().parse()?)
}

/// A spec that somebody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Relative to the top of the work tree.
    pub path: String,
    pub last_review: String,
    /// The commit that it was read against, in hex; nothing on an unborn branch.
    pub reviewed_commit: Option<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// Notes in a spec that it was read today, against the present commit. A dry run writes nothing.
pub fn accept(ctx: &Context, path: &Path, dry_run: bool) -> Result<Accepted> {
    let shown = path.display().to_string();
    let no_spec = |why: &str, hint: String| Refusal::usage(format!("`{shown}` {why}")).hint(hint);
    let asked = ctx.env.cwd().join(path);
    let is_file = asked.symlink_metadata().is_ok_and(|found| found.is_file());
    let folder = asked.parent().and_then(|folder| folder.canonicalize().ok());
    let (true, Some(name), Some(folder)) = (is_file, asked.file_name(), folder) else {
        return Err(no_spec("is no regular file", "name the file of a spec".to_owned()).into());
    };
    let shown_name = name.to_string_lossy();
    let configured = settings::read(ctx, None, ConfigFrom::WorkTree)?.guardrails.spec.unwrap_or_default();
    let places = places(ctx, &configured);
    let homes = || places.specs.iter().map(|home| home.trim_end_matches('/'));
    let is_home = |home: &&str| ctx.repo.work_tree().join(home).canonicalize().is_ok_and(|it| it == folder);
    let Some(home) = homes().find(is_home).filter(|_| shown_name.ends_with(".md")) else {
        let homes: Vec<_> = homes().map(|home| format!("`{home}`")).collect();
        let hint = format!("specs are `*.md` files directly in {}", homes.join(" or "));
        return Err(no_spec("is no spec", hint).into());
    };
    let root = Beneath::open(ctx.repo.work_tree())?;
    let file = Path::new(home).join(name);
    let Some(content) = root.read(&file, MAX_BYTES)? else {
        return Err(no_spec("is no regular file", "name the file of a spec".to_owned()).into());
    };
    let text = std::str::from_utf8(&content.bytes)
        .map_err(|_| no_spec("is no UTF-8 text", "save it as UTF-8, then accept it again".to_owned()))?;
    let day = today(ctx)?;
    let commit = ctx.repo.head()?.commit;
    let new = spec::stamped(text, day, commit.as_deref());
    if new != text && !dry_run {
        root.replace_all(&[(&file, new.as_bytes(), Some(&content))])?;
    }
    let path = format!("{home}/{shown_name}");
    Ok(Accepted { path, last_review: day.to_string(), reviewed_commit: commit, dry_run })
}
