//! The map in `lib.rs` is true: modules use only those above them, and each dependency has a home.

use std::path::{Path, PathBuf};

/// Returns every source file with its code up to its tests; a comment may point anywhere.
fn sources() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&src).sort_by_file_name().into_iter().map(|entry| entry.expect("src"));
    files
        .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "rs"))
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).expect("UTF-8");
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            let code = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            (entry.path().strip_prefix(&src).expect("below src").to_owned(), code)
        })
        .filter(|(path, _)| !path.iter().any(|part| part == "tests" || part == "tests.rs"))
        .collect()
}

/// Returns the modules that a text names by `crate::…`, also inside `use crate::{…}`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let word = |text: &str| text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
    text.split("crate::").skip(1).flat_map(move |rest| match rest.strip_prefix('{') {
        None => vec![&rest[..word(rest)]],
        Some(list) => list[..list.find('}').unwrap_or(0)]
            .split(',')
            .map(str::trim)
            .map(|item| &item[..word(item)])
            .collect(),
    })
}

#[test]
fn each_module_uses_only_those_above_it() {
    let lib = include_str!("../../src/lib.rs");
    let modules: Vec<_> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |name: &str| modules.iter().position(|module| *module == name);
    let mut upward = Vec::new();
    for (path, text) in sources() {
        let first = path.iter().next().and_then(|part| part.to_str()).expect("UTF-8");
        let Some(here) = place(first.trim_end_matches(".rs")) else { continue };
        let uses = named(&text).filter(|name| place(name).is_some_and(|there| there > here));
        upward.extend(uses.map(|name| format!("{} uses `{name}`", path.display())));
    }
    assert_eq!(upward, [] as [String; 0]);
}

/// Dependencies that may be named in a few places only.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("clap_mangen", &["cli/man.rs"]),
    ("gix", &["git"]),
    // The runtime is made where a run is started; everything async is the runner's.
    ("tokio", &["runner", "ops/start.rs"]),
    ("sha2", &["sys/digest.rs"]),
    ("ssh_key", &["git/sshsig.rs"]),
    ("ring", &["git/sshsig.rs"]),
    ("getrandom", &["sys/digest.rs"]),
    ("flate2", &["sys/gzip.rs", "sys/pack.rs", "sys/pack/format.rs"]),
    ("zstd", &["sys/pack/format.rs"]),
    ("tar", &["sys/archive.rs", "sys/unpack.rs"]),
    ("tempfile", &["sys/fs.rs", "git"]),
    ("jsonc_parser", &["pipeline/config.rs", "pipeline/config_merge.rs"]),
    ("annotate_snippets", &["pipeline/config_error.rs"]),
    ("indicatif", &["render/progress.rs"]),
    ("tabwriter", &["render"]),
    ("pulldown_cmark", &["guardrail/docs/markdown.rs", "guardrail/docs/tables.rs"]),
    ("unicode_properties", &["guardrail/docs/slug.rs"]),
    ("toml", &["guardrail/docs/known.rs", "ops/hooks/migrate.rs"]),
    ("serde_saphyr", &["ops/hooks/migrate.rs"]),
    ("percent_encoding", &["guardrail/docs/paths.rs"]),
    ("anstream", &["render", "cli"]),
    ("ureq", &["net"]),
    ("opentelemetry", &["net/trace.rs"]),
    ("opentelemetry_otlp", &["net/trace.rs"]),
    ("tracing_subscriber", &["cli"]),
];

#[test]
fn each_dependency_has_a_home() {
    let mut strays = Vec::new();
    for (path, text) in sources() {
        for (name, homes) in HOMES {
            let is_named = text.match_indices(&format!("{name}::")).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                before.is_none_or(|c| c != '_' && !c.is_alphanumeric())
            });
            if is_named && !homes.iter().any(|home| path.starts_with(home)) {
                strays.push(format!("{} names `{name}`", path.display()));
            }
        }
    }
    assert_eq!(strays, [] as [String; 0]);
}
