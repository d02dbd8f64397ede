//! The parsers and encoders that every request passes through.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidings::swarm::{Counts, Event, Family, InfoHash, PeerList};
use tidings::wire::bencode;
use tidings::wire::query::{AnnounceQuery, ScrapeQuery};
use tidings::wire::udp::{self, ConnectionId, TransactionId};

const COUNTS: Counts = Counts { seeders: 300, leechers: 20, partial_seeds: 1, completed: 4000 };
const QUERY: &[u8] = b"info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-TR4060-0123456789ab&port=51413\
    &uploaded=0&downloaded=0&left=1048576&numwant=80&key=7A3B9C1D&compact=1&supportcrypto=1&event=started";

fn udp(c: &mut Criterion) {
    let announce = udp::Announce {
        connection_id: ConnectionId(1),
        transaction_id: TransactionId(2),
        info_hash: InfoHash([3; 20]),
        event: Event::None,
        left: 1,
        key: 4,
        num_want: -1,
        port: 6881,
        options: udp::Options::new(b"\x02\x09/announce"),
    };
    let mut request = Vec::new();
    udp::encode_announce(&mut request, &announce, &[0; 20]);
    let mut scrape = Vec::new();
    udp::encode_scrape(&mut scrape, ConnectionId(1), TransactionId(2), &[[3; 20]; 70]);

    let mut group = c.benchmark_group("udp");
    group.bench_function("parse announce", |b| b.iter(|| udp::parse_request(black_box(&request)).is_ok()));
    group.bench_function("parse scrape of 70", |b| b.iter(|| udp::parse_request(black_box(&scrape)).is_ok()));
    let mut out = Vec::with_capacity(1232);
    group.bench_function("write announce", |b| {
        b.iter(|| {
            out.clear();
            udp::write_announce(&mut out, TransactionId(2), 1800, black_box(&COUNTS));
            black_box(out.len())
        })
    });
    group.finish();
}

fn http(c: &mut Criterion) {
    let mut group = c.benchmark_group("http");
    group.bench_function("parse announce", |b| b.iter(|| AnnounceQuery::parse(black_box(QUERY))));
    let scrape = [QUERY; 10].join(&b'&');
    group.bench_function("parse scrape of 10", |b| b.iter(|| ScrapeQuery::parse(black_box(&scrape), 74)));

    let peers = PeerList { family: Family::V4, compact: vec![7; 6 * 50] };
    for (name, compact) in [("write 50 compact peers", true), ("write 50 peers as dictionaries", false)] {
        let reply = bencode::AnnounceReply {
            counts: COUNTS,
            interval: 1800,
            min_interval: 900,
            external_ip: Some([192, 0, 2, 1].into()),
            peers: &peers,
            compact,
            warning: None,
            stale: false,
        };
        let mut out = Vec::with_capacity(4096);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                bencode::write_announce(&mut out, black_box(&reply));
                black_box(out.len())
            })
        });
    }
    group.finish();
}

criterion_group!(benches, udp, http);
criterion_main!(benches);
