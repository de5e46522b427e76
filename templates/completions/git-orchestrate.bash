# Completion of `git orchestrate`, `git-orchestrate` and `codex-orchestrator` for bash.
#
# Either source this file from ~/.bashrc, or keep it as
# ~/.local/share/bash-completion/completions/git-orchestrate. The program itself knows what can follow; this only
# asks it.

# Turns the lines of the program into COMPREPLY. $1 is the word at the cursor.
__git_orchestrate_reply ()
{
	local cur=$1 line value before=

	# readline replaces only what follows the last character that breaks words.
	if [[ $cur == *[=:]* ]]; then
		before=${cur%"${cur##*[=:]}"}
		if [[ $COMP_WORDBREAKS != *"${before: -1}"* ]]; then
			before=
		fi
	fi
	COMPREPLY=()
	while IFS= read -r line; do
		value=${line%%$'\t'*}
		value=${value#"$before"}
		if [[ -n $value ]]; then
			printf -v value %q "$value"
			COMPREPLY+=("$value")
		fi
	done
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]]; then
		compopt -o nospace 2>/dev/null
	elif [[ ${#COMPREPLY[@]} -gt 0 ]]; then
		compopt +o nospace 2>/dev/null
	fi
	return 0
}

# git's own completion calls this, with `words`, `cword` and `cur`.
_git_orchestrate ()
{
	local at=${__git_cmd_idx-1}

	__git_orchestrate_reply "$cur" < <(
		git ${__git_C_args[@]+"${__git_C_args[@]}"} ${__git_dir:+"--git-dir=$__git_dir"} \
			orchestrate complete-words --index $((cword - at)) -- \
			git-orchestrate "${words[@]:at + 1}" 2>/dev/null
	)
}

# The program under one of its own names.
__git_orchestrate_program ()
{
	local -a typed=()
	local at=0 i word glue=

	# What bash has split at `=` and `:` is put together again.
	for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $i -gt 1 && ( -n $glue || $word =~ ^[=:]+$ ) ]]; then
			typed[${#typed[@]} - 1]+=$word
		else
			typed+=("$word")
		fi
		glue=
		if [[ $word =~ ^[=:]+$ ]]; then
			glue=yes
		fi
		if [[ $i -eq $COMP_CWORD ]]; then
			at=$((${#typed[@]} - 1))
		fi
	done
	__git_orchestrate_reply "${typed[at]}" < <(
		"${1/#\~\//$HOME/}" complete-words --index "$at" -- "${typed[@]}" 2>/dev/null
	)
}

# `git orchestrate stream cd NAME` goes there, where somebody types it. A wrapper of git's that is there already stays.
if ! declare -F git >/dev/null && ! alias git >/dev/null 2>&1; then
	git ()
	{
		if [[ -t 1 && $# -le 4 && "${1-} ${2-} ${3-}" == "orchestrate stream cd" && ${4-} != -* ]]; then
			local there
			there=$(command git "$@") && cd -- "$there"
		else
			command git "$@"
		fi
	}
fi

complete -o bashdefault -F __git_orchestrate_program git-orchestrate codex-orchestrator
