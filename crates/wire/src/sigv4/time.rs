//! The two forms a signature's time is written in.

use std::time::UNIX_EPOCH;

const DAY_S: i64 = 86_400;

/// Reads ISO 8601's basic format (`20150830T123600Z`) or an HTTP date; milliseconds since 1970.
pub(super) fn parse(text: &str) -> Option<i64> {
    parse_basic(text).or_else(|| {
        let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    })
}

fn parse_basic(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = &bytes[range];
        let number = digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit.wrapping_sub(b'0')));
        digits.iter().all(u8::is_ascii_digit).then_some(number)
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let in_range = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    let seconds = days_from_civil(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    // A day the month does not have comes out as another date.
    (in_range && basic_format(seconds * 1000) == text).then_some(seconds * 1000)
}

/// Writes milliseconds since 1970 in ISO 8601's basic format.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "single digits")]
pub(crate) fn basic_format(epoch_ms: i64) -> String {
    let seconds = epoch_ms.div_euclid(1000);
    let (days, second_of_day) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    if !(0..10_000).contains(&year) {
        return format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    }
    // Written out, because two are made for each request and `format!` is slow.
    let mut text = Vec::with_capacity(16);
    for number in [year / 100, year % 100, month, day, hour, minute, second] {
        if text.len() == 8 {
            text.push(b'T');
        }
        text.extend([number / 10, number % 10].map(|digit| b'0' + digit as u8));
    }
    text.push(b'Z');
    String::from_utf8(text).expect("digits are ASCII")
}

// Both after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap
// day is the last, and 400 years are one era of 146,097 days.

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse(text), expect, "{text}");
        check("20150830T123600Z", Some(1_440_938_160_000));
        check("Sun, 30 Aug 2015 12:36:00 GMT", Some(1_440_938_160_000));
        check("19700101T000000Z", Some(0));
        check("20240229T235959Z", Some(1_709_251_199_000));
        for bad in [
            "",
            "20230229T000000Z",
            "20151301T000000Z",
            "20150001T000000Z",
            "20150832T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "20150830T123660Z",
            "20150830t123600Z",
            "20150830T123600z",
            "2015083 T123600Z",
            "+0150830T123600Z",
            "2015-08-30T12:36:00Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in days_from_civil(1970, 1, 1)..days_from_civil(2370, 1, 1) {
            let text = basic_format(day * DAY_S * 1000);
            assert_eq!(parse(&text), Some(day * DAY_S * 1000), "{text}");
        }
    }
}
