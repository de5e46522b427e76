//! `git orchestrate man`: the manual pages, which `git help orchestrate` and `git orchestrate --help` open.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory, ValueHint};

use super::failure::Failure;
use crate::ops::{Kind, Refusal};
use crate::render::printer;
use crate::sys::env::Env;
use crate::sys::fs::{self, Durability};

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command whose page to print; by default the page of the program
    #[arg(value_name = "COMMAND", conflicts_with_all = ["out", "install"])]
    request: Option<String>,
    /// Write all pages into this folder; `-` prints the page of the program
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "install")]
    out: Option<PathBuf>,
    /// Write all pages where `man` finds them: below DIR, or where your `man` looks in your home
    #[arg(long, value_name = "DIR", num_args = 0..=1, value_hint = ValueHint::DirPath)]
    install: Option<Option<PathBuf>>,
}

pub fn run(env: &Env, args: ManArgs) -> Result<ExitCode, Failure> {
    let ManArgs { request, out, install } = args;
    let pages = pages()?;
    if let Some(install) = install {
        let folder = match install {
            Some(folder) => env.cwd().join(folder),
            None => home_of_pages(env)?,
        };
        let section = folder.join("man1");
        write(&section, &pages)?;
        say(&format!("{} pages in {}", pages.len(), section.display()))?;
        if !is_searched(env, &folder) {
            say(&format!(
                "`man` does not look there yet. Add to your shell's profile:\n  export MANPATH=\"{}:$MANPATH\"",
                folder.display()
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = out.filter(|folder| folder != Path::new("-")) {
        let folder = env.cwd().join(folder);
        write(&folder, &pages)?;
        say(&format!("{} pages in {}", pages.len(), folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = match request {
        Some(request) => format!("git-orchestrate-{request}.1"),
        None => "git-orchestrate.1".to_owned(),
    };
    let Some((_, page)) = pages.iter().find(|(page, _)| *page == name) else {
        let known: Vec<_> = pages.iter().filter_map(|(page, _)| request_of(page)).collect();
        return Err(Refusal::new(Kind::Usage, format!("there is no page `{}`", name.escape_debug()))
            .hint(format!("there is one of each: {}", known.join(", ")))
            .into());
    };
    printer::document(page)?;
    if std::io::stdout().is_terminal() {
        eprintln!(
            "hint: `git-orchestrate man | man -l -` shows it, `git-orchestrate man --install` installs it"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn request_of(page: &str) -> Option<&str> {
    page.strip_prefix("git-orchestrate-")?.strip_suffix(".1")
}

fn say(text: &str) -> std::io::Result<()> {
    printer::document(format!("{text}\n"))
}

/// Returns the name and the text of each page: one of the program, one of each request.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    // Whatever name the program was called by, its pages are those of the git command.
    let mut command = super::Cli::command()
        .name("git-orchestrate")
        .bin_name("git orchestrate")
        .display_name("git-orchestrate")
        .disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(command.clone())
        .manual("git orchestrate")
        .source(concat!("git-orchestrate ", env!("CARGO_PKG_VERSION")))
        .date("");
    let mut text = Vec::new();
    man.render(&mut text)?;
    pages.push((man.get_filename(), text));
    command
        .get_subcommands()
        .filter(|request| !request.is_hide_set())
        .try_for_each(|request| collect(request, pages))
}

fn write(folder: &Path, pages: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for (name, text) in pages {
        fs::write_atomically(&folder.join(name), text, Durability::Process)?;
    }
    Ok(())
}

/// Returns the folder of manual pages in the user's home: `$XDG_DATA_HOME/man` if `man` looks there, else the one
/// that belongs to a folder in `PATH`, as `~/.cargo/share/man` to `~/.cargo/bin`.
fn home_of_pages(env: &Env) -> Result<PathBuf, Failure> {
    let home = env.path("HOME").filter(|home| home.is_absolute());
    let data = env.path("XDG_DATA_HOME").filter(|data| data.is_absolute());
    let data = data.or_else(|| Some(home.as_ref()?.join(".local/share"))).ok_or_else(|| {
        Refusal::new(Kind::Usage, "neither XDG_DATA_HOME nor HOME says where to install")
            .hint("name the folder: `git-orchestrate man --install DIR`")
    })?;
    let man = data.join("man");
    if is_searched(env, &man) {
        return Ok(man);
    }
    let path = env.path("PATH").unwrap_or_default();
    let beside = std::env::split_paths(&path)
        .filter(|folder| home.as_ref().is_some_and(|home| folder.starts_with(home)))
        .filter(|folder| folder.join("git-orchestrate").is_file())
        .find_map(|folder| Some(folder.parent()?.join("share/man")));
    // A MANPATH takes the place of what `man` finds by PATH.
    Ok(beside.filter(|beside| is_searched(env, beside)).unwrap_or(man))
}

/// Whether `man` looks into a folder: it is in `MANPATH`, or belongs to a folder of `PATH`.
fn is_searched(env: &Env, man: &Path) -> bool {
    if let Some(listed) = env.path("MANPATH") {
        let listed: Vec<_> = std::env::split_paths(&listed).collect();
        if listed.iter().any(|folder| folder == man) {
            return true;
        }
        // An empty entry stands for what `man` would do without the variable.
        if !listed.iter().any(|folder| folder.as_os_str().is_empty()) {
            return false;
        }
    }
    let path = env.path("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        let beside = folder.parent().map(|parent| parent.join("share/man"));
        beside.as_deref() == Some(man) || folder.join("share/man") == man
    })
}
