//! Texts that match a pattern and texts that do not, given by hand: the verdict is not the server's own.

use syncline_wire::shape::{Pattern, TextRule};

/// What is known of a pattern.
pub(super) struct Witness {
    pattern: &'static str,
    /// What every matching text begins with; it goes on with `fill`.
    prefix: &'static str,
    fill: char,
    lengths: Lengths,
    /// More texts that match.
    pub(super) matching: &'static [&'static str],
    /// Texts that do not.
    pub(super) unmatched: &'static [&'static str],
    /// True where any character will do.
    pub(super) any: bool,
}

/// The lengths that a matching text can have.
enum Lengths {
    From(usize),
    Only(&'static [usize]),
}
use Lengths::{From, Only};

const NO_LINES: &[&str] = &["a\nb", "\r", "a\u{85}", "\u{2028}b", "\u{2029}"];
const NO_ARNS: &[&str] = &[
    "arn",
    "arn:aws:codeconnections:eu-west-1:11111111111:connection/a",
    "arn:aws:codeconnections:eu-west-1:1111111111111:connection/a",
    "arn:aws:codeconnections::111111111111:connection/a",
    "arn:aws:codeconnections:eu-west-1:111111111111:",
    "arn:aws-:codeconnections:eu-west-1:111111111111:connection/a",
    "arn:aws:codeconnections:eu-west-1:11111111111\u{663}:connection/a",
    "arn:aws:codeconnections:eu-west-1:111111111111:connection/a\nb",
    " arn:aws:codeconnections:eu-west-1:111111111111:connection/a",
];

/// Every pattern of the model.
pub(super) const WITNESSES: &[Witness] = &[
    Witness {
        pattern: r"[0-9]{12}",
        prefix: "",
        fill: '1',
        lengths: Only(&[12]),
        matching: &["012345678901"],
        unmatched: &["1111 1111111", "11111111111\u{663}"],
        any: false,
    },
    Witness {
        pattern: r"arn:aws(-[\w]+)*:.+:.+:[0-9]{12}:.+",
        prefix: "arn:aws:codeconnections:eu-west-1:111111111111:connection/",
        fill: '0',
        lengths: From("arn:aws:codeconnections:eu-west-1:111111111111:connection/0".len()),
        matching: &[
            "arn:aws:x:y:111111111111:z",
            "arn:aws-us-gov:codeconnections:us-gov-west-1:111111111111:connection/a",
            "arn:aws-a-b_c:codestar-connections:eu-west-1:111111111111:connection/a",
            "arn:aws:codeconnections:eu-west-1:111111111111:caf\u{e9}/\u{1d11e}",
        ],
        unmatched: NO_ARNS,
        any: false,
    },
    Witness {
        pattern: r"arn:aws(-[\w]+)*:(codestar-connections|codeconnections):.+:[0-9]{12}:host\/.+",
        prefix: "arn:aws:codeconnections:eu-west-1:111111111111:host/forge-",
        fill: '0',
        lengths: From("arn:aws:codeconnections:eu-west-1:111111111111:host/forge-0".len()),
        matching: &[
            "arn:aws:codestar-connections:x:111111111111:host/a",
            "arn:aws-cn:codeconnections:cn-north-1:111111111111:host/caf\u{e9} two",
        ],
        unmatched: &[
            "arn:aws:codecommit:eu-west-1:111111111111:host/a",
            "arn:aws:codeconnections:eu-west-1:111111111111:host/",
            "arn:aws:codeconnections:eu-west-1:111111111111:connection/a",
            "arn:aws:codeconnections:eu-west-1:11111111111:host/a",
        ],
        any: false,
    },
    Witness {
        pattern: r"^arn:aws(?:-[a-z]+)*:(codestar-connections|codeconnections):[a-z\-0-9]+:\d{12}:repository-link\/[a-zA-Z0-9\-:/]+",
        prefix: "arn:aws:codeconnections:eu-west-1:111111111111:repository-link/",
        fill: '0',
        lengths: From("arn:aws:codeconnections:eu-west-1:111111111111:repository-link/0".len()),
        matching: &["arn:aws-cn:codestar-connections:cn-north-1:111111111111:repository-link/a-b"],
        unmatched: &["arn:aws:codeconnections:eu-west-1:111111111111:repository-link/"],
        any: false,
    },
    Witness {
        pattern: r"arn:aws(-[\w]+)*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+",
        prefix: "arn:aws:iam::111111111111:role/",
        fill: 'r',
        lengths: From("arn:aws:iam::111111111111:role/r".len()),
        matching: &["arn:aws:iam::111111111111:role/path/a_B-0+=,.@"],
        unmatched: &[
            "arn:aws:iam::111111111111:role/",
            "arn:aws:iam::111111111111:user/a",
            "arn:aws:iam::111111111111:role/caf\u{e9}",
            "arn:aws:iam:eu-west-1:111111111111:role/a",
            "arn:aws:iam::11111111111\u{663}:role/a",
            "arn:aws:iam::111111111111:role/a b",
        ],
        any: false,
    },
    Witness {
        pattern: r"arn:aws(-[\w]+)*:kms:[a-z\-0-9]+:\d{12}:key/[a-zA-Z0-9\-]+",
        prefix: "arn:aws:kms:eu-west-1:111111111111:key/",
        fill: '0',
        lengths: From("arn:aws:kms:eu-west-1:111111111111:key/0".len()),
        matching: &["arn:aws-cn:kms:cn-north-1:222222222222:key/mrk-A0"],
        unmatched: &[
            "arn:aws:kms:eu-west-1:111111111111:alias/a",
            "arn:aws:kms::111111111111:key/a",
            "arn:aws:kms:eu-west-1:111111111111:key/a_b",
        ],
        any: false,
    },
    Witness {
        pattern: r"^[0-9a-fA-F]{8}\b-[0-9a-fA-F]{4}\b-[0-9a-fA-F]{4}\b-[0-9a-fA-F]{4}\b-[0-9a-fA-F]{12}$",
        prefix: "00000000-1111-2222-3333-444444444444",
        fill: '0',
        lengths: Only(&[36]),
        matching: &["abcdefAB-cdef-0123-4567-89aBcDeF0123"],
        unmatched: &[
            "",
            "00000000-1111-2222-3333-44444444444",
            "00000000-1111-2222-3333-4444444444444",
            "g0000000-1111-2222-3333-444444444444",
            "00000000111122223333444444444444",
            "00000000-1111-2222-3333-444444444444\n",
        ],
        any: false,
    },
    Witness {
        pattern: r"^[0-9A-Za-z]+[0-9A-Za-z_\\-]*$",
        prefix: "",
        fill: 'a',
        lengths: From(1),
        matching: &["a-b", "Z0"],
        unmatched: &["_a", "-a", "a b", "a.b", "caf\u{e9}", "a\n"],
        any: false,
    },
    Witness {
        pattern: r"sg-\w{8}(\w{9})?",
        prefix: "sg-",
        fill: '0',
        lengths: Only(&[11, 20]),
        matching: &["sg-a_B45678"],
        unmatched: &["sg-0000000-", "sg-000000000", "SG-00000000", "sg-0000000\u{e9}"],
        any: false,
    },
    Witness {
        pattern: r"subnet-\w{8}(\w{9})?",
        prefix: "subnet-",
        fill: '0',
        lengths: Only(&[15, 24]),
        matching: &["subnet-a_B45678"],
        unmatched: &["subnet-0000000-", "subnet-000000000", "Subnet-00000000"],
        any: false,
    },
    Witness {
        pattern: r"vpc-\w{8}(\w{9})?",
        prefix: "vpc-",
        fill: '0',
        lengths: Only(&[12, 21]),
        matching: &["vpc-a_B45678"],
        unmatched: &["vpc-0000000-", "vpc-000000000", "VPC-00000000"],
        any: false,
    },
    Witness {
        pattern: r".*",
        prefix: "",
        fill: 'a',
        lengths: From(0),
        matching: &["a b", "caf\u{e9}"],
        unmatched: NO_LINES,
        any: true,
    },
    Witness {
        pattern: r"^.*$",
        prefix: "",
        fill: 'a',
        lengths: From(0),
        matching: &["b-b", "caf\u{e9}"],
        unmatched: NO_LINES,
        any: true,
    },
    Witness {
        pattern: r"[\s\S]*",
        prefix: "",
        fill: 'a',
        lengths: From(0),
        matching: &["a b", "a\nb\u{2028}", "caf\u{e9}"],
        unmatched: &[],
        any: true,
    },
];

/// A text without a pattern.
static PLAIN: Witness = Witness {
    pattern: "",
    prefix: "",
    fill: 'a',
    lengths: From(0),
    matching: &[],
    unmatched: &[],
    any: true,
};

/// What is known of the rule's pattern.
pub(super) fn witness(rule: &TextRule) -> &'static Witness {
    let Some(pattern) = rule.pattern else { return &PLAIN };
    let found = WITNESSES.iter().find(|witness| witness.pattern == pattern.text());
    found.unwrap_or_else(|| panic!("nothing is known of the pattern {}", pattern.text()))
}

impl Witness {
    /// A matching text of that many characters, beginning with `meant` where that leaves room.
    pub(super) fn at(&self, length: usize, meant: Option<&str>) -> Option<String> {
        let possible = match self.lengths {
            From(least) => length >= least,
            Only(lengths) => lengths.contains(&length),
        };
        let prefix = meant.filter(|meant| meant.len() < length).unwrap_or(self.prefix);
        possible.then(|| {
            let fill = std::iter::repeat_n(self.fill, length - prefix.len());
            prefix.chars().chain(fill).collect()
        })
    }

    /// The lengths at which the pattern itself has a bound.
    pub(super) fn bounds(&self) -> &[usize] {
        match &self.lengths {
            From(least) => std::slice::from_ref(least),
            Only(lengths) => lengths,
        }
    }
}

/// The patterns agree with what is said of them here.
#[test]
fn what_is_said_of_a_pattern_is_true() {
    for witness in WITNESSES {
        let pattern = Pattern::new(witness.pattern);
        let check = |text: &str, expect: bool| {
            assert_eq!(pattern.matches(text), expect, "{} on {text:?}", witness.pattern);
        };
        for &bound in witness.bounds() {
            check(&witness.at(bound, None).expect("possible"), true);
        }
        if let From(least) = witness.lengths {
            check(&witness.at(least + 1000, None).expect("possible"), true);
        }
        witness.matching.iter().for_each(|text| check(text, true));
        witness.unmatched.iter().for_each(|text| check(text, false));
        assert!(witness.any || !witness.unmatched.is_empty(), "{}", witness.pattern);
    }
}
