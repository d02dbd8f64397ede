//! Announces forwarded to another node, and their replies, packed into byte strings: version 1 of the protocol between
//! nodes.
//!
//! ```text
//! request  = incarnation (u64) · sent (u64) · announce…
//! announce = flags (u8) · num_want (u16) · info hash (20) · peer (6 or 18)      all numbers big-endian
//! flags    = 1 IPv6 · 2 seeder · event in the four highest bits
//! reply    = index (u16) · seeders, leechers, partial seeds, completed (u32 each) · length (u16) · compact peers
//! ```
//!
//! The index of a reply is the position of its announce in the request. *Incarnation* is the sender's, and *sent* is the
//! time in milliseconds on a clock of the sender that never jumps, so that a receiver that was paused can distinguish
//! requests that queued up from new ones.

use crate::swarm::{AddressFamily, Announce, Counts, Event, Family, InfoHash, V4, V6};

const V6_FLAG: u8 = 1;
const SEEDER: u8 = 2;

/// Maximum announces in one request: the index has to fit, and one slow request must not delay many announces.
pub const MAX_ANNOUNCES: usize = 1024;

/// When a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The sender's incarnation.
    pub incarnation: u64,
    /// Milliseconds since the sender's start.
    pub millis: u64,
}

/// Starts a request, with capacity for this many announces.
pub fn begin(sent: Sent, announces: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + announces * 29);
    out.extend_from_slice(&sent.incarnation.to_be_bytes());
    out.extend_from_slice(&sent.millis.to_be_bytes());
    out
}

/// The bytes are not a valid list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid list of routed announces")]
pub struct Malformed;

/// Appends an announce.
pub fn push_announce(out: &mut Vec<u8>, announce: &Announce) {
    let event = match announce.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
        Event::Paused => 4,
    };
    let key_v4 = V4::key(announce.peer);
    let flags = if key_v4.is_none() { V6_FLAG } else { 0 } | if announce.seeder { SEEDER } else { 0 } | event << 4;
    out.push(flags);
    out.extend_from_slice(&announce.num_want.to_be_bytes());
    out.extend_from_slice(&announce.info_hash.0);
    match (key_v4, V6::key(announce.peer)) {
        (Some(key), _) => out.extend_from_slice(&key),
        (None, Some(key)) => out.extend_from_slice(&key),
        // Unreachable: every peer belongs to one of the families.
        (None, None) => {}
    }
}

/// Reads what [`begin`] and [`push_announce`] wrote.
///
/// # Errors
/// When the bytes are anything else, or more than [`MAX_ANNOUNCES`].
pub fn announces(mut bytes: &[u8]) -> Result<(Sent, Vec<Announce>), Malformed> {
    let [incarnation, millis] = [take(&mut bytes)?, take(&mut bytes)?].map(|it| u64::from_be_bytes(*it));
    let mut announces = Vec::with_capacity((bytes.len() / 29).min(MAX_ANNOUNCES));
    while !bytes.is_empty() {
        let [flags] = *take(&mut bytes)?;
        let num_want = u16::from_be_bytes(*take(&mut bytes)?);
        let info_hash = InfoHash(*take(&mut bytes)?);
        let peer = if flags & V6_FLAG == 0 { V4::peer(*take(&mut bytes)?) } else { V6::peer(*take(&mut bytes)?) };
        let event = match flags >> 4 {
            0 => Event::None,
            1 => Event::Completed,
            2 => Event::Started,
            3 => Event::Stopped,
            4 => Event::Paused,
            _ => return Err(Malformed),
        };
        // A peer flagged with the wrong family would mix strides in the reply.
        if (peer.family() == Family::V6) != (flags & V6_FLAG != 0) || announces.len() == MAX_ANNOUNCES {
            return Err(Malformed);
        }
        announces.push(Announce { info_hash, peer, event, seeder: flags & SEEDER != 0, num_want });
    }
    Ok((Sent { incarnation, millis }, announces))
}

/// Appends a reply, whose peers `select` appends.
pub fn push_reply(out: &mut Vec<u8>, index: u16, counts: &Counts, select: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&index.to_be_bytes());
    for count in [counts.seeders, counts.leechers, counts.partial_seeds, counts.completed] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    select(out);
    // Only a list of over 3,600 peers does not fit; it is truncated.
    let len = out.len() - at - 2;
    let len = if len > usize::from(u16::MAX) { (usize::from(u16::MAX) / 18) * 18 } else { len };
    out.truncate(at + 2 + len);
    out[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
}

/// A parsed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedReply<'a> {
    /// The position of its announce in the request.
    pub index: u16,
    pub counts: Counts,
    /// Compact peers of the family of the announce.
    pub peers: &'a [u8],
}

/// Reads what [`push_reply`] wrote; stops at the first error.
pub fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Result<RoutedReply<'_>, Malformed>> {
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| {
            let reply = reply(&mut bytes);
            if reply.is_err() {
                bytes = &[];
            }
            reply
        })
    })
}

fn reply<'a>(bytes: &mut &'a [u8]) -> Result<RoutedReply<'a>, Malformed> {
    let index = u16::from_be_bytes(*take(bytes)?);
    let mut count = || Ok(u32::from_be_bytes(*take(bytes)?));
    let counts = Counts { seeders: count()?, leechers: count()?, partial_seeds: count()?, completed: count()? };
    let len = usize::from(u16::from_be_bytes(*take(bytes)?));
    let (peers, rest) = bytes.split_at_checked(len).ok_or(Malformed)?;
    *bytes = rest;
    Ok(RoutedReply { index, counts, peers })
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::PeerAddr;
    use proptest::prelude::*;

    const SENT: Sent = Sent { incarnation: 0x0102_0304_0506_0708, millis: 9 };

    fn some_announce() -> impl Strategy<Value = Announce> {
        let events = [Event::None, Event::Started, Event::Completed, Event::Stopped, Event::Paused];
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
            any::<[u8; 16]>().prop_map(std::net::IpAddr::from)
        ];
        (any::<[u8; 20]>(), ip, any::<u16>(), prop::sample::select(events.to_vec()), any::<bool>(), any::<u16>())
            .prop_map(|(hash, ip, port, event, seeder, num_want)| Announce {
                info_hash: InfoHash(hash),
                peer: PeerAddr::new(ip, port),
                event,
                seeder,
                num_want,
            })
    }

    proptest! {
        #[test]
        fn announces_round_trip(list in prop::collection::vec(some_announce(), 0..40)) {
            let mut bytes = begin(SENT, list.len());
            list.iter().for_each(|announce| push_announce(&mut bytes, announce));
            prop_assert_eq!(announces(&bytes), Ok((SENT, list)));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = announces(&bytes);
            let _ = replies(&bytes).count();
        }

        #[test]
        fn replies_round_trip(list in prop::collection::vec((any::<u16>(), any::<[u32; 4]>(), prop::collection::vec(any::<u8>(), 0..60)), 0..20)) {
            let mut bytes = Vec::new();
            let counts = |[seeders, leechers, partial_seeds, completed]: [u32; 4]| Counts { seeders, leechers, partial_seeds, completed };
            for (index, numbers, peers) in &list {
                push_reply(&mut bytes, *index, &counts(*numbers), |out| out.extend_from_slice(peers));
            }
            let read: Result<Vec<_>, _> = replies(&bytes).collect();
            let expected = list.iter().map(|(index, numbers, peers)| RoutedReply { index: *index, counts: counts(*numbers), peers });
            prop_assert_eq!(read, Ok(expected.collect()));
        }
    }

    #[test]
    fn golden_bytes() {
        let announce = Announce {
            info_hash: InfoHash([0xab; 20]),
            peer: PeerAddr::new([1, 2, 3, 4].into(), 0x1a2b),
            event: Event::Completed,
            seeder: true,
            num_want: 50,
        };
        let mut bytes = begin(SENT, 1);
        push_announce(&mut bytes, &announce);
        let head = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9];
        let golden = [&head[..], &[0x12, 0, 50], &[0xab; 20], &[1, 2, 3, 4, 0x1a, 0x2b]].concat();
        assert_eq!(bytes, golden);
        let mut bytes = Vec::new();
        let counts = Counts { seeders: 1, leechers: 2, partial_seeds: 3, completed: 4 };
        push_reply(&mut bytes, 5, &counts, |out| out.extend_from_slice(&[9; 6]));
        assert_eq!(bytes, [&[0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 6][..], &[9; 6]].concat());
    }
}
