# Completion of `git orchestrate`, `git-orchestrate` and `codex-orchestrator` for fish.
#
# Keep this file as ~/.config/fish/completions/git-orchestrate.fish: fish's completion of git looks there for
# commands of this name. The program itself knows what can follow; this only asks it.

function __git_orchestrate_candidates
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    git-orchestrate complete-words --index (count $typed) -- $typed "$current" 2>/dev/null
end

complete -c git-orchestrate -f -a '(__git_orchestrate_candidates)'
complete -c codex-orchestrator -f -a '(__git_orchestrate_candidates)'
