# Shared functions of the scripts. To be sourced, after `set -euo pipefail`.
# shellcheck shell=bash

# shellcheck disable=SC2034  # The scripts that source this file use it.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
began=$SECONDS
children=()

# The pages that scripts open are on this machine.
export GREENROOM_EGRESS__ALLOW=127.0.0.0/8,::1,localhost
scratch=""

# say <text…>: a line of progress, with the time since the script began.
say() {
    printf '%4ds  %s\n' "$((SECONDS - began))" "$*" >&2
}

# fail <text…>: prints an error, and ends the script.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# as_root <command…>: runs a command as root, with sudo for other users.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo -- "$@"
    else
        fail "this needs root: run it as root, or install sudo (wanted: $*)"
    fi
}

# step <text> <command…>: runs a command, and prints its output only if it fails.
step() {
    local text=$1 log status=0
    shift
    log=$(mktemp)
    say "$text"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        fail "$text: exit status $status from: $*"
    fi
    rm -f "$log"
}

# scratch_directory: sets `scratch` to a directory that is removed at the end of the script.
scratch_directory() {
    [ -n "$scratch" ] || scratch=$(mktemp -d)
}

# start <log> <command…>: runs a command in the background and sets `child` to its process, which is
# ended with the script at the latest.
start() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    children+=("$child")
}

# finish <process> [<seconds>]: ends a process of `start`, with SIGTERM and then SIGKILL, and waits for
# it. Only children are signalled: the number of a child is not reused until it is waited for.
finish() {
    local process=$1 patience=${2:-15} deadline
    deadline=$((SECONDS + patience))
    kill -TERM "$process" 2>/dev/null || true
    while kill -0 "$process" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "process $process did not end in $patience s, and is killed"
            kill -KILL "$process" 2>/dev/null || true
            break
        fi
        # `kill -0` also succeeds for a zombie.
        [ "$(ps -o stat= -p "$process" 2>/dev/null | cut -c1)" != Z ] || break
        sleep 0.1
    done
    wait "$process" 2>/dev/null || true
    local left=() one
    for one in ${children[@]+"${children[@]}"}; do
        [ "$one" = "$process" ] || left+=("$one")
    done
    children=(${left[@]+"${left[@]}"})
}

# clean_up: for `trap clean_up EXIT`. Ends the processes, the latest first.
clean_up() {
    local status=$? index
    trap - EXIT INT TERM
    for ((index = ${#children[@]} - 1; index >= 0; index--)); do
        finish "${children[index]}"
    done
    [ -z "$scratch" ] || rm -rf "$scratch"
    exit "$status"
}

# wait_for <seconds> <text> <command…>: waits until the command succeeds.
wait_for() {
    local patience=$1 text=$2 deadline
    shift 2
    deadline=$((SECONDS + patience))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$text did not happen within $patience s"
        sleep 0.1
    done
}

# target_directory: prints the target directory of cargo.
target_directory() {
    cargo metadata --format-version 1 --no-deps --offline |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# find_greenroom [PROFILE]: sets `greenroom` to the program that GREENROOM_BINARY names, or that cargo
# builds now with this profile, `dev` by default.
find_greenroom() {
    local profile=${1:-dev} directory
    greenroom=${GREENROOM_BINARY:-}
    # The variable is not a setting, and the server would warn about it.
    export -n GREENROOM_BINARY
    if [ -n "$greenroom" ]; then
        say "the program is GREENROOM_BINARY: $greenroom"
        return 0
    fi
    say "building with the profile $profile"
    cargo build --locked --quiet --bin greenroom --profile "$profile"
    directory=$profile
    [ "$profile" != dev ] || directory=debug
    greenroom=$(target_directory)/$directory/greenroom
}
