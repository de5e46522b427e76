#!/bin/sh
# git-orchestrate: hook @EVENT@, put here by `git orchestrate hooks install`; `git orchestrate hooks uninstall`
# takes it away. A hook that was here before stands beside it, and runs first.
program=@PROGRAM@
[ -x "$program" ] || program=$(command -v git-orchestrate) || {
	echo "hook @EVENT@: git-orchestrate is not there any more; install it, or remove $0" >&2
	exit 1
}
before=@BEFORE@
if [ -x "$before" ] && [ -z "${GIT_ORCHESTRATE_PROBE-}" ]; then
	"$before" "$@" || exit
fi
exec "$program" hook @EVENT@@FLAGS@ "$@"
