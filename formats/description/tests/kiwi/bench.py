#!/usr/bin/env python3
"""Times desc-parse on a description of 2,000 lines, start-up included, beside KIWI's own validation.

    bench.py [--desc-parse PROGRAM] [--lines N] [--runs N]

KIWI_PYTHON names a Python that has the kiwi package; without it desc-parse is measured alone. Nothing is
judged: a bench only prints.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

HEAD = '''<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.5" name="long">
<description type="system"><author>A</author><contact>C</contact><specification>S</specification></description>
<profiles>
<profile name="p0" description="d" import="true"/>
<profile name="p1" description="d"><requires profile="p0"/></profile>
</profiles>
<preferences>
<version>1.0.0</version>
<packagemanager>apt</packagemanager>
<type image="oem" filesystem="ext4" installiso="true" kernelcmdline="rd.kiwi.ramdisk ramdisk_size=2048000 quiet">
<bootloader name="grub2" timeout="1"/>
</type>
</preferences>
<users><user name="root" password="$6$a$b"/></users>
<repository><source path="http://deb.example.org/debian"/></repository>
<packages type="image">
<package name="linux-image-amd64"/>
<package name="systemd-sysv"/>
</packages>
'''
VALIDATE = '''
import logging, sys
logging.getLogger('kiwi').setLevel(logging.CRITICAL)
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState
XMLState(XMLDescription(sys.argv[1]).load(), [], None)
'''


def description(lines):
    """Packages under conditions, in sections of fifty."""
    out, number = HEAD.splitlines(), 0
    while len(out) < lines - 1:
        profiles = ['', ' profiles="p0"', ' profiles="p1"'][len(out) // 52 % 3]
        out.append(f'<packages type="image"{profiles}>')
        while len(out) < lines - 2 and (len(out) - 1) % 52:
            machine = ' arch="x86_64"' if number % 7 == 0 else ''
            out.append(f'    <package name="package-{number}"{machine}/>')
            number += 1
        out.append('</packages>')
    return '\n'.join([*out, '</image>']) + '\n'


def run(command):
    """Wall seconds, processor seconds and peak memory in KiB of one process."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f'{command[0]}: exit status {os.waitstatus_to_exitcode(status)}')
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def measure(name, command, runs):
    run(command)
    seen = [run(command) for _ in range(runs)]
    wall, processor, memory = ([one[n] for one in seen] for n in range(3))
    print(f'| {name} | {1000 * statistics.median(wall):.1f} ms | {1000 * min(wall):.1f} ms '
          f'| {1000 * statistics.median(processor):.1f} ms | {max(memory) / 1024:.1f} MiB |')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--desc-parse', default='target/release/desc-parse')
    parser.add_argument('--lines', type=int, default=2000)
    parser.add_argument('--runs', type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ['RAMFORGE_STORE'] = scratch + '/store'
        path = pathlib.Path(scratch, 'long.kiwi')
        path.write_text(description(asked.lines))
        print(f'\nA description of {len(path.read_text().splitlines())} lines, start-up included:\n')
        print('| program | median | least | processor time | peak memory |\n|---|---:|---:|---:|---:|')
        measure('desc-parse', [asked.desc_parse, '--target-arch', 'x86_64', str(path)], asked.runs)
        python = os.environ.get('KIWI_PYTHON')
        if python:
            measure("KIWI's validation", [python, '-c', VALIDATE, str(path)], max(3, asked.runs // 4))


if __name__ == '__main__':
    main()
