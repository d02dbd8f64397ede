//! Any input to the bencode reader: no panic, no deep recursion, and what is accepted is canonical, so that writing it
//! again gives the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::wire::bencode::{Value, parse};

fn write(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Int(int) => out.extend(format!("i{int}e").bytes()),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::List(values) => {
            out.push(b'l');
            values.iter().for_each(|value| write(out, value));
            out.push(b'e');
        }
        Value::Dict(entries) => {
            out.push(b'd');
            for (key, value) in entries {
                write_bytes(out, key);
                write(out, value);
            }
            out.push(b'e');
        }
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("{}:", bytes.len()).bytes());
    out.extend_from_slice(bytes);
}

fuzz_target!(|input: &[u8]| {
    if let Ok(value) = parse(input) {
        let mut out = Vec::new();
        write(&mut out, &value);
        assert_eq!(out, input);
    }
});
