//! A strict bencode reader. It accepts the one canonical encoding of a value and nothing else, so that it finds what
//! lenient clients forgive and strict ones do not.

/// How deep lists and dictionaries may be nested. Replies of trackers need three levels.
pub const MAX_DEPTH: usize = 16;

/// A value; strings are borrowed from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `i…e`
    Int(i64),
    /// `length:…`; bytes of no certain encoding.
    Bytes(&'a [u8]),
    /// `l…e`
    List(Vec<Value<'a>>),
    /// `d…e`, in ascending order of the keys.
    Dict(Vec<(&'a [u8], Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The value of `key`, if this is a dictionary that has it.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Value<'a>> {
        let Self::Dict(entries) = self else { return None };
        let at = entries.binary_search_by_key(&key.as_ref(), |&(key, _)| key).ok()?;
        Some(&entries[at].1)
    }

    /// The integer, if this is one.
    pub const fn as_int(&self) -> Option<i64> {
        match *self {
            Self::Int(int) => Some(int),
            _ => None,
        }
    }

    /// The string, if this is one.
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if this is a list.
    pub fn as_list(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }
}

/// Why bytes are not bencode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends within a value.
    #[error("the input ends within a value")]
    End,
    /// No value starts with this byte.
    #[error("no value starts with byte {0:#04x}")]
    UnexpectedByte(u8),
    /// An integer or a length with leading zeros, without digits, negative zero, or too large.
    #[error("a number is not in canonical form or too large")]
    Number,
    /// A key is not greater than the one before it.
    #[error("the keys of a dictionary are not in ascending order")]
    KeyOrder,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("values are nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Bytes are left behind the value.
    #[error("{0} bytes are left behind the value")]
    Trailing(usize),
}

/// Parses one value that takes up all of `input`. The memory needed is at most 32 times the input's length or so.
pub fn parse(input: &[u8]) -> Result<Value<'_>, Error> {
    let mut reader = Reader { rest: input };
    let value = reader.value(MAX_DEPTH)?;
    match reader.rest.len() {
        0 => Ok(value),
        left => Err(Error::Trailing(left)),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads a value with at most `depth` levels of lists and dictionaries, which bounds the recursion.
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        match self.peek()? {
            b'i' => {
                self.skip();
                self.int(b'e').map(Value::Int)
            }
            b'0'..=b'9' => self.bytes().map(Value::Bytes),
            b'l' => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                self.skip();
                let mut values = Vec::new();
                while !self.at_end()? {
                    values.push(self.value(depth)?);
                }
                Ok(Value::List(values))
            }
            b'd' => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                self.skip();
                let mut entries: Vec<(&[u8], Value<'a>)> = Vec::new();
                while !self.at_end()? {
                    let key = self.bytes()?;
                    if entries.last().is_some_and(|&(last, _)| last >= key) {
                        return Err(Error::KeyOrder);
                    }
                    entries.push((key, self.value(depth)?));
                }
                Ok(Value::Dict(entries))
            }
            byte => Err(Error::UnexpectedByte(byte)),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        match self.peek()? {
            b'0'..=b'9' => {}
            byte => return Err(Error::UnexpectedByte(byte)),
        }
        let len = usize::try_from(self.int(b':')?).map_err(|_| Error::Number)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Error::End)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a canonical integer and the byte `end` behind it.
    fn int(&mut self, end: u8) -> Result<i64, Error> {
        // An `i64` has at most 20 characters, so that a long run of digits is not even looked through.
        let window = &self.rest[..self.rest.len().min(21)];
        let Some(len) = window.iter().position(|&byte| byte == end) else {
            return Err(if window.len() < 21 { Error::End } else { Error::Number });
        };
        let digits = &window[..len];
        self.rest = &self.rest[len + 1..];
        match digits {
            b"0" => Ok(0),
            [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => {
                str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Error::Number)
            }
            _ => Err(Error::Number),
        }
    }

    /// Takes the end of a list or dictionary, if there.
    fn at_end(&mut self) -> Result<bool, Error> {
        let at_end = self.peek()? == b'e';
        if at_end {
            self.skip();
        }
        Ok(at_end)
    }

    fn peek(&self) -> Result<u8, Error> {
        self.rest.first().copied().ok_or(Error::End)
    }

    fn skip(&mut self) {
        self.rest = &self.rest[1..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_bep_3() {
        assert_eq!(parse(b"4:spam"), Ok(Value::Bytes(b"spam")));
        assert_eq!(parse(b"i3e"), Ok(Value::Int(3)));
        assert_eq!(parse(b"i-3e"), Ok(Value::Int(-3)));
        assert_eq!(parse(b"i0e"), Ok(Value::Int(0)));
        assert_eq!(parse(b"l4:spam4:eggse"), Ok(Value::List(vec![Value::Bytes(b"spam"), Value::Bytes(b"eggs")])));
        let dict = parse(b"d4:spaml1:a1:bee").unwrap();
        assert_eq!(dict.get("spam"), Some(&Value::List(vec![Value::Bytes(b"a"), Value::Bytes(b"b")])));
        assert_eq!(dict.get("eggs"), None);
    }

    #[test]
    fn only_canonical_bencode_is_accepted() {
        for (input, error) in [
            (&b""[..], Error::End),
            (b"i3", Error::End),
            (b"5:spam", Error::End),
            (b"l", Error::End),
            (b"d1:a", Error::End),
            (b"i03e", Error::Number),
            (b"i-0e", Error::Number),
            (b"ie", Error::Number),
            (b"i+3e", Error::Number),
            (b"i1_0e", Error::Number),
            (b"i9223372036854775808e", Error::Number),
            (b"01:a", Error::Number),
            (b"999999999999999999999999:a", Error::Number),
            (b"9223372036854775807:a", Error::End),
            (b"-1:a", Error::UnexpectedByte(b'-')),
            (b"x", Error::UnexpectedByte(b'x')),
            (b"di1ei2ee", Error::UnexpectedByte(b'i')),
            (b"i1ei2e", Error::Trailing(3)),
        ] {
            assert_eq!(parse(input), Err(error), "{}", input.escape_ascii());
        }
        assert_eq!(parse(b"i-9223372036854775808e"), Ok(Value::Int(i64::MIN)));
    }

    #[test]
    fn trap_35_unsorted_or_repeated_keys_are_refused() {
        assert_eq!(parse(b"d1:bi0e1:ai0ee"), Err(Error::KeyOrder));
        assert_eq!(parse(b"d1:ai0e1:ai0ee"), Err(Error::KeyOrder));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| ["l".repeat(depth), "e".repeat(depth)].concat();
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse(nested(MAX_DEPTH + 1).as_bytes()), Err(Error::Depth));
        assert_eq!(parse("d1:a".repeat(1_000_000).as_bytes()), Err(Error::Depth));
    }

    proptest! {
        #[test]
        fn no_input_panics(input: Vec<u8>, words in "[ilde0-9:-]{0,40}") {
            let _ = parse(&input);
            let _ = parse(words.as_bytes());
        }

        #[test]
        fn integers_round_trip_and_no_prefix_is_valid(int: i64) {
            let text = format!("i{int}e");
            prop_assert_eq!(parse(text.as_bytes()), Ok(Value::Int(int)));
            for len in 0..text.len() {
                prop_assert_eq!(parse(&text.as_bytes()[..len]), Err(Error::End));
            }
        }
    }
}
