"""Descriptions at random, from the table of the language.

`schema/description.json` is the table: which elements stand where and how often, their attributes, the
kinds of values, and what Ramforge does with each. Everything that may stand somewhere is tried now and
then, what Ramforge refuses too. Above that: profiles that require each other, machines, several preferences
and types, the choice of them, and now and then a mistake.
"""

import json
import pathlib
import random
from xml.sax.saxutils import escape, quoteattr

TABLE = json.loads((pathlib.Path(__file__).parents[2] / 'schema/description.json').read_text())['$defs']
VERSIONS = ['7.4', '7.5', '7.6', '8.0', '8.1', '8.2', '8.3', '8.4', '8.5']
MACHINES = ['x86_64', 'aarch64', 'ppc64le', 's390x', 'x86_64,aarch64', 'riscv64,x86_64', 'amd64']
PACKAGES = ['linux-image-amd64', 'systemd-sysv', 'bc', 'curl', 'kmod', 'less', 'vim', 'zstd', 'iproute2', 'g++']
# How often a thing is tried that need not be there, by what Ramforge does with it.
CHANCE = {'used': 0.3, 'carried': 0.15, 'ignored': 0.04, 'refused': 0.01, 'note': 0.15}

# Values that mean something together. Everything else comes from the kind of the value.
VALUES = {
    ('image', '@name'): ['generated'],
    ('type', '@filesystem'): ['ext4'] * 30 + ['btrfs', 'xfs'],
    ('type', '@firmware'): ['bios', 'efi', 'uefi'] * 8 + ['ofw'],
    ('type', '@initrd_system'): ['dracut'] * 12 + ['kiwi', 'none'],
    ('type', '@kernelcmdline'): [
        'quiet', 'rd.kiwi.ramdisk ramdisk_size=2048000 quiet', 'ramdisk_size=1024000', ' a=1  b=2 ', '',
        'dyndbg="file a.c +p; file b.c +p" ro', 'rd.kiwi.oem.installdevice=/dev/ram1 console=ttyS0,115200n8',
        '  ramdisk_size=2048000\tx="a b"  ',
    ],
    ('type', '@devicepersistency'): ['by-uuid', 'by-label'], ('machine', '@ovftype'): ['vmware'],
    ('type', '@volid'): ['MINE'], ('type', '@rootfs_label'): ['ROOT', 'SYSTEM'],
    ('type', '@disk_start_sector'): ['2048', '4096'], ('type', '@vhdfixedtag'): ['5' * 8 + '-a0b1-c2d3-e4f5-' + '6' * 12],
    ('bootloader', '@name'): ['grub2'] * 25 + ['systemd_boot'], ('bootloader', '@timeout'): ['0', '1', '10', ' 20 '],
    ('bootloader', '@output_console'): ['serial', 'console', 'serial console', 'gfxterm', 'none'],
    ('bootloader', '@input_console'): ['serial', 'console', 'console serial'],
    ('bootloader', '@console'): ['serial', 'console', 'serial console'],
    ('size', '#text'): ['1', '500', '1500', '2000'],
    ('oem-unattended-id', '#text'): ['/dev/ram1'] * 5 + ['/dev/sda'],
    ('oem-ramdisk-size', '#text'): ['1024000', '2048000'],
    ('oem-reboot', '#text'): ['false'] * 9 + ['true'], ('oem-shutdown', '#text'): ['false'],
    ('packagemanager', '#text'): ['apt'] * 12 + ['dnf4', 'zypper', 'pacman', 'dnf5'],
    ('version', '#text'): ['1.2.3', '0.0.1', '2024.11', ' 7.8.9 '],
    ('keytable', '#text'): ['us', 'de-latin1'], ('timezone', '#text'): ['UTC', ' Europe/Berlin '],
    ('locale', '#text'): ['en_US', 'de_DE,en_US', 'POSIX'],
    ('repository', '@type'): ['apt-deb'] * 30 + ['rpm-md'], ('repository', '@priority'): ['0', '5', '99'],
    ('repository', '@imageonly'): ['false', 'true'], ('repository', '@distribution'): ['bookworm'],
    ('repository', '@components'): ['main', 'main  contrib'],
    ('repository', '@sourcetype'): ['baseurl'] * 10 + ['mirrorlist'],
    ('source', '@path'): [
        'obsrepositories:/', 'http://deb.example.org/debian', 'https://deb.example.org/d', 'dir:///srv/deb',
        'obs://Some:Project/Debian_12', 'ftp://deb.example.org/d', '/srv/deb', 'https://[::1]:8080/d',
        'http://deb.example.org/a?b=c&d=e#f',
    ] * 3 + ['this://./repo', 'iso:///srv/a.iso'],
    ('signing', '@key'): ['this://./key.asc'] * 15 + ['file:///nowhere/key.asc'],
    ('archive', '@name'): ['archive.tar'] * 30 + ['missing.tar'], ('archive', '@target_dir'): ['/opt', 'srv'],
    ('file', '@name'): ['a-file'], ('file', '@target'): ['/srv/x', 'srv/'], ('file', '@permissions'): ['644', '0755'],
    ('file', '@owner'): ['root:root', '0:0', '7'],
    ('package', '@name'): PACKAGES * 3 + [' vim '],
    ('packages', '@type'): ['image'] * 8 + ['bootstrap'] * 4 + ['oem', 'delete', 'uninstall', 'iso', 'iso', 'kis', 'docker', 'docker'],
    ('user', '@name'): ['root', 'tux', 'ann', 'Some.One'], ('user', '@password'): ['$6$a$b', '!', ' $6$c$d'],
    ('user', '@groups'): ['root', 'users,video:33', 'wheel'], ('user', '@home'): ['/root', '/home/x'],
    ('user', '@id'): ['1000', '0', '1001'], ('user', '@shell'): ['/bin/bash', '/bin/sh'],
    ('user', '@realname'): ['Some One', 'Żółć & Söhne'],
}
MISTAKES = [
    ('<package ', '<pakage '), ('<version>', '<vresion>'), ('type="image"', 'type="imgae"'), ('</users>', ''),
    ('name=', 'nmae='), ('filesystem="ext4"', 'filesystem="ext5"'), ('<author>', '<writer>'),
    ('<source path=', '<source pth='), ('image="oem"', 'image="omo"'), ('timeout="', 'timeout="x'),
    ('<specification>', '<specification/><specification>'), ('import="true"', 'import="yes"'),
    ('groups="', 'groups=" ,'), ('<timezone>', '<timezone>text</timezone><timezone>'), ('arch="', 'arch="x'),
    ('alias="', 'alias="a b'), ('unit="', 'unit="T'), ('<bootloader', '<bootloader/><bootloader'),
    ('image="oem"', 'image="oem" flags="overlay"'), ('filesystem="ext4"', 'filesystem="ext4" btrfs_quota_groups="1"'),
]
# Words for the kinds of values, by what the table expects.
SAMPLES = {
    'some text': ['text', 'two words', 'a&b'], 'any text': ['text', '', 'a "quoted" <text>'],
    'letters, digits, _ - and .': ['name', 'a-b.c_d'], 'a whole number from 0': ['0', '1', '64'],
    'a whole number': ['0', '7'], '1 to 32 letters, digits, _ - and .': ['LABEL'],
    'a number of MiB, or a number with M or G': ['20', '20M', '1G'],
    'a number of MiB, a number with M or G, or all': ['all', '1G'],
    '1 to 128 letters, digits, blanks and plain punctuation': ['Some Body'],
    'a MAC address such as 52:54:00:12:34:56': ['52:54:00:12:34:56'], 'a port such as 80 or 80/tcp': ['80', '53/udp'],
    'a number of blocks, or all': ['all', '10'], 'four numbers joined by dots': ['1.2.3.4'],
    'a file inside the description': ['a-file'], 'a GUID in small letters': ['0' * 8 + '-0000-0000-0000-' + '0' * 12],
}


def number(version):
    return tuple(map(int, version.split('.')))


class Generator:
    """One description for each seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.version = self.random.choice(VERSIONS)
        self.profiles = [f'p{i}' for i in range(self.random.randint(0, 4))]
        self.hidden = set()
        self.types = ['oem']
        self.aliases = 0

    def maybe(self, chance):
        return self.random.random() < chance

    def asked_profiles(self):
        known = [p for p in self.profiles if p not in self.hidden]
        if not known or self.maybe(0.4):
            return []
        return self.random.sample(known, self.random.randint(1, min(2, len(known))))

    def asked_type(self):
        return self.random.choice(self.types) if self.maybe(0.3) else None

    def options(self):
        """Overrides, as KIWI and desc-parse both know them."""
        repository = ['http://deb.example.org/x', 'dir:///srv/x,apt-deb,mine,7', 'obs://A:B/C,,,,true',
                      'http://deb.example.org/y,apt-deb,your,5,true,false,,main contrib,trixie,false',
                      'https://deb.example.org/z,,,,,,,,trixie,true,baseurl']
        found = []
        for name, chance, values in (
            ('--ignore-repos', 0.04, [None]), ('--ignore-repos-used-for-build', 0.04, [None]),
            ('--set-repo', 0.2, repository), ('--add-repo', 0.2, repository), ('--add-package', 0.2, PACKAGES),
            ('--add-bootstrap-package', 0.1, PACKAGES), ('--delete-package', 0.1, PACKAGES),
            ('--set-type-attr', 0.2, ['volid=GIVEN', 'rootfs_label=GIVEN', 'kernelcmdline=quiet a="b c"',
                                      'efipartsize=33', 'firmware=efi', 'publisher=Me', 'installiso=true']),
        ):
            # Without a repository KIWI does nothing with --set-repo, and says nothing; desc-parse sets it.
            if self.maybe(chance) and not (name == '--set-repo' and found):
                found.append((name, self.random.choice(values)))
        return found

    def description(self):
        text = '<?xml version="1.0"?>\n' + self.image()
        if self.maybe(0.15):
            old, new = self.random.choice(MISTAKES)
            text = text.replace(old, new, 1)
        return text

    def image(self):
        """The sections by hand, so that most descriptions can be built; what is in them by the table."""
        always = {'@profiles': None, '@arch': None}
        first = self.element('preferences', always, must=['version', 'packagemanager', 'type'])
        parts = [
            '<description type="system"><author>A</author><contact>C</contact><specification>S</specification>'
            '</description>',
            self.profile_section(), first,
            self.element('packages', {'@type': 'image', **always}, must=['package']),
            self.element('repository', always, must=['source']),
        ]
        more = {'preferences': 2, 'users': 2, 'repository': 2, 'packages': 5, 'drivers': 1, 'strip': 1}
        for name, most in more.items():
            for _ in range(self.random.randint(0, most)):
                if name not in ('drivers', 'strip') or self.maybe(0.1):
                    parts.append(self.element(name, self.conditions()))
        for rare in ('containers', 'certificates'):
            parts += [self.element(rare, {})] if self.maybe(0.005) else []
        parts += self.random.sample(['<!-- a comment -->', '<?pi data?>'], self.random.randint(0, 2))
        attributes = {'@schemaversion': self.version, '@name': 'generated'}
        if self.maybe(0.3):
            attributes['@displayname'] = 'Shown & told'
        if self.maybe(0.2):
            attributes['@id'] = '42'
        return self.tag('image', attributes, '\n'.join(p for p in parts if p))

    def conditions(self):
        found = {}
        if self.profiles and self.maybe(0.4):
            count = self.random.randint(1, min(2, len(self.profiles)))
            found['@profiles'] = self.random.choice([',', ',', ',', ', ']).join(self.random.sample(self.profiles, count))
        if self.maybe(0.2):
            found['@arch'] = self.random.choice(MACHINES)
        return found

    def profile_section(self):
        lines = []
        for index, name in enumerate(self.profiles):
            given = {'@name': name, '@description': 'd'}
            if self.maybe(0.1):
                given['@arch'] = self.random.choice(MACHINES)
                if 'x86_64' not in given['@arch'].split(','):
                    self.hidden.add(name)
            if self.maybe(0.3):
                given['@import'] = 'true'
            # Only backwards, so that there is no circle: KIWI does not end on some of them.
            earlier = [p for p in self.profiles[:index] if p not in self.hidden]
            requires = ''
            if earlier and self.maybe(0.4):
                needed = {'@profile': self.random.choice(earlier)}
                if self.maybe(0.15):
                    needed['@arch'] = self.random.choice(MACHINES)
                requires = self.tag('requires', needed, '')
            lines.append(self.tag('profile', given, requires))
        return self.tag('profiles', {}, ''.join(lines)) if lines else ''

    def element(self, name, given, must=(), key=None, depth=0):
        """One element with attributes, text and children that the table lets stand there."""
        row = TABLE[key or name]
        attributes = self.attributes(name, row, {k: v for k, v in given.items() if k in row['properties']})
        inner = []
        if '#text' in row['properties']:
            inner.append(escape(self.value(name, '#text', row['properties']['#text'])))
        for child, rule in row['properties'].items():
            if rule.get('type') != 'array':
                continue
            inner += self.children(child, rule, attributes, child in must, depth)
        if depth:
            self.random.shuffle(inner)
        return self.tag(name, attributes, ''.join(inner))

    def children(self, child, rule, parent, wanted, depth):
        key = rule['items']['$ref'].rsplit('/', 1)[1]
        remarks = TABLE[key]['x-ramforge']
        if not self.may_stand(remarks) or depth > 6 or not self.sensible(child, parent):
            return []
        least, most = rule['minItems'], rule.get('maxItems', 3)
        count = least
        if wanted:
            count = max(1, least)
        elif self.maybe(CHANCE[remarks['does']] if child != 'package' else 1):
            count = max(least, self.random.randint(1, most))
        if child == 'type' and not wanted:
            count = min(count, 1)
        return [self.element(child, {}, key=key, depth=depth + 1) for _ in range(count)]

    def sensible(self, child, parent):
        """What KIWI itself takes only beside something else."""
        if child == 'type':
            return True
        if child in ('oemconfig', 'size', 'bootloader') and parent.get('@image') not in (None, 'oem'):
            return False
        if child == 'installmedia':
            return parent.get('@installiso') == 'true' and parent.get('@image') == 'oem'
        if child == 'collectionModule':
            return parent.get('@type') == 'bootstrap'
        if child in ('luksformat', 'securelinux', 'vagrantconfig', 'containerconfig', 'machine', 'partitions'):
            return parent.get('@image') == 'oem' and child in ('machine', 'partitions')
        return True

    def may_stand(self, remarks):
        until = remarks.get('until')
        return until is None or number(self.version) <= number(until)

    def attributes(self, name, row, found):
        rules = {k: v for k, v in row['properties'].items() if k.startswith('@')}
        decider = {'type': '@image', 'bootloader': '@name'}.get(name)
        if decider and decider not in found:
            kinds = ['oem'] * 18 + ['iso', 'docker', 'kis']
            found[decider] = self.random.choice(kinds) if name == 'type' else self.value(name, decider, rules[decider])
            self.types += [found[decider]] if name == 'type' else []
        for key, rule in rules.items():
            remarks = rule['x-ramforge']
            if key in found or not self.may_stand(remarks) or not self.goes_with(remarks, found):
                continue
            if key.startswith('@btrfs_') or key == '@derived_from':
                continue
            if key in row['required'] or self.maybe(self.chance(name, key, remarks)):
                found[key] = self.value(name, key, rule)
        return self.settled(name, found)

    def chance(self, name, key, remarks):
        if key in ('@arch', '@profiles'):
            return 0.12 if key == '@arch' or self.profiles else 0
        if (name, key) == ('type', '@primary'):
            return 0.2
        # So many attributes: each less often.
        return CHANCE[remarks['does']] * (0.4 if name == 'type' and remarks['does'] == 'ignored' else 1)

    def goes_with(self, remarks, found):
        return all(found.get(k) in values for k, values in remarks.get('only', {}).items())

    def settled(self, name, found):
        """What must be there together, or must not."""
        if name == 'type' and found['@image'] == 'oem':
            found.setdefault('@filesystem', 'ext4')
        if name == 'repository' and '@alias' in found:
            self.aliases += 1
            found['@alias'] = f'r{self.aliases}'
        if name == 'collectionModule' and '@stream' in found:
            found['@enable'] = 'true'  # KIWI looks for this very word, so 1 will not do.
        if name == 'repository' and found.get('@imageonly') == 'true':
            found.pop('@imageinclude', None)
        for pair in (('@embed_verity_metadata', '@verity_blocks'), ('@embed_integrity_metadata', '@standalone_integrity'),
                     ('@integrity_legacy_hmac', '@embed_integrity_metadata'), ('@format', '@format')):
            if name == 'type' and pair[0] in found and (pair[1] not in found or found[pair[0]] == 'vagrant'):
                found.pop(pair[0])
        return found

    def value(self, element, key, rule):
        if key == '@profiles':
            return self.random.choice(self.profiles) if self.profiles else 'nobody'
        if key == '@arch' and 'pattern' in rule:
            return self.random.choice(MACHINES)
        if (element, key) in VALUES:
            return self.random.choice(VALUES[element, key])
        if 'enum' in rule:
            words = rule['enum']
            return self.random.choice(words[:2] * 3 + words if words[:2] == ['true', 'false'] else words)
        expected = rule.get('description', '')
        if expected in SAMPLES:
            return self.random.choice(SAMPLES[expected])
        if 'several separated by blanks' in expected:
            return expected.split(',')[0]
        if 'several joined by commas' in expected:
            return expected.split(' ')[0]
        if 'behind oci:' in expected:
            return self.random.choice(['qcow2', 'vmdk', 'oci:qcow2', 'docker:raw'])
        if expected.startswith('machine names'):
            return self.random.choice(MACHINES)
        raise ValueError(f'{element} {key}: no sample for {expected!r}')

    def tag(self, name, attributes, inner):
        start = ''.join(f' {k[1:]}={quoteattr(v)}' for k, v in attributes.items() if v is not None)
        return f'<{name}{start}>{inner}</{name}>' if inner else f'<{name}{start}/>'
