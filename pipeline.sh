#!/usr/bin/env bash
# From an image description to a medium that runs it in RAM: six verbs and pipes.
#
#   pipeline.sh [-o DIR] [--refresh | --lock FILE] [--offline] [options of desc-parse] DESCRIPTION
#
# DIR (default: out) gets NAME.ARCH-VERSION.install.iso, .raw, .packages, .lock.json and manifest.json.
#   --refresh     asks the repositories again now; without it that is done once a day
#   --lock FILE   installs exactly the packages of an earlier run
#   --offline     opens no connection: what is needed must be in the store
# A program of the same name that stands earlier in $PATH takes a stage's place.
# ROOTFS_ASSEMBLE, RAW_IMAGE, INITRD_INJECT, ISO_PACK and RAM_CHECK hold options of those stages:
#   INITRD_INJECT="--base native"   boots without dracut: ram-deploy alone is the initramfs
#   RAM_CHECK=--boot                proves the medium in QEMU
set -euo pipefail
# In braces all of it is read before any of it runs: an update of the checkout may change this file meanwhile.
{
here=$(dirname "$(readlink -f "$0")")
PATH=$PATH:$here/target/release:$here
# The programs end when this one is no more.
export PATH RAMFORGE_PIPELINE=$$

usage() {
    echo "usage: pipeline.sh [-o DIR] [--refresh | --lock FILE] [--offline] [options of desc-parse] DESCRIPTION" >&2
    exit 2
}
command -v ramforge >/dev/null || { echo "pipeline.sh: error: the programs are not built; run: make -C $here build" >&2 && exit 5; }

out=out
help=
arguments=()
packages=()
while [ $# -gt 0 ]; do
    case $1 in
    -o | --output) [ $# -ge 2 ] || usage; out=$2 && shift ;;
    --lock) [ $# -ge 2 ] || usage; packages+=(--lock "$2") && shift ;;
    --refresh | --offline | --lock=*) packages+=("$1") ;;
    -h | --help) help=yes ;;
    *) arguments+=("$1") ;;
    esac
    shift
done
[ -z "$help" ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exec desc-parse --help; }
[ ${#arguments[@]} -gt 0 ] || usage
set -- "${arguments[@]}"

{ mkdir -p "$out" && manifest=$(mktemp "$out/.ramforge-manifest-XXXXXX"); } || {
    echo "pipeline.sh: error: cannot write to $out; name another directory with -o DIR" >&2 && exit 1
}
trap 'rm -f "$manifest"' EXIT
RAMFORGE_RUN=$(ramforge start-run -- "$@")
export RAMFORGE_RUN

# The first stage that failed says why; the ones behind it only got nothing to read.
# shellcheck disable=SC2317,SC2086
stages() {
    set +e
    # Signals are for the programs; this shell stays to hear how they ended.
    trap : INT TERM HUP
    desc-parse "$@" | rootfs-assemble ${ROOTFS_ASSEMBLE-} "${packages[@]}" | raw-image ${RAW_IMAGE-} |
        initrd-inject ${INITRD_INJECT-} | iso-pack ${ISO_PACK-} | ram-check ${RAM_CHECK-} >"$manifest"
    local ended=("${PIPESTATUS[@]}") names=(desc-parse rootfs-assemble raw-image initrd-inject iso-pack ram-check) n stopped=0
    for n in "${!ended[@]}"; do
        [ "${ended[n]}" = 0 ] && continue
        # Stopped by a signal, or because a stage before or behind it failed: then that one says why.
        [ "${ended[n]}" = 130 ] && stopped=130 && continue
        if [ "${ended[n]}" -gt 130 ]; then
            echo "pipeline.sh: error: ${names[n]} was killed by signal $((ended[n] - 128)) (9: is memory short?); run the same again" >&2
        fi
        return "${ended[n]}"
    done
    return $stopped
}

# Ends the programs that a job consists of; one that has no children is a program itself.
# shellcheck disable=SC2317,SC2086
signal() {
    local programs
    programs=$(cat "/proc/$1/task/$1/children" 2>/dev/null) || true
    kill -TERM ${programs:-$1} 2>/dev/null || true
}

# Runs a command so that a signal to this script reaches all of its programs.
signalled=
attend() {
    "$@" &
    local group=$! code=0
    # shellcheck disable=SC2064
    trap "signalled=yes; signal $group" INT TERM HUP
    wait $group || code=$?
    while kill -0 $group 2>/dev/null; do code=0 && wait $group || code=$?; done
    trap - INT TERM HUP
    return $code
}

# A negative verdict (4) keeps what was built: the answer to "does it fit" may be no.
build() {
    local code=0
    attend stages "$@" || code=$?
    if [ $code = 130 ] && [ -z "$signalled" ]; then
        echo "pipeline.sh: error: a stage was interrupted, or ended well and wrote no manifest" >&2
    fi
    if [ $code = 0 ] || [ $code = 4 ]; then
        attend ramforge export --manifest "$manifest" -o "$out" || code=$?
    fi
    return $code
}

code=0
build "$@" || code=$?
# A stage removes what is damaged in the store; only the stage that made it can make it again.
if [ $code = 6 ]; then
    echo "pipeline.sh: the store was damaged; all stages run once more and make again what is missing" >&2
    code=0
    build "$@" || code=$?
fi
# A run that failed has said why: that its end cannot be written down either adds nothing.
[ $code = 0 ] || exec 2>/dev/null
ramforge finish-run $code || true
exit $code
}
