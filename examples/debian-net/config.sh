#!/bin/sh
# Runs once inside the finished system, after the packages and the overlay.
set -eu

# A login on the serial line, whichever console the kernel names last.
systemctl enable serial-getty@ttyS0.service

# Every wired network card asks for an address (root/etc/systemd/network).
systemctl enable systemd-networkd.service
