//! The answer of a tracker, whichever the transport, and whether it fits the request.

use std::borrow::Cow;

use super::job::Job;
use crate::swarm::Counts;
use crate::wire::udp::Peers;

/// A well-formed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To an announce: some peers, of the family that the request was sent over.
    Announce(Peers<'a>),
    /// To a scrape: the counts, in the order of the request.
    Scrape(Cow<'a, [Counts]>),
    /// A refusal.
    Error(Cow<'a, str>),
}

impl Answer<'_> {
    /// Checks that the answer fits `job`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, job: &Job, num_want: i32) -> Result<(), String> {
        match (self, job) {
            (Self::Error(_), _) => Ok(()),
            (Self::Announce(peers), Job::Announce { .. }) => match usize::try_from(num_want) {
                Ok(wanted) if wanted > 0 && peers.len() > wanted => {
                    Err(format!("{} peers, but at most {wanted} were requested", peers.len()))
                }
                _ => Ok(()),
            },
            (Self::Announce(_), Job::Observe { .. }) => Ok(()),
            (Self::Scrape(counts), Job::Scrape { count, .. }) if counts.len() == usize::from(*count) => Ok(()),
            (Self::Scrape(counts), Job::Scrape { count, .. }) => {
                Err(format!("a scrape of {count} swarms was answered with {}", counts.len()))
            }
            (Self::Announce(_), Job::Scrape { .. }) => Err("a scrape was answered as an announce".into()),
            (Self::Scrape(_), _) => Err("an announce was answered as a scrape".into()),
        }
    }
}
