#!/usr/bin/env bash
# From an image description to a medium that runs it in RAM: six verbs and pipes.
#
#   pipeline.sh [-o DIR] [options of desc-parse] DESCRIPTION
#
# DIR (default: out) gets NAME.ARCH-VERSION.install.iso, .raw, .packages and manifest.json.
# A program of the same name that stands earlier in $PATH takes a stage's place.
# RAM_CHECK holds options of ram-check: RAM_CHECK=--boot proves the medium in QEMU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:$here/target/release:$here
export PATH RAMFORGE_PIPELINE=1

out=out
case ${1-} in
-o) out=${2:?pipeline.sh: -o needs a directory} && shift 2 ;;
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exec desc-parse --help ;;
esac
[ $# -gt 0 ] || { echo "usage: pipeline.sh [-o DIR] [options of desc-parse] DESCRIPTION" >&2 && exit 2; }
command -v ramforge >/dev/null || { echo "pipeline.sh: error: the programs are not built; run: make build" >&2 && exit 5; }

RAMFORGE_RUN=$(ramforge start-run -- "$@")
export RAMFORGE_RUN
mkdir -p "$out"

# The first stage that failed says why; the ones behind it only got nothing to read.
stages() {
    set +e
    # shellcheck disable=SC2086
    desc-parse "$@" | rootfs-assemble | raw-image | initrd-inject | iso-pack | ram-check ${RAM_CHECK-} >"$out/.manifest.json"
    for status in "${PIPESTATUS[@]}"; do [ "$status" = 0 ] || return "$status"; done
}

finish() {
    rm -f "$out/.manifest.json"
    ramforge finish-run "$1" || true
    exit "$1"
}

stages "$@" &
group=$!
# shellcheck disable=SC2046
trap 'kill -TERM $(cat /proc/$group/task/$group/children) 2>/dev/null || true' INT TERM HUP
code=0
wait $group || code=$?
while kill -0 $group 2>/dev/null; do code=0 && wait $group || code=$?; done
trap - INT TERM HUP

# A negative verdict (4) keeps what was built: the answer to "does it fit" may be no.
[ $code = 0 ] || [ $code = 4 ] || finish $code
ramforge export --manifest "$out/.manifest.json" -o "$out" || finish $?
finish $code
