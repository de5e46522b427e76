//! lefthook: commands, jobs and scripts below the names of events.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::proposal::{Found, MESSAGE, Proposed, event};
use crate::pipeline::hooks::Event;
use crate::run::shell;

/// Keys that are no events, and say nothing about what runs.
const SETTINGS: &[&str] = &[
    "assert_lefthook_installed",
    "colors",
    "glob_matcher",
    "install_non_git_hooks",
    "lefthook",
    "min_version",
    "no_auto_install",
    "no_tty",
    "output",
    "skip_lfs",
    "skip_output",
    "source_dir",
    "source_dir_local",
    "$schema",
];

/// What a group, or a hook as a whole, says for all that is in it.
#[derive(Clone, Debug, Default)]
struct Around {
    root: Option<String>,
    globs: Vec<String>,
    exclude: Vec<String>,
    env: BTreeMap<String, String>,
    skips: bool,
}

/// Reads a configuration.
pub(super) fn read(source: &str, document: &Value) -> Found {
    let mut found = Found::default();
    let Some(top) = document.as_object() else { return found };
    let scripts = top.get("source_dir").and_then(Value::as_str).unwrap_or(".lefthook").trim_end_matches('/');
    for (key, value) in top {
        match key.as_str() {
            key if SETTINGS.contains(&key) => {}
            "extends" | "remotes" | "remote" => {
                found.leave(source, key, "other files are not read: run it on them, or copy what they say");
            }
            "rc" => {
                found.leave(source, key, "stages have the environment of who calls git, and no file besides")
            }
            "templates" => found.leave(source, key, "there are no templates: write what they stand for"),
            _ => match event(key) {
                Ok(event) => hook(&mut found, source, event, scripts, value),
                Err(why) => found.leave(source, key, why),
            },
        }
    }
    found
}

fn hook(found: &mut Found, source: &str, event: Event, scripts: &str, value: &Value) {
    let Some(hook) = value.as_object() else { return };
    if hook.get("skip") == Some(&Value::Bool(true)) {
        return found.leave(source, event.as_str(), "it is skipped");
    }
    if hook.contains_key("files") {
        found.leave(source, format!("{event}/files"), "which files there are is not asked of a command");
    }
    let around = Around::default().with(hook);
    for (name, command) in objects(hook, "commands") {
        job(found, source, event, scripts, name, command, &around);
    }
    for (name, script) in objects(hook, "scripts") {
        let mut script = script.clone();
        script.insert("script".to_owned(), Value::String(name.to_owned()));
        job(found, source, event, scripts, name, &script, &around);
    }
    jobs(found, source, event, scripts, hook, &around);
}

fn jobs(
    found: &mut Found,
    source: &str,
    event: Event,
    scripts: &str,
    of: &Map<String, Value>,
    around: &Around,
) {
    let listed = of.get("jobs").and_then(Value::as_array).into_iter().flatten();
    for (at, value) in listed.filter_map(Value::as_object).enumerate() {
        let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
        let script = value.get("script").and_then(Value::as_str).map(str::to_owned);
        let name = name.or(script).unwrap_or_else(|| match value.get("run").and_then(Value::as_str) {
            Some(run) => first_words(run),
            None => format!("{event}-{}", at + 1),
        });
        match value.get("group").and_then(Value::as_object) {
            Some(group) => {
                jobs(found, source, event, scripts, group, &around.clone().with(value).with(group))
            }
            None => job(found, source, event, scripts, &name, value, around),
        }
    }
}

fn job(
    found: &mut Found,
    source: &str,
    event: Event,
    scripts: &str,
    name: &str,
    job: &Map<String, Value>,
    around: &Around,
) {
    let called = format!("{event}/{name}");
    let flag = |key: &str| job.get(key) == Some(&Value::Bool(true));
    let text = |key: &str| job.get(key).and_then(Value::as_str);
    if flag("skip") {
        return found.leave(source, called, "it is skipped");
    }
    if flag("interactive") {
        return found.leave(source, called, "it asks somebody: see stages of kind `manual`");
    }
    if flag("use_stdin") {
        return found.leave(source, called, "it reads what git says to the hook, and stages read nothing");
    }
    let around = around.clone().with(job);
    let mut notes = Vec::new();
    if around.skips {
        notes.push("when it is skipped (`skip`, `only`) is not taken over".to_owned());
    }
    let command = match (text("run"), text("script")) {
        (Some(run), _) => run.to_owned(),
        (None, Some(script)) => {
            let path = shell::word(&format!("{scripts}/{event}/{script}"));
            let runner = text("runner").map(|runner| format!("{runner} ")).unwrap_or_default();
            let path = if runner.is_empty() { format!("./{path}") } else { path };
            let message = if event == Event::CommitMsg { format!(" {MESSAGE}") } else { String::new() };
            format!("{runner}{path}{message}")
        }
        (None, None) => return found.leave(source, called, "it runs nothing"),
    };
    if job.contains_key("files") {
        return found.leave(source, called, "which files it is about is asked of a command");
    }
    let command = match with_files(&command, event, &around, &mut notes) {
        Ok(command) => command,
        Err(why) => return found.leave(source, called, why),
    };
    let fixes = flag("stage_fixed");
    if fixes && event != Event::PreCommit {
        notes.push("what it changes comes back in `pre-commit` only".to_owned());
    }
    found.stages.push(Proposed {
        source: source.to_owned(),
        event,
        id: name.to_owned(),
        command,
        cwd: around.root.clone(),
        env: around.env,
        fixes,
        notes,
    });
}

/// Writes what the templates of a command stand for.
fn with_files(
    command: &str,
    event: Event,
    around: &Around,
    notes: &mut Vec<String>,
) -> Result<String, String> {
    const FILES: [&str; 3] = ["{staged_files}", "{push_files}", "{all_files}"];
    let mut command = command.trim().to_owned();
    if event == Event::CommitMsg {
        for quoted in ["\"{1}\"", "'{1}'", "{1}"] {
            command = command.replace(quoted, MESSAGE);
        }
    }
    let named = FILES.iter().find(|template| command.contains(**template));
    if let Some(template) = named {
        let bare =
            command.replace(&format!("\"{template}\""), template).replace(&format!("'{template}'"), template);
        let Some(before) = bare.strip_suffix(template).map(str::trim_end) else {
            return Err(format!(
                "`{template}` does not stand at its end: write the files, or a command that lists them"
            ));
        };
        let is_plain =
            !before.contains(['|', '&', ';', '<', '>', '\n', '$', '`', '(']) && !before.contains(template);
        if !is_plain {
            return Err(format!("`{template}` stands in more than one command: write a stage for each"));
        }
        let Some(specs) = pathspecs(around) else {
            return Err("its globs have more in braces than is written out: write the files".to_owned());
        };
        let specs = if specs.is_empty() { String::new() } else { format!(" -- {}", specs.join(" ")) };
        command = format!("git ls-files -z{specs} | xargs -0 -r {before}");
        notes.push(
            "runs on all files that fit, not only on those that change: a verdict is about a whole tree"
                .to_owned(),
        );
    } else if !around.globs.is_empty() || !around.exclude.is_empty() {
        notes.push("runs whichever files change, unless it is proven: `inputs` could narrow that".to_owned());
    }
    let opens = command.char_indices().filter(|(_, c)| *c == '{').map(|(at, _)| at);
    for at in opens {
        let word: String =
            command[at + 1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let is_shell = at > 0 && command.as_bytes()[at - 1] == b'$';
        let known =
            matches!(word.as_str(), "files" | "cmd" | "lefthook_job_name") || word.parse::<u8>().is_ok();
        if !is_shell && known && command[at + 1 + word.len()..].starts_with('}') {
            return Err(format!("`{{{word}}}` stands for something that stages are not told"));
        }
    }
    Ok(command)
}

/// Returns the pathspecs, quoted, that stand for globs; nothing if one of them cannot be written out.
fn pathspecs(around: &Around) -> Option<Vec<String>> {
    let all = |globs: &[String]| globs.iter().map(|glob| braces(glob)).collect::<Option<Vec<_>>>();
    let exclude = all(&around.exclude)?.into_iter().flatten().map(|glob| format!(":!{glob}"));
    let globs = all(&around.globs)?.into_iter().flatten().chain(exclude);
    Some(globs.map(|spec| shell::word(&spec)).collect())
}

/// Writes out `{a,b}`, which git does not know, also where one stands in another; nothing if that would be too much.
fn braces(glob: &str) -> Option<Vec<String>> {
    const MOST_GROUPS: usize = 16;
    const MOST: usize = 64;
    let groups = glob.matches('{').count();
    if groups > MOST_GROUPS || (groups > 0 && glob.contains('\\')) {
        return None;
    }
    let mut all = vec![glob.to_owned()];
    // Each round writes out one group of every glob: the first that has no other in it.
    for _ in 0..groups {
        let mut next: Vec<String> = Vec::new();
        for glob in &all {
            let Some((before, inner, after)) = innermost(glob) else { return Some(all) };
            for one in inner.split(',').map(|one| format!("{before}{one}{after}")) {
                if !next.contains(&one) {
                    next.push(one);
                }
                if next.len() > MOST {
                    return None;
                }
            }
        }
        all = next;
    }
    // git takes no empty one.
    all.iter().all(|glob| !glob.is_empty()).then_some(all)
}

/// Returns what is before, in and after the first braces that have no others in them.
fn innermost(glob: &str) -> Option<(&str, &str, &str)> {
    let mut closing = glob.match_indices('}').map(|(at, _)| at);
    closing.find_map(|end| {
        let begin = glob[..end].rfind('{')?;
        Some((&glob[..begin], &glob[begin + 1..end], &glob[end + 1..]))
    })
}

impl Around {
    fn with(mut self, of: &Map<String, Value>) -> Self {
        if let Some(root) = of.get("root").and_then(Value::as_str) {
            let root = root.trim_matches('/').trim_start_matches("./");
            self.root = Some(root.to_owned()).filter(|root| !root.is_empty() && root != ".");
        }
        self.globs.extend(texts(of.get("glob")));
        self.exclude.extend(texts(of.get("exclude")));
        for (name, value) in of.get("env").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.env.insert(name.clone(), value);
        }
        self.skips |= of.contains_key("skip") || of.contains_key("only");
        self
    }
}

fn objects<'a>(of: &'a Map<String, Value>, key: &str) -> Vec<(&'a str, &'a Map<String, Value>)> {
    let inner = of.get(key).and_then(Value::as_object).into_iter().flatten();
    inner.filter_map(|(name, value)| Some((name.as_str(), value.as_object()?))).collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Returns what a command may be called.
pub(super) fn first_words(command: &str) -> String {
    let words = command.split_whitespace().filter(|word| !word.starts_with(['-', '{', '"', '\'']));
    words.take(3).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_written_out_also_in_each_other_and_never_without_end() {
        for (glob, written) in [
            ("*.rs", &["*.rs"][..]),
            ("*.{a,b}", &["*.a", "*.b"]),
            ("*.{a,{b,c}}", &["*.a", "*.b", "*.c"]),
            ("{a,b}/{c,d}", &["a/c", "a/d", "b/c", "b/d"]),
            ("a}{b,c}", &["a}b", "a}c"]),
            ("{a", &["{a"]),
            ("a}", &["a}"]),
        ] {
            let mut seen = braces(glob).unwrap();
            seen.sort();
            assert_eq!(seen, written, "{glob}");
        }
        let many = (0..65).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
        for glob in ["{a}".repeat(60_000), "{".repeat(60_000), format!("{{{many}}}"), "{}".to_owned()] {
            assert_eq!(braces(&glob), None, "{}", &glob[..2]);
        }
        assert_eq!(braces("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"), None);
        assert_eq!(braces(r"\{a,b}"), None, "nobody can tell whether these are braces");
    }
}
