//! Points in time on the wire.

use std::fmt;

use ciborium::tag::Accepted;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, to the millisecond.
///
/// On the wire it is a number of seconds since 1970 with a fraction: plain in JSON, under tag 1 in CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    epoch_ms: i64,
}

/// The CBOR tag of seconds since 1970 (RFC 8949, 3.4.2).
pub(crate) const EPOCH_TAG: u64 = 1;

impl Timestamp {
    /// The point `epoch_ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_epoch_ms(epoch_ms: i64) -> Self {
        Self { epoch_ms }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn epoch_ms(self) -> i64 {
        self.epoch_ms
    }

    /// The point in ISO 8601, to the second: `2015-08-30T12:36:00Z`.
    #[must_use]
    pub fn iso8601(self) -> String {
        let basic = crate::sigv4::time::basic_format(self.epoch_ms);
        let [year, month, day] = [&basic[..4], &basic[4..6], &basic[6..8]];
        let [hour, minute, second] = [&basic[9..11], &basic[11..13], &basic[13..15]];
        format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
    }

    // Exact: doubles hold whole milliseconds for 285,000 years to either side.
    fn seconds(self) -> f64 {
        self.epoch_ms as f64 / 1000.0
    }

    /// Seconds for CBOR, never below the millisecond: the Rust SDK truncates what it reads to milliseconds, and the
    /// nearest double is below as often as above.
    fn seconds_not_below(self) -> f64 {
        let seconds = self.seconds();
        let nanos_of_second = (seconds.fract() * 1e9).trunc();
        let ms_of_second = self.epoch_ms % 1000;
        if self.epoch_ms > 0 && nanos_of_second < ms_of_second as f64 * 1e6 {
            seconds.next_up()
        } else {
            seconds
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    fn from_seconds(seconds: f64) -> Option<Self> {
        let epoch_ms = (seconds * 1000.0).round();
        (epoch_ms.abs() < 9.0e15).then_some(Self { epoch_ms: epoch_ms as i64 })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.seconds())
        } else {
            Accepted::<f64, EPOCH_TAG>(self.seconds_not_below()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = if deserializer.is_human_readable() {
            f64::deserialize(deserializer)?
        } else {
            Accepted::<f64, EPOCH_TAG>::deserialize(deserializer)?.0
        };
        Self::from_seconds(seconds).ok_or_else(|| D::Error::custom("the time is out of range"))
    }
}
