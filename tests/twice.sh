#!/usr/bin/env bash
# usage: tests/twice.sh NAME PYTEST-ARGUMENT…
# pytest, and then once more what failed: a fault fails again, a clock that a busy machine tore does not. Said aloud,
# since a test that needs its second try is to be mended. Choosing no test is no failure (ARGS may choose other parts).
set -uo pipefail
name=$1; shift
pytest=(.venv/bin/pytest -rs -o "cache_dir=.pytest_cache/$name" "$@")
"${pytest[@]}"; rc=$?
[ $rc = 5 ] && exit 0
[ $rc = 1 ] || exit $rc
echo "=== $name: what failed runs once more"
"${pytest[@]}" --last-failed --last-failed-no-failures=none; rc=$?
[ $rc = 0 ] && echo "=== $name: PASSED ONLY AT THE SECOND TRY; the first is above"
exit $rc
