//! `codex-orchestrator`: the older name of `git-orchestrate`, for scripts that use it.

use std::process::ExitCode;

fn main() -> ExitCode {
    git_orchestrate::cli::main()
}
