//! Volume descriptors (ECMA-119 chapter 8) and the two forms of a date.

use super::{Places, Plan, SECTOR, directory};
use crate::error::{Error, Result};

/// Standard identifier, 8.1.2.
const CD001: &[u8; 5] = b"CD001";
/// First and last second that the dates can express: the years 1900 to 2155 (9.1.5).
const SECONDS: std::ops::RangeInclusive<i64> = -2_208_988_800..=5_869_583_999;

/// Primary volume descriptor, 8.4.
pub(super) fn primary(plan: &Plan<'_>, at: &Places) -> Vec<u8> {
    let date = digits_date(plan.image.epoch);
    let table_size = directory::path_table_size(&plan.tree);
    let root = directory::root_record(plan, at);
    let mut d = header(1); //                                         1 type, identifier, version
    d.push(0); //                                                     8 unused
    d.extend(padded("", 32)); //                                      9 system identifier
    d.extend(padded(&plan.image.volume_id, 32)); //                  41 volume identifier
    d.extend([0; 8]); //                                             73 unused
    d.extend(both32(at.end)); //                                     81 volume space size
    d.extend([0; 32]); //                                            89 unused
    d.extend(both16(1)); //                                         121 volume set size
    d.extend(both16(1)); //                                         125 volume sequence number
    d.extend(both16(SECTOR as u16)); //                             129 logical block size
    d.extend(both32(table_size)); //                                133 path table size
    d.extend(at.path_table_l.to_le_bytes()); //                     141 type L path table
    d.extend([0; 4]); //                                            145 optional type L path table
    d.extend(at.path_table_m.to_be_bytes()); //                     149 type M path table
    d.extend([0; 4]); //                                            153 optional type M path table
    d.extend(root); //                                              157 root directory record
    d.extend(padded("", 128)); //                                   191 volume set identifier
    d.extend(padded("", 128)); //                                   319 publisher identifier
    d.extend(padded("", 128)); //                                   447 data preparer identifier
    d.extend(padded("RAMFORGE", 128)); //                           575 application identifier
    d.extend(padded("", 3 * 37)); //                                703 copyright, abstract, bibliography
    d.extend(date); //                                              814 creation
    d.extend(date); //                                              831 modification
    d.extend(*b"0000000000000000\0"); //                            848 expiration: none
    d.extend(*b"0000000000000000\0"); //                            865 effective: at once
    d.extend([1, 0]); //                                            882 file structure version
    d
}

/// Boot record volume descriptor, El Torito 2.0 figure 7.
pub(super) fn boot_record(catalog: u32) -> Vec<u8> {
    let mut d = header(0);
    d.extend(b"EL TORITO SPECIFICATION"); //     7 boot system identifier
    d.resize(0x47, 0);
    d.extend(catalog.to_le_bytes()); //       0x47 first sector of the boot catalog
    d
}

/// Volume descriptor set terminator, 8.3.
pub(super) fn set_terminator() -> Vec<u8> {
    header(255)
}

/// The fields that all descriptors begin with, 8.1.
fn header(kind: u8) -> Vec<u8> {
    let mut d = vec![kind];
    d.extend(CD001);
    d.push(1);
    d
}

/// Refuses an identifier that does not fit the field or that no tool could type.
pub(super) fn check_volume_id(id: &str) -> Result<()> {
    let printable = id.bytes().all(|b| (0x20..0x7f).contains(&b));
    if id.is_empty() || id.len() > 32 || !printable || id.trim() != id {
        let expected = "1 to 32 printable ASCII characters, no space at either end";
        return Err(Error::unfit("volume id", format!("{id:?}"), expected));
    }
    Ok(())
}

/// Refuses a time that the dates cannot express.
pub(super) fn check_epoch(epoch: i64) -> Result<()> {
    if SECONDS.contains(&epoch) {
        return Ok(());
    }
    let fact = format!("{epoch} seconds after 1970");
    Err(Error::unfit(
        "time stamp of the ISO image",
        fact,
        "a year from 1900 to 2155",
    ))
}

/// Both-byte order, 7.2.3.
pub(super) fn both16(n: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (n.to_le_bytes(), n.to_be_bytes());
    [a, b, c, d]
}

/// Both-byte order, 7.3.3.
pub(super) fn both32(n: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (n.to_le_bytes(), n.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

fn padded(text: &str, len: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(len, b' ');
    field
}

/// Date and time of a directory record, 9.1.5.
pub(super) fn record_date(epoch: i64) -> [u8; 7] {
    let (year, month, day) = civil(epoch.div_euclid(86_400));
    let [hour, minute, second] = clock(epoch);
    [(year - 1900) as u8, month, day, hour, minute, second, 0]
}

/// Date and time of a volume descriptor, 8.4.26.1.
fn digits_date(epoch: i64) -> [u8; 17] {
    let (year, month, day) = civil(epoch.div_euclid(86_400));
    let [hour, minute, second] = clock(epoch);
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00");
    let mut date = [0; 17];
    for (to, from) in date.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    date
}

fn clock(epoch: i64) -> [u8; 3] {
    let second = epoch.rem_euclid(86_400);
    [second / 3600, second / 60 % 60, second % 60].map(|n| n as u8)
}

/// Year, month and day in the Gregorian calendar of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, u8, u8) {
    // Years are counted from 1 March, so that the leap day is the last day of a year.
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = ((month_from_march + 2) % 12 + 1) as u8;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(&digits_date(0), b"1970010100000000\0");
        assert_eq!(&digits_date(951_827_696), b"2000022912345600\0");
        assert_eq!(&digits_date(*SECONDS.start()), b"1900010100000000\0");
        assert_eq!(&digits_date(*SECONDS.end()), b"2155123123595900\0");
        assert_eq!(record_date(1_704_067_199), [123, 12, 31, 23, 59, 59, 0]);
        assert_eq!(record_date(*SECONDS.end())[0], 255);
        assert!(check_epoch(SECONDS.end() + 1).is_err());
    }

    #[test]
    fn volume_ids() {
        let long = "A".repeat(33);
        assert!(check_volume_id("INSTALL").is_ok());
        for id in ["", " A", "Ä", "A\n", &long] {
            assert!(check_volume_id(id).is_err(), "{id:?}");
        }
    }
}
