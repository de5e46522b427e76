# Completion of `git orchestrate`, `git-orchestrate` and `codex-orchestrator` for fish.
#
# Keep this file as ~/.config/fish/conf.d/git-orchestrate.fish: the folder of completions is read too late for
# `git orchestrate`. The program itself knows what can follow; this only asks it.

function __git_orchestrate_candidates
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    git-orchestrate complete-words --index (count $typed) -- $typed "$current" 2>/dev/null
end

function __git_orchestrate_candidates_of_git
    set -l typed (commandline -opc)
    set -l at (contains -i -- orchestrate $typed)
    or return
    set -e typed[1..$at]
    set -l current (commandline -ct)
    git-orchestrate complete-words --index (math (count $typed) + 1) -- git-orchestrate $typed "$current" 2>/dev/null
end

# `git orchestrate stream cd NAME` goes there, where somebody types it. A wrapper of git's that is there already stays.
if not functions -q git
    function git --wraps git
        if isatty stdout; and test (count $argv) -le 4; and test "$argv[1..3]" = "orchestrate stream cd"; and not string match -q -- '-*' "$argv[4]"
            set -l there (command git $argv)
            and cd -- $there
        else
            command git $argv
        end
    end
end

complete -c git -f -n '__fish_git_needs_command 2>/dev/null' -a orchestrate -d 'Run pipelines in a worktree and keep evidence of it'
complete -c git -f -n '__fish_git_using_command orchestrate 2>/dev/null' -a '(__git_orchestrate_candidates_of_git)'
complete -c git-orchestrate -f -a '(__git_orchestrate_candidates)'
complete -c codex-orchestrator -f -a '(__git_orchestrate_candidates)'
