//! The snapshot file, version 1. Pure: bytes in, bytes out.
//!
//! ```text
//! file    = magic (8 bytes) · version (u16) · frame…            all numbers little-endian
//! frame   = length (u32) · CRC-32 of length and payload (u32) · payload
//! payload = 0 · wall (u64) · node id                            once, the first
//!         | 1 · wall (u64) · batch                              any number; see `record_codec`
//!         | 2 · data frames (u64) · records (u64)               once, the last: without it the file is torn
//! ```
//!
//! `wall` is in milliseconds since the Unix epoch. Each data frame has its own, so that ages continue from the moment
//! when they were read.

use std::io::{self, Read};

use crate::partition::record_codec::{self, AgedRecord, RecordBatch, SwarmRecords};
use crate::swarm::{AddressFamily, Family, InfoHash, V4, V6};

const MAGIC: [u8; 8] = *b"TIDSNAP\n";
const VERSION: u16 = 1;
/// A greater length is not valid: this bounds what a corrupt file makes us allocate.
const MAX_PAYLOAD: usize = 1 << 20;

const KIND_HEADER: u8 = 0;
const KIND_DATA: u8 = 1;
const KIND_FOOTER: u8 = 2;

/// Why a file cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it cannot be read ({0})")]
    Io(#[source] io::Error),
    #[error("it is not a snapshot")]
    NotASnapshot,
    #[error("it has format version {0}, and this version of tidings reads only {VERSION}")]
    Version(u16),
    #[error("it ends in the middle")]
    Torn,
    #[error("a checksum does not match")]
    Checksum,
    /// The checksum matches, but the content is not valid.
    #[error("its content is malformed")]
    Malformed,
}

/// The start of a file.
pub fn header(node_id: &str, wall: u64) -> Vec<u8> {
    let payload = [&[KIND_HEADER][..], &wall.to_le_bytes(), node_id.as_bytes()].concat();
    [&MAGIC[..], &VERSION.to_le_bytes(), &frame_head(&payload), &payload].concat()
}

/// The end of a file with this many data frames and records.
pub fn footer(frames: u64, records: u64) -> Vec<u8> {
    let payload = [&[KIND_FOOTER][..], &frames.to_le_bytes(), &records.to_le_bytes()].concat();
    [&frame_head(&payload)[..], &payload].concat()
}

/// What goes before a payload in the file.
pub fn frame_head(payload: &[u8]) -> [u8; 8] {
    let length = (payload.len() as u32).to_le_bytes();
    let mut head = [0; 8];
    head[..4].copy_from_slice(&length);
    head[4..].copy_from_slice(&checksum(length, payload).to_le_bytes());
    head
}

/// Covers the length too: a payload of zeros must not pass for many empty frames.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of an empty data frame, whose ages are as of `wall`.
pub fn data_frame(wall: u64) -> RecordBatch {
    RecordBatch::after([&[KIND_DATA][..], &wall.to_le_bytes()].concat())
}

/// Some records of a swarm, as read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSwarm<F: AddressFamily> {
    pub info_hash: InfoHash,
    pub completed: u32,
    pub records: Vec<AgedRecord<F>>,
}

impl<F: AddressFamily> From<SwarmRecords<'_>> for SavedSwarm<F> {
    fn from(swarm: SwarmRecords<'_>) -> Self {
        Self { info_hash: swarm.info_hash, completed: swarm.completed, records: swarm.records().collect() }
    }
}

/// Some records of a swarm of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnySwarm {
    V4(SavedSwarm<V4>),
    V6(SavedSwarm<V6>),
}

impl AnySwarm {
    pub fn info_hash(&self) -> &InfoHash {
        match self {
            Self::V4(swarm) => &swarm.info_hash,
            Self::V6(swarm) => &swarm.info_hash,
        }
    }

    pub fn records(&self) -> usize {
        match self {
            Self::V4(swarm) => swarm.records.len(),
            Self::V6(swarm) => swarm.records.len(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFrame {
    /// When its ages were true, in milliseconds since the Unix epoch.
    pub wall: u64,
    pub swarms: Vec<AnySwarm>,
}

/// Reads the data frames of a file.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    offset: u64,
    frames: u64,
    records: u64,
    ended: bool,
}

impl<R: Read> FrameReader<R> {
    /// Reads up to the first data frame.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(mut source: R) -> Result<Self, SnapshotError> {
        let magic: [u8; 8] = array(&mut source)?;
        if magic != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = u16::from_le_bytes(array(&mut source)?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let header = payload(&mut source)?;
        // The wall clock and the node's name are for people with a hex editor.
        if header.first() != Some(&KIND_HEADER) || header.len() < 9 {
            return Err(SnapshotError::Malformed);
        }
        let offset = 10 + framed(&header);
        Ok(Self { source, offset, frames: 0, records: 0, ended: false })
    }

    /// How many bytes of the file were whole frames so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next data frame; `None` at the end of a complete file. Nothing can be read after an error.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read(&mut self) -> Result<Option<DataFrame>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let payload = payload(&mut self.source)?;
        let mut rest = Rest(&payload);
        match rest.take::<1>()? {
            [KIND_DATA] => {
                let wall = u64::from_le_bytes(rest.take()?);
                let mut swarms = Vec::new();
                for swarm in record_codec::swarms(rest.0) {
                    let swarm = swarm.map_err(|record_codec::Malformed| SnapshotError::Malformed)?;
                    let swarm = match swarm.family {
                        Family::V4 => AnySwarm::V4(swarm.into()),
                        Family::V6 => AnySwarm::V6(swarm.into()),
                    };
                    self.records += swarm.records() as u64;
                    swarms.push(swarm);
                }
                self.frames += 1;
                self.offset += framed(&payload);
                Ok(Some(DataFrame { wall, swarms }))
            }
            [KIND_FOOTER] => {
                let totals = (u64::from_le_bytes(rest.take()?), u64::from_le_bytes(rest.take()?));
                self.ended = true;
                if totals == (self.frames, self.records) { Ok(None) } else { Err(SnapshotError::Malformed) }
            }
            _ => Err(SnapshotError::Malformed),
        }
    }
}

/// Bytes that a payload takes in the file.
fn framed(payload: &[u8]) -> u64 {
    8 + payload.len() as u64
}

fn array<const N: usize>(source: &mut impl Read) -> Result<[u8; N], SnapshotError> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map_err(torn)?;
    Ok(bytes)
}

fn torn(error: io::Error) -> SnapshotError {
    if error.kind() == io::ErrorKind::UnexpectedEof { SnapshotError::Torn } else { SnapshotError::Io(error) }
}

fn payload(source: &mut impl Read) -> Result<Vec<u8>, SnapshotError> {
    let length: [u8; 4] = array(source)?;
    let expected = u32::from_le_bytes(array(source)?);
    let count = u32::from_le_bytes(length) as usize;
    if count > MAX_PAYLOAD {
        return Err(SnapshotError::Checksum);
    }
    let mut payload = vec![0; count];
    source.read_exact(&mut payload).map_err(torn)?;
    if checksum(length, &payload) != expected {
        return Err(SnapshotError::Checksum);
    }
    Ok(payload)
}

/// The unread rest of a payload.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SnapshotError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }
}
