#!/bin/sh
# git-orchestrate: chain @EVENT@, put here by `git orchestrate hooks install --global`, and taken away by `uninstall`: while
# `core.hooksPath` is set for all repositories, git looks for hooks in none of them.
own=@BEFORE@
[ -x "$own" ] || exit 0
exec "$own" "$@"
