//! The options that may follow an announce (BEP 41).

const END_OF_OPTIONS: u8 = 0;
const NOP: u8 = 1;
/// The type of an option that holds a piece of the announce URL.
pub const URL_DATA: u8 = 2;

/// The bytes after an announce, read only when asked for. What follows a malformed option is ignored: clients put all
/// kinds of things there, and none of it may fail an announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

/// One option with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpOption<'a> {
    /// Up to 255 bytes of the path and query of the announce URL; a longer URL takes several options.
    UrlData(&'a [u8]),
    /// An option that this version does not know.
    Unknown {
        /// The option's type.
        kind: u8,
        /// The option's body.
        data: &'a [u8],
    },
}

impl<'a> Options<'a> {
    /// Options in wire form.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The options in wire form.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The well-formed options, in order, without padding.
    pub fn iter(&self) -> OptionIter<'a> {
        OptionIter(self.0)
    }

    /// The pieces of the announce URL's path and query; together they are the whole.
    pub fn url_data(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.iter().filter_map(|option| match option {
            UdpOption::UrlData(data) => Some(data),
            UdpOption::Unknown { .. } => None,
        })
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = UdpOption<'a>;
    type IntoIter = OptionIter<'a>;

    fn into_iter(self) -> OptionIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Options`].
#[derive(Clone, Debug)]
pub struct OptionIter<'a>(&'a [u8]);

impl<'a> Iterator for OptionIter<'a> {
    type Item = UdpOption<'a>;

    fn next(&mut self) -> Option<UdpOption<'a>> {
        loop {
            // Nothing can be found behind an end or a malformed option, so the iterator stays empty from there on.
            let (&kind, rest) = std::mem::take(&mut self.0).split_first()?;
            match kind {
                END_OF_OPTIONS => return None,
                NOP => self.0 = rest,
                kind => {
                    let (&len, rest) = rest.split_first()?;
                    let (data, rest) = rest.split_at_checked(len.into())?;
                    self.0 = rest;
                    return Some(match kind {
                        URL_DATA => UdpOption::UrlData(data),
                        kind => UdpOption::Unknown { kind, data },
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(bytes: &[u8]) -> Vec<u8> {
        Options::new(bytes).url_data().flatten().copied().collect()
    }

    #[test]
    fn url_data_is_joined_over_padding_and_unknown_options() {
        assert_eq!(url(b"\x02\x09/announce\x01\x07\x02??\x02\x05?k=v1\x00\x02\x01x"), b"/announce?k=v1");
    }

    #[test]
    fn malformed_options_end_the_list() {
        for bytes in [&b""[..], b"\x00", b"\x02", b"\x02\x05abcd", b"\x09", b"\x01\x01\x01", b"\x02\x00"] {
            assert_eq!(url(bytes), b"");
        }
        assert_eq!(url(b"\x02\x01a\x02\xffbc"), b"a");
    }

    #[test]
    fn nothing_is_found_behind_the_end() {
        let mut options = Options::new(b"\x00\x02\x01x").iter();
        assert_eq!((options.next(), options.next()), (None, None));
    }
}
