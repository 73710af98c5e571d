#!/usr/bin/env bash
# Installs what is missing to build and run Ramforge: says what, then does it.
#
#   tools/setup.sh [build|test]      build: what `make iso` needs; test: also the judges of `make test`
#
# Debian 12 or newer, Ubuntu. Uses sudo only where the user is not root. Rust comes from rustup or the
# distribution and is not touched here.
set -euo pipefail

declare -A package=(
    [cc]=gcc [ld]=binutils [apt-get]=apt [gpgv]=gpgv [newuidmap]=uidmap
    [grub-mkimage]=grub-common [qemu-system-x86_64]=qemu-system-x86 [zstd]=zstd
)
files=(/usr/lib/grub/i386-pc/moddep.lst:grub-pc-bin /usr/lib/grub/x86_64-efi/moddep.lst:grub-efi-amd64-bin
    /usr/share/OVMF/OVMF_CODE_4M.fd:ovmf)
if [ "${1-build}" = test ]; then
    package+=([xorriso]=xorriso [sgdisk]=gdisk [e2fsck]=e2fsprogs [debugfs]=e2fsprogs [fsck.vfat]=dosfstools [fsck.erofs]=erofs-utils
        [mkfs.exfat]=exfatprogs [mtype]=mtools [cpio]=cpio [jq]=jq [gpg]=gnupg [xz]=xz-utils [lsinitrd]=dracut-core [python3]=python3
        [dpkg-deb]=dpkg [apt-ftparchive]=apt-utils [unshare]=util-linux [openssl]=openssl [strace]=strace
        [shellcheck]=shellcheck [nginx]=nginx-light [tar]=tar)
    files+=(/usr/lib/ipxe/qemu/pxe-virtio.rom:ipxe-qemu)
fi

missing=()
PATH=$PATH:/usr/sbin:/sbin
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
for pair in "${files[@]}"; do
    [ -e "${pair%%:*}" ] || missing+=("${pair##*:}")
done

command -v cargo >/dev/null || {
    echo "setup: error: cargo is not in PATH; install Rust 1.89 or newer (https://rustup.rs, or your distribution's package)" >&2
    exit 5
}
target=x86_64-unknown-linux-gnu
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || {
    echo "setup: error: this Rust toolchain cannot build for $target; run: rustup target add $target" >&2
    exit 5
}

if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup: error: packages are missing and sudo is not there; as root: apt-get install ${missing[*]}" >&2
            exit 5
        }
        sudo=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# An ordinary user builds in a user namespace, which takes 65,536 ids of its own: the next ones that are free.
user=$(id -un)
if [ "$(id -u)" != 0 ] && ! { grep -q "^$user:" /etc/subuid && grep -q "^$user:" /etc/subgid; }; then
    first=$(awk -F: '$2 + $3 > end { end = $2 + $3 } END { print (end > 100000 ? end : 100000) }' /etc/subuid /etc/subgid)
    range=$first-$((first + 65535))
    give="usermod --add-subuids $range --add-subgids $range $user"
    command -v sudo >/dev/null || {
        echo "setup: error: $user has no subordinate ids and sudo is not there; as root: $give" >&2
        exit 5
    }
    echo "setup: giving $user subordinate ids: $give"
    # shellcheck disable=SC2086
    sudo $give
fi
