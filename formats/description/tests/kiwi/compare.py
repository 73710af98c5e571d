#!/usr/bin/env python3
"""Compares what KIWI's own API resolves with what desc-parse resolves.

    compare.py [--desc-parse PROGRAM] [--count N] [--seed S]     generated descriptions
    compare.py [--desc-parse PROGRAM] [OPTIONS] DESCRIPTION...   given ones, each with every type and profile

Needs the kiwi package of the Python registry (pip install kiwi), and desc-parse with its example `draft` beside it
(cargo build -p desc-parse; cargo build -p description --example draft). Exit code 0: no difference. What desc-parse
refuses must either be refused by KIWI too, or each error must say that Ramforge does not support what is asked for;
then everything else in it is compared all the same, by the draft. Anything else is printed and counted.
"""

import argparse
import functools
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

from lxml import etree, isoschematron

import kiwi.defaults
from kiwi.tasks.base import CliTask
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from generate import TABLE, Generator  # noqa: E402

MACHINE = os.environ.get('MACHINE', 'x86_64')
# Codes that say "Ramforge does not do this", while KIWI does; and some that KIWI tells later than here: it looks
# for a version (R0204) before it builds, and useradd, apt, the tz database and mkfs find the others.
UNSUPPORTED = {
    'R0204', 'R0231', 'R0232', 'R0233', 'R0235', 'R0236',
    'R0234',
    'R0205', 'R0206', 'R0207', 'R0208', 'R0209', 'R0210', 'R0211', 'R0220', 'R0221', 'R0222', 'R0223',
    'R0224', 'R0226', 'R0301', 'R0302', 'R0303', 'R0304', 'R0305', 'R0306', 'R0008',
}


def quicken():
    """KIWI compiles its schema for each description; once is enough here."""
    logging.getLogger('kiwi').setLevel(logging.CRITICAL)
    kiwi.defaults.PLATFORM_MACHINE = MACHINE
    relaxng, schematron = etree.RelaxNG, isoschematron.Schematron
    once = functools.lru_cache(None)
    make_relaxng = once(lambda: relaxng(etree.parse(kiwi.defaults.Defaults.get_schema_file())))
    make_schematron = once(
        lambda: schematron(etree.parse(kiwi.defaults.Defaults.get_schema_file()), store_report=True)
    )
    etree.RelaxNG = lambda tree: make_relaxng()
    isoschematron.Schematron = lambda tree, store_report: make_schematron()
    # Without jing the reason of a refusal is not looked for, which is all that is left out.
    XMLDescription._get_relaxng_validation_details = staticmethod(lambda *a: None)


def text(value):
    return value[0] if isinstance(value, list) and value else value or None


def override(state, options):
    """What KIWI's `system prepare` does with its options, in its order."""
    cli = CliTask.__new__(CliTask)
    for name, value in options:
        match name:
            case '--ignore-repos':
                state.delete_repository_sections()
            case '--ignore-repos-used-for-build':
                state.delete_repository_sections_used_for_build()
            case '--set-repo' | '--add-repo':
                parameters = cli.eleventuple_token(value)
                parameters[6] = parameters[6] or []
                (state.set_repository if name == '--set-repo' else state.add_repository)(*parameters)
            case '--set-type-attr':
                attribute, text = value.split('=', 1)
                getattr(state.build_type, f'set_{attribute}')(text)


def by_kiwi(path, profiles, image_type, options=()):
    """What KIWI resolves, in the words of the plan; None where KIWI refuses."""
    try:
        xml = XMLDescription(str(path)).load()
        xml.description_dir = str(path.parent)
        state = XMLState(xml, profiles, image_type)
        override(state, options)
    except Exception as refusal:  # KIWI raises whatever it raises
        return None, f'{type(refusal).__name__}: {refusal}'
    sections = state.get_preferences_sections()
    first = lambda name: next((text(v) for s in sections if (v := getattr(s, 'get_' + name)())), None)
    build = state.build_type
    size = state.get_build_type_size(include_unpartitioned=True)
    loader = state.get_build_type_bootloader_section()
    bootstrap = set(state.get_bootstrap_packages())
    if bootstrap and state.get_system_packages():
        # KIWI adds it by itself, by the name of its package.
        manager = state.get_package_manager()
        bootstrap.discard({'dnf4': 'dnf', 'apk': 'apk-tools'}.get(manager, manager))
    resolved = {
        'name': xml.get_name(),
        'version': plain(state.get_image_version()),
        'profiles': list(dict.fromkeys(state.profiles)),
        'locale': first('locale'),
        'keytable': first('keytable'),
        'timezone': plain(first('timezone')),
        'package_manager': state.get_package_manager(),
        'packages.image': sorted(state.get_system_packages()),
        'packages.bootstrap': sorted(bootstrap),
        'packages.delete': removed(state, True),
        'packages.uninstall': removed(state, False),
        'type.image': build.get_image(),
        'type.filesystem': build.get_filesystem(),
        'type.firmware': build.get_firmware(),
        'type.installiso': build.get_installiso() in (True, 'true') or bool(build.get_installstick()),
        'type.installpxe': bool(build.get_installpxe()),
        'type.installboot': build.get_installboot(),
        'disk.root_label': build.get_rootfs_label() or 'ROOT',
        'disk.size': (size.mbytes, bool(size.additive)) if size else None,
        'disk.resize': bool(state.get_oemconfig_oem_resize()),
        'bootloader.timeout': int(loader.get_timeout()) if loader and loader.get_timeout() is not None else 10,
        'kernelcmdline': build.get_kernelcmdline() or '',
        'repositories': [repository(r) for r in state.get_repository_sections()],
        'users': [user(state, u) for u in state.get_users()],
        'type.volid': build.get_volid() or 'INSTALL',
        'disk.efi_mib': int(build.get_efipartsize() or 20),
        'oem.unattended_id': install_device(build) or oem(state, 'oem-unattended-id'),
        'bootloader.title': oem(state, 'oem-boot-title') or xml.get_displayname() or xml.get_name(),
        'bootloader.serial_line': loader and loader.get_serial_line() or None,
        'bootloader.terminals': terminals(loader),
        'archives': archives(state),
        'files': files(state),
        **carried(xml, sections, build, loader),
    }
    for name, value in options:
        kind = {'--add-package': 'image', '--add-bootstrap-package': 'bootstrap', '--delete-package': 'uninstall'}.get(name)
        if kind:
            resolved[f'packages.{kind}'] = sorted({*resolved[f'packages.{kind}'], value})
    return resolved, None


def archives(state):
    """Archives of the bootstrap, then the others, each with its directory."""
    found = []
    for names, targets in (
        (state.get_bootstrap_archives(), state.get_bootstrap_archives_target_dirs()),
        (state.get_system_archives(), state.get_system_archives_target_dirs()),
    ):
        found += [[inside(n), (targets[n] or '').strip('/')] for n in names if not leads_outside(n)]
    return found


def files(state):
    """Single files. KIWI takes those of other machines too; desc-parse leaves them out, and says so (R0245)."""
    sections = state.get_packages_sections(['bootstrap', 'image', state.get_build_type_name()])
    found = (f for section in sections for f in section.get_file() or [])
    names = (f.get_name() for f in found if not f.get_arch() or MACHINE in f.get_arch().split(','))
    return sorted({inside(name) for name in names if not leads_outside(name)})


def leads_outside(name):
    """What desc-parse refuses whatever it is: a description reads nothing but itself."""
    return name.strip().startswith('/') or '..' in name.split('/')


def inside(name):
    """A name relative to the description."""
    return os.path.normpath(re.sub('^(this|file)://', '', name.strip())).lstrip('/')


def install_device(build):
    """The word of the kernel command line that counts before the element, at KIWI's boot too."""
    words = (build.get_kernelcmdline() or '').split()
    return next((w.split('=', 1)[1] for w in words if w.startswith('rd.kiwi.oem.installdevice=')), None)


def terminals(loader):
    """GRUB's terminals of both directions, none apart."""
    words = f'{loader.get_output_console() or ""} {loader.get_input_console() or ""}'.split() if loader else []
    return sorted({w for w in words if w in ('console', 'serial', 'gfxterm')})


def plain(value):
    """A value as XML has it; None where it says nothing."""
    value = text(value)
    if value is None or value is False:
        return None
    return {True: 'true'}.get(value, str(value).strip()) if isinstance(value, bool) else str(value).strip() or None


def getter(thing, name):
    """KIWI's generated getters end in an underscore where the name is a word of Python."""
    name = name.replace('-', '_')
    return (getattr(thing, f'get_{name}', None) or getattr(thing, f'get_{name}_'))()


def oem(state, name):
    config = state.get_build_type_oemconfig_section()
    return plain(getter(config, name)) if config else None


def of_table(element, what, does):
    return [k for k, rule in TABLE[element]['properties'].items() if k.startswith(what) and remarks(rule)['does'] in does]


def remarks(rule):
    return rule.get('x-ramforge') or TABLE[rule['items']['$ref'].rsplit('/', 1)[1]]['x-ramforge']


def carried(xml, sections, build, loader):
    """What stands in the plan as it was written: attributes of <type>, elements of <oemconfig>, the rest."""
    found = {}
    for name in of_table('type', '@', ('carried', 'ignored')):
        if not remarks(TABLE['type']['properties'][name]).get('until'):
            found[f'type.attributes.{name[1:]}'] = plain(getter(build, name[1:]))
    config = build.get_oemconfig()
    for name in of_table('oemconfig', 'oem-', ('carried', 'ignored')):
        if not remarks(TABLE['oemconfig']['properties'][name]).get('until'):
            found[f'oem.elements.{name}'] = plain(getter(config[0], name)) if config else None
    licences = [licence for s in sections for licence in s.get_showlicense()]
    found['carried.preferences/showlicense'] = '\n'.join(licence.strip() for licence in licences) or None
    found['carried.image/id'] = plain(xml.get_id())
    found['carried.bootloader/timeout_style'] = plain(loader.get_timeout_style()) if loader else None
    return found


def removed(state, force):
    """KIWI forgets to strip these names, while it strips those of installed packages."""
    return sorted({name.strip() for name in state.get_to_become_deleted_packages(force=force)})


def repository(r):
    return {
        'uri': re.sub('^/', 'dir:///', r.get_source().get_path()),
        'alias': r.get_alias(),
        'priority': r.get_priority() or 0,
        'distribution': r.get_distribution(),
        'components': ' '.join(r.get_components().split()) if r.get_components() else None,
        'imageinclude': bool(r.get_imageinclude()),
        'imageonly': bool(r.get_imageonly()),
        'signature_check': r.get_repository_gpgcheck() is not False,
    }


def user(state, u):
    return {
        'name': u.get_name(),
        'password': None if u.get_pwdformat() == 'plain' else u.get_password() or None,
        'groups': state.get_user_groups(u.get_name()),
        'home': u.get_home(),
        'shell': u.get_shell(),
        'id': u.get_id(),
        'realname': u.get_realname(),
    }


def by_us(program, path, options):
    """What desc-parse resolves, whether it refuses, the codes of its errors and what it says."""
    command = ['--target-arch', MACHINE, *options, str(path)]
    run = subprocess.run([program, *command], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 3):
        raise SystemExit(f'{program} {path}: exit code {run.returncode}\n{run.stderr}')
    draft = pathlib.Path(program).with_name('examples') / 'draft'
    drafted = json.loads(subprocess.run([draft, *command], capture_output=True, text=True, check=True).stdout)
    codes = re.findall(r'^error\[(R\d+)\]', run.stderr, re.M)
    plan = drafted['plan']
    if run.returncode == 0 and in_words(json.loads(run.stdout)['plan']) != in_words(plan):
        raise SystemExit(f'{path}: the draft is not what desc-parse writes: {command}')
    resolved = plan and {**in_words(plan), 'archives': drafted['archives'],
                         'files': sorted({name for name, _ in drafted['files']})}
    return resolved, run.returncode == 3, codes, run.stderr


def in_words(plan):
    names = lambda kind: sorted(p['name'] for p in plan['packages'][kind])
    size = plan['disk'].get('size')
    resolved = {
        **{key: plan.get(key) or None for key in ('name', 'version', 'locale', 'keytable', 'timezone')},
        'profiles': [p['name'] for p in plan['profiles']],
        'package_manager': plan['package_manager'],
        **{f'packages.{k}': names(k) for k in ('image', 'bootstrap', 'delete', 'uninstall')},
        **{f'type.{k}': plan['type'].get(k) for k in
           ('image', 'firmware', 'installiso', 'installpxe', 'installboot')},
        'type.filesystem': plan['type']['filesystem'] or None,
        'disk.root_label': plan['disk']['root_label'],
        'disk.size': (size['value'] * (1024 if size['unit'] == 'G' else 1), size['additive']) if size else None,
        'disk.resize': plan['disk']['resize'],
        'bootloader.timeout': plan['bootloader']['timeout'],
        'kernelcmdline': plan['kernelcmdline'],
        'repositories': [{k: v for k, v in r.items() if k != 'keys'} for r in plan['repositories']],
        'users': plan['users'],
        'type.volid': plan['type']['volid'],
        'disk.efi_mib': plan['disk']['efi_mib'],
        'oem.unattended_id': plan['oem'].get('unattended_id'),
        'bootloader.title': plan['bootloader']['title'],
        'bootloader.serial_line': plan['bootloader'].get('serial_line'),
        'bootloader.terminals': sorted(plan['bootloader']['console'].split()),
        **{f'type.attributes.{k}': written(v) for k, v in plan['type']['attributes'].items()},
        **{f'oem.elements.{k}': written(v) for k, v in plan['oem']['elements'].items()},
        **{f'carried.{k}': v for k, v in plan.get('carried', {}).items()},
    }
    return resolved


def written(value):
    """A value as it was written: a switch by any spelling, a number without its leading zeros."""
    switch = {'1': '1', 'true': 'true', 'false': None, '': None}
    return switch.get(value, value)


def differences(theirs, ours):
    """Values that are not the same, apart from what Ramforge does on purpose."""
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        value, mine = theirs.get(key), ours.get(key)
        if key.startswith(('type.attributes.', 'oem.elements.')) and {value, mine} <= {'1', 'true', '0', None}:
            # A number 0 says as little as a switch that is off, and 1 may be either.
            value, mine = ({'1': 'true', '0': None}.get(v, v) for v in (value, mine))
        if key == 'oem.unattended_id' and value is None:
            continue  # Without one, the RAM disk is the target here.
        if key == 'kernelcmdline':
            # The words of the RAM disk belong to the medium, and are told apart in the plan.
            words = [w for w in value.split() if w != 'rd.kiwi.ramdisk' and not w.startswith('ramdisk_size=')]
            value = ' '.join(words)
        if key in ('repositories', 'users') and len(value) == len(mine):
            for index, (a, b) in enumerate(zip(value, mine)):
                for field, wanted in a.items():
                    # KIWI gives a nameless repository a random alias; a plain password is hashed.
                    if field in ('alias', 'password') and not wanted:
                        continue
                    # KIWI makes a path of this: at once; desc-parse refuses it.
                    if field == 'uri' and b[field].startswith('this:') and wanted.endswith('/' + inside(b[field])):
                        continue
                    if wanted != b.get(field, False if field == 'imageonly' else None):
                        found.append(f'{key}/{index}/{field}: KIWI {wanted!r}, desc-parse {b.get(field)!r}')
        elif value != mine:
            found.append(f'{key}: KIWI {value!r}, desc-parse {mine!r}')
    return found


def compare(program, path, profiles=(), image_type=None, overrides=()):
    """One description: (verdict, lines)."""
    options = [o for p in profiles for o in ('--profile', p)]
    options += ['--type', image_type] if image_type else []
    options += [word for pair in overrides for word in pair if word is not None]
    theirs, why = by_kiwi(path, list(profiles), image_type, overrides)
    ours, refused, codes, said = by_us(program, path, options)
    if refused and theirs is None:
        return 'both refuse', []
    if theirs is None:
        return 'only KIWI refuses', [why]
    if refused and any(c not in UNSUPPORTED for c in codes):
        return 'only desc-parse refuses', re.findall(r'^error.*', said, re.M)
    found = differences(theirs, ours)
    return ('differ', found) if found else ('unsupported, else the same' if refused else 'same', [])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--desc-parse', default='target/debug/desc-parse')
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--keep', help='directory that gets the descriptions that differ')
    parser.add_argument('--profile', action='append', default=[])
    parser.add_argument('--type')
    parser.add_argument('description', nargs='*', type=pathlib.Path)
    asked = parser.parse_args()
    quicken()
    tally, bad = {}, 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ['RAMFORGE_STORE'] = scratch + '/store'
        for name, path, profiles, image_type, overrides in jobs(asked, scratch):
            verdict, lines = compare(asked.desc_parse, path, profiles, image_type, overrides)
            tally[verdict] = tally.get(verdict, 0) + 1
            if verdict in ('differ', 'only desc-parse refuses', 'only KIWI refuses'):
                bad += 1
                print(f'{name}: {verdict}', *lines, sep='\n  ')
                if asked.keep:
                    pathlib.Path(asked.keep, f'{bad}.kiwi').write_text(path.read_text())
    print(', '.join(f'{count} {verdict}' for verdict, count in sorted(tally.items())))
    return 1 if bad else 0


def ways(path):
    """Every way to build a description that is not asked for in a certain way: profiles, and types under them."""
    try:
        xml = XMLDescription(str(path)).load()
    except Exception:  # KIWI raises whatever it raises
        return [([], None)]
    names = [p.get_name() for section in xml.get_profiles() for p in section.get_profile()]
    found = [([], None)]
    for profiles in [[], *([name] for name in dict.fromkeys(names))]:
        try:
            state = XMLState(xml, profiles, None)
            found += [(profiles, t.get_image()) for s in state.get_preferences_sections() for t in s.get_type()]
        except Exception:  # a profile without a type, or of another machine
            found.append((profiles, None))
    return [way for n, way in enumerate(found) if way not in found[:n]]


def jobs(asked, scratch):
    for path in asked.description:
        if path.is_dir():
            path = next(iter([*path.glob('config.xml'), *path.glob('*.kiwi')]))
        chosen = asked.profile or asked.type
        for profiles, image_type in [(asked.profile, asked.type)] if chosen else ways(path):
            yield f'{path} {" ".join(profiles)} {image_type or ""}', path, profiles, image_type, []
    if not asked.description:
        path = pathlib.Path(scratch, 'generated.kiwi')
        for name in ('a-file', 'key.asc'):
            pathlib.Path(scratch, name).write_text(name)
        with tarfile.open(pathlib.Path(scratch, 'archive.tar'), 'w') as archive:
            archive.add(pathlib.Path(scratch, 'a-file'), 'a-file')
        for seed in range(asked.seed, asked.seed + asked.count):
            generator = Generator(seed)
            path.write_text(generator.description())
            yield f'seed {seed}', path, generator.asked_profiles(), generator.asked_type(), generator.options()


if __name__ == '__main__':
    sys.exit(main())
