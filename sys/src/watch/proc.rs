//! What `/proc` tells of a process, read without memory of the heap.

use std::ffi::c_int;

/// Bytes of a line or path: the longest word, a pid, and a name of 15 characters.
pub const LINE: usize = 64;
/// Bytes of a file that are read: more than it has.
const FILE: usize = 4096;

/// Whether a process is of a PID namespace of its own, and not the first one there: the kernel kills those when the first
/// one ends.
pub fn ends_with_namespace(pid: c_int) -> bool {
    let mut status = [0; FILE];
    let length = read(pid, b"/status", &mut status);
    // One pid for every namespace, the innermost last.
    let pids = field(&status[..length], b"NSpid:\t");
    pids.is_some_and(|pids| pids.contains(&b'\t') && !pids.ends_with(b"\t1"))
}

/// The process that a pidfd of another one means. 0 where that cannot be read.
pub fn of_pidfd(pid: c_int, fd: c_int) -> c_int {
    let mut digits = [0; 12];
    let mut path = [0; LINE];
    let length = join(&[b"/fdinfo/", decimal(fd, &mut digits)], &mut path);
    let mut text = [0; FILE];
    let read = read(pid, &path[..length], &mut text);
    let digits = field(&text[..read], b"Pid:\t").unwrap_or_default();
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |n, b| n * 10 + c_int::from(b - b'0'))
}

/// Reads a space and the name of a process; tells how many bytes that are.
pub fn name(pid: c_int, name: &mut [u8; LINE]) -> usize {
    name[0] = b' ';
    // It ends with a newline.
    let length = read(pid, b"/comm", &mut name[1..]).max(1);
    let is_odd = |b: &&mut u8| !(b' '..=b'~').contains(*b);
    name[..length]
        .iter_mut()
        .filter(is_odd)
        .for_each(|b| *b = b'?');
    length
}

/// What stands behind `key` on its line.
fn field<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    text.split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(key))
}

/// Reads the beginning of a file of a process; tells how many bytes that are.
fn read(pid: c_int, file: &[u8], to: &mut [u8]) -> usize {
    let mut digits = [0; 12];
    let mut path = [0; LINE];
    let parts = [b"/proc/".as_slice(), decimal(pid, &mut digits), file];
    join(&parts, &mut path[..LINE - 1]);
    // SAFETY: the path ends with a zero byte, and there is room for so many bytes.
    let read = unsafe {
        let file = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        let read = libc::read(file, to.as_mut_ptr().cast(), to.len());
        libc::close(file);
        read
    };
    usize::try_from(read).unwrap_or(0)
}

/// Puts the parts one behind the other, as far as there is room; tells how many bytes that are.
pub fn join(parts: &[&[u8]], to: &mut [u8]) -> usize {
    let mut length = 0;
    for part in parts {
        let end = (length + part.len()).min(to.len());
        to[length..end].copy_from_slice(&part[..end - length]);
        length = end;
    }
    length
}

/// The digits of a number that is not negative.
pub fn decimal(number: c_int, digits: &mut [u8; 12]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}
