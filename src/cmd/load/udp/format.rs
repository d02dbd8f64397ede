//! Datagrams of peers and the answers to them (BEP 15).

use std::borrow::Cow;

use crate::cmd::load::answer::Answer;
use crate::cmd::load::job::Job;
use crate::cmd::load::population::Population;
use crate::swarm::Counts;
use crate::wire::udp::{ConnectionId, Options, Response, TransactionId, encode_scrape};

/// Appends the request for `job`. `hashes` is only a buffer.
pub fn encode_request(
    out: &mut Vec<u8>,
    hashes: &mut Vec<[u8; 20]>,
    population: &Population,
    (job, num_want): (&Job, i32),
    (connection_id, transaction_id): (ConnectionId, TransactionId),
) {
    if let Job::Scrape { first, count } = *job {
        hashes.clear();
        hashes.extend((first..first + u32::from(count)).map(|swarm| population.info_hash(swarm).0));
        encode_scrape(out, connection_id, transaction_id, hashes);
    } else if let Some(params) = population.params(job, num_want) {
        params.encode_udp(out, connection_id, transaction_id, Options::default());
    }
}

/// The answer in a response; none for the response to a connect. `counts` is only a buffer.
pub fn read_answer<'a>(response: Response<'a>, counts: &'a mut Vec<Counts>) -> Option<Answer<'a>> {
    match response {
        Response::Announce { peers, .. } => Some(Answer::Announce(peers)),
        Response::Scrape { entries, .. } => {
            counts.clear();
            counts.extend(entries.iter());
            Some(Answer::Scrape(Cow::Borrowed(counts)))
        }
        Response::Error { message, .. } => Some(Answer::Error(String::from_utf8_lossy(message))),
        Response::Connect { .. } => None,
    }
}
