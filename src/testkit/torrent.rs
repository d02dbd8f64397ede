//! A torrent of one file.

use std::path::Path;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The name of its file.
pub const NAME: &str = "payload.bin";
const PIECE: usize = 1 << 16;

pub struct Torrent {
    pub content: Vec<u8>,
    pub info_hash: [u8; 20],
    announce: String,
    info: Vec<u8>,
}

impl Torrent {
    /// Some random content and its metainfo (BEP 3; `private` is BEP 27).
    pub fn new(announce: &str, private: bool) -> Self {
        let content: Vec<u8> = (0..(1 << 20) + 4321).map(|_| rand::random()).collect();
        let pieces: Vec<u8> = content.chunks(PIECE).flat_map(sha1).collect();
        let mut info = format!("d6:lengthi{}e", content.len()).into_bytes();
        info.extend(format!("4:name{}:{NAME}12:piece lengthi{PIECE}e6:pieces{}:", NAME.len(), pieces.len()).bytes());
        info.extend(pieces);
        if private {
            info.extend(b"7:privatei1e");
        }
        info.push(b'e');
        Self { content, info_hash: sha1(&info), announce: announce.to_owned(), info }
    }

    pub fn write(&self, path: &Path) {
        self.write_for(&self.announce, path);
    }

    /// For clients of another tracker.
    pub fn write_for(&self, announce: &str, path: &Path) {
        let mut metainfo = format!("d8:announce{}:{announce}4:info", announce.len()).into_bytes();
        metainfo.extend(&self.info);
        metainfo.push(b'e');
        std::fs::write(path, metainfo).unwrap();
    }
}

fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().try_into().unwrap()
}
