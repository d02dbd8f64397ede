//! HTTP requests of peers and the answers to them (BEP 3, 7, 23, 48), as bytes.

use std::borrow::Cow;

use crate::client::{ReplyError, announce_target, read_announce, read_scrape, scrape_target};
use crate::cmd::load::answer::Answer;
use crate::cmd::load::job::Job;
use crate::cmd::load::population::Population;
use crate::cmd::load::spec::Target;
use crate::swarm::Family;
use crate::wire::udp::Peers;

/// Appends the request for `job`.
pub fn write_request(out: &mut Vec<u8>, target: &Target, population: &Population, job: &Job, num_want: i32) {
    out.extend_from_slice(b"GET ");
    match (population.params(job, num_want), *job) {
        (Some(params), _) => announce_target(out, &target.path, &params),
        (None, Job::Scrape { first, count }) => {
            let swarms = first..first + u32::from(count);
            scrape_target(out, &target.path, swarms.map(|swarm| population.info_hash(swarm)));
        }
        (None, _) => {}
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(target.host.as_bytes());
    out.extend_from_slice(b"\r\nUser-Agent: tidings-load\r\n\r\n");
}

/// Reads the body of the response to `job`, sent over `family`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_body<'a>(
    body: &'a [u8],
    job: &Job,
    population: &Population,
    family: Family,
) -> Result<Answer<'a>, String> {
    let answer = match *job {
        Job::Scrape { first, count } => read_scrape(body).map(|files| {
            let counts = |swarm| {
                let info_hash = population.info_hash(swarm).0;
                // The tracker omits unknown swarms.
                files.binary_search_by_key(&info_hash, |(key, _)| *key).map(|at| files[at].1).unwrap_or_default()
            };
            Answer::Scrape(Cow::Owned((first..first + u32::from(count)).map(counts).collect()))
        }),
        _ => read_announce(body).and_then(|reply| match family {
            Family::V4 => reply.peers.map(Answer::Announce).ok_or(ReplyError::Missing("peers")),
            Family::V6 => Ok(Answer::Announce(reply.peers6.unwrap_or(Peers::V6(&[])))),
        }),
    };
    match answer {
        Err(ReplyError::Refused(reason)) => Ok(Answer::Error(reason.into())),
        answer => answer.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::load::job::PeerState;
    use crate::cmd::load::population::tests::{ZIPF, spec};
    use crate::swarm::Event;
    use crate::wire::query::{AnnounceQuery, ScrapeQuery};

    fn population() -> Population {
        Population::new(&spec(100, 1000, ZIPF, true))
    }

    fn query(job: &Job) -> String {
        let target = Target { addr: "127.0.0.1:1".parse().unwrap(), host: "h:1".into(), path: "/a/announce".into() };
        let mut out = Vec::new();
        write_request(&mut out, &target, &population(), job, 30);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_match_their_job() {
        let job = Job::Announce { peer: 3, event: Event::Completed, next: PeerState::Seeder };
        let text = query(&job);
        let line = text.strip_prefix("GET /a/announce?").unwrap();
        let (query_text, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "HTTP/1.1\r\nHost: h:1\r\nUser-Agent: tidings-load\r\n\r\n");
        let parsed = AnnounceQuery::parse(query_text.as_bytes()).unwrap();
        let population = population();
        assert_eq!(parsed.info_hash, population.info_hash(population.swarm_of(3)));
        assert_eq!((parsed.port, parsed.event, parsed.seeder), (population.port_of(3), Event::Completed, true));
        assert_eq!((parsed.num_want, parsed.compact), (Some(30), true));

        let text = query(&Job::Scrape { first: 97, count: 3 });
        let line = text.strip_prefix("GET /a/scrape?").unwrap();
        let parsed = ScrapeQuery::parse(line.split_once(' ').unwrap().0.as_bytes(), 100).unwrap();
        assert_eq!(parsed.info_hashes, (97..100).map(|swarm| population.info_hash(swarm)).collect::<Vec<_>>());
    }

    #[test]
    fn bodies_are_checked() {
        let job = Job::Announce { peer: 3, event: Event::None, next: PeerState::Leecher };
        let parse = |body: &'static [u8]| parse_body(body, &job, &population(), Family::V4);
        let Ok(Answer::Announce(peers)) = parse(b"d8:intervali9e5:peers6:\x7f\x01\x02\x03\x1a\xe1e") else { panic!() };
        assert_eq!(peers.len(), 1);
        assert_eq!(parse(b"d14:failure reason2:noe"), Ok(Answer::Error("no".into())));
        for (bad, text) in [
            (&b"d5:peers0:e"[..], "interval is missing"),
            (b"d8:intervali9ee", "peers is missing"),
            (b"d8:intervali9e5:peers5:12345e", "5 bytes"),
            (b"d8:intervali9e5:peerslee", "not a string"),
            (b"d5:peers0:8:intervali9ee", "not canonical bencode"),
            (b"<html>", "not canonical bencode"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
