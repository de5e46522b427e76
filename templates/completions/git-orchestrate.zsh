#compdef git-orchestrate codex-orchestrator
#description run pipelines in a worktree and keep evidence of it
#
# Completion of `git orchestrate`, `git-orchestrate` and `codex-orchestrator` for zsh.
#
# Keep this file as `_git-orchestrate` in a folder of $fpath. The program itself knows what can follow; this only
# asks it. zsh's completion of git finds it by its name.

_git-orchestrate () {
	local -a found closed open
	local line value
	found=("${(@f)$(git-orchestrate complete-words --index $((CURRENT - 1)) -- "${(@Q)words}" 2>/dev/null)}")
	for line in $found; do
		value=${line%%$'\t'*}
		[[ -n $value ]] || continue
		if [[ $line == *$'\t'* ]]; then
			line=${value//:/\\:}:${line#*$'\t'}
		else
			line=${value//:/\\:}
		fi
		if [[ $value == *[/=] ]]; then
			open+=("$line")
		else
			closed+=("$line")
		fi
	done
	local ret=1
	(( $#closed )) && _describe -V -t candidates 'git orchestrate' closed && ret=0
	(( $#open )) && _describe -V -t open-candidates 'git orchestrate' open -S '' && ret=0
	return ret
}

# `git orchestrate stream cd NAME` goes there, where somebody types it. A wrapper of git's that is there already stays.
if (( ! $+functions[git] && ! $+aliases[git] )); then
	function git {
		if [[ -t 1 && $# -le 4 && "$1 $2 $3" == "orchestrate stream cd" && $4 != -* ]]; then
			local there
			there=$(command git "$@") && cd -- "$there"
		else
			command git "$@"
		fi
	}
fi

# The first call comes through the name of the file; sourced, it has to be declared.
if [[ $funcstack[1] == _git-orchestrate ]]; then
	_git-orchestrate "$@"
elif (( $+functions[compdef] )); then
	compdef _git-orchestrate git-orchestrate codex-orchestrator
fi
