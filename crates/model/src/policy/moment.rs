//! Moments in conditions: the W3C profile of ISO 8601, or seconds since 1970.

/// Seconds since 1970 in UTC, and nanoseconds.
pub(super) type Moment = (i64, u32);

/// Reads `2026-11-23T07:30:00.5Z`, anything of it from the right on missing, or seconds since 1970. Without a
/// zone it is UTC. What has neither `-` nor `T` is a number of seconds, as in IAM.
pub(super) fn moment(text: &str) -> Option<Moment> {
    let text = text.trim();
    if !text.contains(['-', 't', 'T']) {
        return number(text, 1..=19).map(|seconds| (seconds, 0));
    }
    let (date, time) = match text.split_once(['t', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let (days, (seconds, nanos)) = (days(date)?, time.map_or(Some((0, 0)), seconds_of_day)?);
    Some((days * 86_400 + seconds, nanos))
}

fn number(digits: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let valid = length.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let (sign, date) = match date.strip_prefix('-') {
        Some(date) => (-1, date),
        None => (1, date),
    };
    let mut parts = date.split('-');
    let year = sign * number(parts.next()?, 4..=9)?;
    let month = parts.next().map_or(Some(1), |month| number(month, 1..=2))?;
    let day = parts.next().map_or(Some(1), |day| number(day, 1..=2))?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=last).contains(&day) {
        return None;
    }
    // Years that begin in March put the leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

/// Seconds from midnight in UTC, which may lie on the day before or after.
fn seconds_of_day(time: &str) -> Option<Moment> {
    let (clock, offset) = match time.find(['z', 'Z', '+', '-']) {
        Some(at) => (&time[..at], offset(&time[at..])?),
        None => (time, 0),
    };
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 2..=2).filter(|hours| *hours < 24)?;
    let minutes = parts.next().map_or(Some(0), |minutes| number(minutes, 2..=2))?;
    let (seconds, nanos) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (number(seconds, 2..=2)?, 0),
            Some((seconds, fraction)) => {
                let nanos = number(fraction, 1..=9)? * 10_i64.pow(9 - u32::try_from(fraction.len()).ok()?);
                (number(seconds, 2..=2)?, u32::try_from(nanos).ok()?)
            }
        },
    };
    let valid = parts.next().is_none() && minutes < 60 && seconds < 60;
    valid.then_some((hours * 3600 + minutes * 60 + seconds - offset, nanos))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match zone.get(1..)? {
        hours if hours.len() == 2 => (hours, "00"),
        both => both.split_once(':').or_else(|| both.split_at_checked(2))?,
    };
    let (hours, minutes) = (number(hours, 2..=2)?, number(minutes, 2..=2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_read_as_iam_reads_them() {
        let check = |text: &str, expect: Option<(i64, u32)>| assert_eq!(moment(text), expect, "{text}");
        check("1970-01-01T00:00:00Z", Some((0, 0)));
        check("2026-11-23T07:30:05Z", Some((1_795_419_005, 0)));
        check("2026-11-23T07:30:05.25Z", Some((1_795_419_005, 250_000_000)));
        check("2026-11-23t07:30:05z", Some((1_795_419_005, 0)));
        check("2026-11-23T08:30:05+01:00", Some((1_795_419_005, 0)));
        check("2026-11-23T02:00:05-0530", Some((1_795_419_005, 0)));
        check("2026-11-23T07:30:05", Some((1_795_419_005, 0)));
        check("2026-11-23T07:30Z", Some((1_795_419_000, 0)));
        check("2026-11-23", Some((1_795_392_000, 0)));
        check("2026-11", Some((1_793_491_200, 0)));
        check("2026-1-2", moment("2026-01-02"));
        check("2000-02-29", Some((951_782_400, 0)));
        check("1969-12-31T23:59:59Z", Some((-1, 0)));
        check("0", Some((0, 0)));
        check("1795419005", Some((1_795_419_005, 0)));
        for bad in [
            "",
            "x",
            "-",
            "T",
            "2026-13-01",
            "2026-02-30",
            "1900-02-29",
            "2026-11-23T24:00:00Z",
            "2026-11-23T07:60Z",
            "2026-11-23T07:30:05.Z",
            "2026-11-23T07:30:05+1",
            "26-11-23",
            "1.5",
            "99999999999999999999",
            "2026-11-23T07:30:05Zx",
            "2026-11-23T",
            "2026-001-2",
            "2026-11-23T+é",
        ] {
            check(bad, None);
        }
    }
}
