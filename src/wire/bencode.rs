//! Bencode (BEP 3): the replies of the HTTP tracker protocol, and a strict reader to check such replies with.

mod reader;
mod reply;

pub use reader::{Error, MAX_DEPTH, Value, parse};
pub use reply::{
    AnnounceReply, RetryIn, write_announce, write_failure, write_scrape, write_scrape_begin, write_scrape_end,
    write_scrape_entry,
};

fn write_int(out: &mut Vec<u8>, value: u32) {
    out.push(b'i');
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b'e');
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}
