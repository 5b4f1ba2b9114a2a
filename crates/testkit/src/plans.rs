//! Where a process is to die, in words that survive a command line.

use syncline_seams::Moment;

/// The passing of a fault point at which a process is to die: `<point>:<before|after>:<N>`, N counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deadly {
    /// The point.
    pub point: String,
    /// Before or after.
    pub moment: Moment,
    /// The how-manyeth passing of this point at this moment since the process began.
    pub nth: u32,
}

impl Deadly {
    /// The word for a moment.
    #[must_use]
    pub fn moment_name(moment: Moment) -> &'static str {
        match moment {
            Moment::Before => "before",
            Moment::After => "after",
        }
    }

    /// Whether this is the `nth` passing of `point` at `moment`.
    #[must_use]
    pub fn is(&self, point: &str, moment: Moment, nth: u32) -> bool {
        self.point == point && self.moment == moment && self.nth == nth
    }
}

impl std::fmt::Display for Deadly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.point, Self::moment_name(self.moment), self.nth)
    }
}

impl std::str::FromStr for Deadly {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (rest, nth) = text.rsplit_once(':')?;
            let (point, moment) = rest.rsplit_once(':')?;
            let moments = [Moment::Before, Moment::After];
            let moment = moments.into_iter().find(|&known| Self::moment_name(known) == moment)?;
            Some(Self { point: point.to_owned(), moment, nth: nth.parse().ok()? })
        };
        parsed().ok_or_else(|| format!("'{text}' is not <point>:<before|after>:<N>"))
    }
}
