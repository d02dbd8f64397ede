//! The servers that are compared.

use std::fmt;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// One server in one way of binding its socket.
///
/// A socket bound to a wildcard address costs the kernel a choice of the source address for every reply, so both ways
/// are separate subjects, and only like is compared with like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// aquatic 0.9 on 127.0.0.1.
    Aquatic,
    /// aquatic 0.9 on 0.0.0.0.
    AquaticWildcard,
    /// Tidings on 127.0.0.1.
    Tidings,
    /// Tidings on 0.0.0.0.
    TidingsWildcard,
    /// Another build of Tidings on 127.0.0.1, measured if `--reference` names it.
    #[value(skip)]
    Reference,
    /// The bare responder on 127.0.0.1.
    Bare,
    /// The bare responder on 0.0.0.0.
    BareWildcard,
}

impl Subject {
    /// All of them, in the order of measurement.
    pub const ALL: [Self; 7] = [
        Self::Aquatic,
        Self::AquaticWildcard,
        Self::Tidings,
        Self::TidingsWildcard,
        Self::Reference,
        Self::Bare,
        Self::BareWildcard,
    ];
    /// Those measured unless the command line says otherwise.
    pub const USUAL: [Self; 4] = [Self::Aquatic, Self::Tidings, Self::TidingsWildcard, Self::Bare];

    /// Whether the server's socket is bound to 0.0.0.0.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::AquaticWildcard | Self::TidingsWildcard | Self::BareWildcard)
    }

    /// Whether the server keeps no state and looks nothing up.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::Bare | Self::BareWildcard)
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aquatic => "aquatic",
            Self::AquaticWildcard => "aquatic wildcard",
            Self::Tidings => "tidings",
            Self::TidingsWildcard => "tidings wildcard",
            Self::Reference => "reference",
            Self::Bare => "bare",
            Self::BareWildcard => "bare wildcard",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
