//! Serde for optional keys: `"off"` or an empty string means `None`, so that a higher layer can unset what a lower one
//! sets, and so that every key has a value to print.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str("off"),
    }
}

pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    match String::deserialize(deserializer)?.as_str() {
        "" | "off" => Ok(None),
        text => text.parse().map(Some).map_err(D::Error::custom),
    }
}
