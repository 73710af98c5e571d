#!/bin/sh
# For an initramfs without systemd; with systemd the unit has done it by now. ram-deploy ends only
# when the image is in RAM.
[ -e /run/ramforge/deployed ] || /usr/bin/ram-deploy deploy || die "ram-deploy was killed"
