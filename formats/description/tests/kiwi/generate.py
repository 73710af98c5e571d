"""Descriptions at random: profiles, machines, several preferences and types, and now and then a mistake."""

import random
from xml.sax.saxutils import quoteattr

MACHINES = ['x86_64', 'aarch64', 'ppc64le', 's390x', 'x86_64,aarch64', 'riscv64,x86_64', 'amd64']
PACKAGES = ['linux-image-amd64', 'systemd-sysv', 'bc', 'curl', 'kmod', 'less', 'vim', 'zstd', 'iproute2']
VERSIONS = ['7.4', '7.5', '7.6', '8.0', '8.1', '8.2', '8.3', '8.4', '8.5']
# Attributes of <type>: values that KIWI takes for an oem image.
TYPE_ATTRIBUTES = {
    'installiso': ['true', 'false', '1'],
    'installstick': ['true', 'false'],
    'installpxe': ['true', 'false'],
    'installboot': ['install', 'harddisk', 'failsafe-install'],
    'firmware': ['bios', 'efi', 'uefi'] * 4 + ['ofw'],
    'initrd_system': ['dracut'] * 6 + ['kiwi', 'none'],
    'rootfs_label': ['ROOT', 'SYSTEM'],
    'bootpartition': ['true', 'false'],
    'efipartsize': ['20', '64'],
    'devicepersistency': ['by-uuid', 'by-label'],
    'fsmountoptions': ['noatime'],
    'volid': ['MINE'],
    'target_removable': ['true', 'false'],
        'overlayroot': ['true', 'false'],
    'format': ['qcow2'],
    'editbootinstall': ['edit.sh'],
    'application_id': ['Somebody'],
    'kernelcmdline': ['quiet', 'rd.kiwi.ramdisk ramdisk_size=2048000 quiet', 'ramdisk_size=1024000',
                      ' a=1  b=2 ', ''],
}
OEM = {
    'oem-resize': ['true', 'false'],
    'oem-swap': ['true', 'false'],
    'oem-unattended': ['true', 'false'],
    'oem-unattended-id': ['/dev/ram1'] * 5 + ['/dev/sda'],
    'oem-skip-verify': ['true'],
    'oem-ramdisk-size': ['1024000'],
    'oem-boot-title': ['A title'],
    'oem-multipath-scan': ['false', 'true'],
    'oem-reboot': ['true'] + ['false'] * 5,
    'oem-systemsize': ['2048'],
    'oem-device-filter': ['/dev/disk'],
}
MISTAKES = [
    ('<package ', '<pakage '), ('<version>', '<vresion>'), ('type="image"', 'type="imgae"'), ('</users>', ''),
    ('name=', 'nmae='), ('filesystem="ext4"', 'filesystem="ext5"'), ('<author>A</author>', ''),
    ('<source path=', '<source pth='), ('image="oem"', 'image="omo"'), ('timeout="', 'timeout="x'),
    ('<specification>', '<specification/><specification>'), ('import="true"', 'import="yes"'),
    ('groups="', 'groups=" ,'), ('<timezone>', '<timezone>text</timezone><timezone>'),
]


class Generator:
    """One description for each seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.profiles = []
        self.types = []
        self.version = self.random.choice(VERSIONS)

    def maybe(self, chance):
        return self.random.random() < chance

    def attributes(self, **fixed):
        return ''.join(f' {k}={quoteattr(v)}' for k, v in fixed.items() if v is not None)

    def arch(self, chance=0.15):
        return self.random.choice(MACHINES) if self.maybe(chance) else None

    def in_profiles(self, chance=0.3):
        if not self.profiles or not self.maybe(chance):
            return None
        names = self.random.sample(self.profiles, self.random.randint(1, min(2, len(self.profiles))))
        return ','.join(names)

    def asked_profiles(self):
        known = [p for p in self.profiles if p not in self.hidden]
        if not known or self.maybe(0.4):
            return []
        return self.random.sample(known, self.random.randint(1, min(2, len(known))))

    def asked_type(self):
        return 'oem' if self.maybe(0.3) else None

    def description(self):
        parts = [self.profile_section()]
        parts += [self.preferences(i) for i in range(self.random.randint(1, 3))]
        parts += [self.users() for _ in range(self.random.randint(0, 2))]
        parts += [self.repository(i) for i in range(self.random.randint(1, 3))]
        parts += [self.packages(i) for i in range(self.random.randint(1, 6))]
        parts += [self.rest()] if self.maybe(0.2) else []
        head = (f'<image schemaversion="{self.version}" name="generated"'
                f'{self.attributes(displayname="Shown" if self.maybe(0.3) else None)}>\n'
                '<description type="system"><author>A</author><contact>C</contact>'
                '<specification>S</specification></description>\n')
        text = head + '\n'.join(p for p in parts if p) + '\n</image>\n'
        if self.maybe(0.15):
            old, new = self.random.choice(MISTAKES)
            text = text.replace(old, new, 1)
        return text

    def profile_section(self):
        self.profiles = [f'p{i}' for i in range(self.random.randint(0, 4))]
        self.hidden = set()
        if not self.profiles:
            return ''
        lines = []
        for index, name in enumerate(self.profiles):
            arch = self.arch(0.1)
            if arch and 'x86_64' not in arch.split(','):
                self.hidden.add(name)
            # Only backwards, so that there is no circle: KIWI does not end on some of them.
            earlier = [p for p in self.profiles[:index] if p not in self.hidden]
            requires = ''
            if earlier and self.maybe(0.4):
                requires = f'<requires{self.attributes(profile=self.random.choice(earlier), arch=self.arch())}/>'
            start = self.attributes(name=name, description='d', arch=arch,
                                    **{'import': 'true' if self.maybe(0.3) else None})
            lines.append(f'<profile{start}>{requires}</profile>')
        return '<profiles>' + ''.join(lines) + '</profiles>'

    def preferences(self, index):
        inner = []
        if index == 0 or self.maybe(0.3):
            inner.append(f'<version>{self.random.randint(0, 9)}.2.3</version>')
        if index == 0 or self.maybe(0.2):
            old = {'7.4': ['apt', 'dnf'], '7.5': ['apt', 'dnf']}.get(self.version, ['apt', 'dnf4'])
            inner.append(f'<packagemanager>{self.random.choice(["apt"] * 20 + old + ["zypper"])}</packagemanager>')
        for name, values in {
            'locale': ['en_US', 'de_DE,en_US', 'POSIX'], 'keytable': ['us', 'de-latin1'],
            'timezone': ['UTC', 'Europe/Berlin'], 'rpm-check-signatures': ['true', 'false'],
            'release-version': ['12'], 'bootsplash-theme': ['t'],
        }.items():
            if self.maybe(0.3):
                inner.append(f'<{name}>{self.random.choice(values)}</{name}>')
        for _ in range(self.random.choice([1, 1, 1, 2]) if index == 0 else self.random.choice([0, 0, 1])):
            inner.append(self.image_type())
        where = {} if index == 0 else {'profiles': self.in_profiles(0.7), 'arch': self.arch()}
        return f'<preferences{self.attributes(**where)}>' + ''.join(inner) + '</preferences>'

    def image_type(self):
        kind = self.random.choice(['oem'] * 14 + ['iso'])
        chosen = {}
        if kind == 'oem':
            common = {'firmware', 'installiso', 'kernelcmdline', 'installpxe', 'rootfs_label'}
            for name, values in TYPE_ATTRIBUTES.items():
                if self.maybe(0.3 if name in common else 0.05):
                    chosen[name] = self.random.choice(values)
            chosen['filesystem'] = self.random.choice(['ext4'] * 20 + ['btrfs', 'xfs'])
            if self.maybe(0.03):
                chosen[self.random.choice(['luks', 'mdraid'])] = 'mirroring'
        start = self.attributes(image=kind, primary='true' if self.maybe(0.2) else None, **chosen)
        inner = [self.boot_loader()] if self.maybe(0.7) else []
        if kind == 'oem':
            if self.maybe(0.5):
                inner.append(self.oem_config())
            if self.maybe(0.3):
                unit = self.random.choice([None, 'M', 'G'])
                additive = self.random.choice([None, 'true', 'false'])
                size = self.random.randint(1, 3) * (1 if unit == 'G' else 500)
                inner.append(f'<size{self.attributes(unit=unit, additive=additive)}>{size}</size>')
            if self.maybe(0.02):
                inner.append('<systemdisk><volume name="home" size="1G"/></systemdisk>')
            if self.maybe(0.04):
                inner.append('<machine memory="512"/>')
            if self.maybe(0.2) and chosen.get('installiso') == 'true':
                inner.append('<installmedia><initrd action="add"><dracut module="x"/></initrd></installmedia>')
        self.random.shuffle(inner)
        return f'<type{start}>' + ''.join(inner) + '</type>'

    def boot_loader(self):
        old = tuple(map(int, self.version.split('.'))) <= (8, 3)
        consoles = {'console': ['serial', 'console', 'serial console']} if old else {
            'output_console': ['serial', 'console', 'serial console'], 'input_console': ['serial', 'console']}
        chosen = {k: self.random.choice(v) for k, v in consoles.items() if self.maybe(0.3)}
        name = self.random.choice(['grub2'] * 25 + ['systemd_boot'])
        if name != 'grub2':
            chosen = {}
        timeout = str(self.random.randint(0, 20)) if self.maybe(0.6) else None
        return f'<bootloader{self.attributes(name=name, timeout=timeout, **chosen)}/>'

    def oem_config(self):
        names = self.random.sample(sorted(OEM), self.random.randint(1, 5))
        return '<oemconfig>' + ''.join(f'<{n}>{self.random.choice(OEM[n])}</{n}>' for n in names) + '</oemconfig>'

    def users(self):
        people = []
        for _ in range(self.random.randint(1, 3)):
            optional = {
                'groups': ['root', 'users,video:33', 'wheel'], 'home': ['/root', '/home/x'], 'id': ['1000', '0'],
                'realname': ['Some One'], 'shell': ['/bin/bash'], 'pwdformat': ['plain', 'encrypted'],
            }
            chosen = {k: self.random.choice(v) for k, v in optional.items() if self.maybe(0.4)}
            name = self.random.choice(['root', 'tux', 'ann'])
            people.append(f'<user{self.attributes(name=name, password="$6$a$b", **chosen)}/>')
        where = self.attributes(profiles=self.in_profiles(), arch=self.arch())
        return f'<users{where}>' + ''.join(people) + '</users>'

    def repository(self, index):
        path = self.random.choice([
            'obsrepositories:/', 'http://deb.example.org/debian', 'https://deb.example.org/d', 'dir:///srv/deb',
            'obs://Some:Project/Debian_12', 'ftp://deb.example.org/d',
        ] * 4 + ['this://./repo'])
        optional = {
            'type': ['apt-deb'] * 20 + ['rpm-md'], 'priority': ['0', '5', '99'], 'alias': [f'r{index}'],
            'imageinclude': ['true', 'false'], 'repository_gpgcheck': ['true', 'false'],
            'package_gpgcheck': ['false'],
        }
        chosen = {k: self.random.choice(v) for k, v in optional.items() if self.maybe(0.5)}
        if chosen.get('type') == 'apt-deb' and self.maybe(0.7):
            chosen['distribution'] = 'bookworm'
            chosen['components'] = 'main contrib'
        if self.maybe(0.03):
            chosen['imageonly'] = 'true'
            chosen.pop('imageinclude', None)
        where = self.attributes(profiles=self.in_profiles() if index else None,
                                arch=self.arch() if index else None)
        return f'<repository{self.attributes(**chosen)}{where}><source{self.attributes(path=path)}/></repository>'

    def packages(self, index):
        kind = 'image' if index == 0 else self.random.choice(['image'] * 4 + ['bootstrap'] * 2 + ['delete', 'uninstall', 'oem', 'iso', 'pxe'])
        inner = []
        for _ in range(self.random.randint(1, 5)):
            name = self.random.choice(PACKAGES)
            if self.maybe(0.05):
                name = f' {name} '
            inner.append(f'<package{self.attributes(name=name, arch=self.arch())}/>')
        if self.maybe(0.1):
            inner.append('<namedCollection name="base"/>')
        if self.maybe(0.05):
            inner.append('<ignore name="vim"/>')
        if self.maybe(0.01):
            inner.append('<archive name="missing.tar"/>')
        pattern = self.random.choice([None, None, None, 'onlyRequired', 'plusRecommended'])
        where = self.attributes(type=kind, profiles=self.in_profiles() if index else None, patternType=pattern)
        return f'<packages{where}>' + ''.join(inner) + '</packages>'

    def rest(self):
        return self.random.choice([
            '<drivers><file name="brd.ko"/></drivers>', '<strip type="delete"><file name="/a"/></strip>',
            '<containers source="registry.example.org" backend="podman"><container name="c"/></containers>',
            '<!-- a comment -->', '<?pi data?>',
        ])
