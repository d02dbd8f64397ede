use chitchat::{ChitchatMessage, ProtocolVersion};
use tokio::time::Instant;

use super::*;
use crate::clock::SystemClock;

fn keys(key: u8) -> Arc<ArcSwap<KeyRing>> {
    Arc::new(ArcSwap::from_pointee(KeyRing::single([key; 32])))
}

fn transport(cluster: &str, keys: Option<Arc<ArcSwap<KeyRing>>>) -> SealedTransport {
    SealedTransport::new(cluster, keys, Arc::new(SystemClock::start()))
}

async fn open(transport: &SealedTransport) -> (Box<dyn Socket>, SocketAddr) {
    let socket = transport.open(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn envelope() -> ChitchatEnvelope {
    ChitchatEnvelope { version: ProtocolVersion::V1, message: ChitchatMessage::BadCluster }
}

/// Whether something comes in within a moment.
async fn hears(socket: &mut dyn Socket) -> Option<SocketAddr> {
    let outcome = timeout(Duration::from_millis(400), socket.recv()).await.ok()?.unwrap();
    assert_eq!(outcome.envelope, envelope());
    Some(outcome.from_addr)
}

#[tokio::test]
async fn envelopes_travel_sealed() {
    let (ours, theirs) = (transport("c", Some(keys(1))), transport("c", Some(keys(1))));
    let ((mut sender, from), (mut receiver, to)) = (open(&ours).await, open(&theirs).await);
    for _ in 0..20 {
        sender.send(to, envelope()).await.unwrap();
        assert_eq!(hears(&mut *receiver).await, Some(from), "the address is that of the node, not of the loopback");
    }
    assert_eq!(theirs.counts(), SealCounts { opened: 20, ..Default::default() });
    // A captured datagram reveals nothing and cannot be repeated.
    let tap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.send(tap.local_addr().unwrap(), envelope()).await.unwrap();
    let mut buffer = [0; 1000];
    let length = tap.recv(&mut buffer).await.unwrap();
    for _ in 0..5 {
        tap.send_to(&buffer[..length], to).await.unwrap();
    }
    assert!(hears(&mut *receiver).await.is_some());
    assert_eq!(hears(&mut *receiver).await, None);
    assert_eq!(theirs.counts().replayed, 4);
}

#[tokio::test]
async fn other_keys_and_clusters_are_refused_and_nodes_without_keys_understand_each_other() {
    let receiving = transport("c", Some(keys(1)));
    let (mut receiver, to) = open(&receiving).await;
    for stranger in [transport("c", Some(keys(2))), transport("d", Some(keys(1))), transport("c", None)] {
        open(&stranger).await.0.send(to, envelope()).await.unwrap();
        assert_eq!(hears(&mut *receiver).await, None);
    }
    assert_eq!(receiving.counts().bad_key_or_cluster, 3);
    let plain = transport("c", None);
    let (mut receiver, to) = open(&plain).await;
    open(&transport("c", None)).await.0.send(to, envelope()).await.unwrap();
    assert!(hears(&mut *receiver).await.is_some());
}

#[tokio::test]
async fn junk_does_not_end_gossip_even_from_a_key_holder() {
    let receiving = transport("c", Some(keys(1)));
    let (mut receiver, to) = open(&receiving).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let insider = Seal::new("c", keys(1), Arc::new(SystemClock::start()));
    for length in [0, 1, 40, 65, 1400, 9000] {
        attacker.send_to(&vec![1; length], to).await.unwrap();
    }
    for payload in [&b""[..], b"junk", &[0; 3000], &[0xff; 60_000]] {
        attacker.send_to(&insider.seal(payload).unwrap(), to).await.unwrap();
    }
    let (mut sender, from) = open(&transport("c", Some(keys(1)))).await;
    sender.send(to, envelope()).await.unwrap();
    let heard = timeout(Duration::from_secs(5), receiver.recv()).await.unwrap().unwrap();
    assert_eq!(heard.from_addr, from);
    let counts = receiving.counts();
    assert_eq!((counts.opened, counts.malformed + counts.bad_key_or_cluster), (5, 6 + 4), "{counts:?}");
}

#[tokio::test]
async fn a_cancelled_recv_loses_nothing() {
    let receiving = transport("c", Some(keys(1)));
    let (mut receiver, to) = open(&receiving).await;
    let (mut sender, _) = open(&transport("c", Some(keys(1)))).await;
    let (mut sent, mut heard, end) = (0, 0, Instant::now() + Duration::from_secs(5));
    while heard < 200 && Instant::now() < end {
        if sent < 200 {
            sender.send(to, envelope()).await.unwrap();
            sent += 1;
        }
        // Cancelled as soon as it has made one step.
        tokio::select! {
            biased;
            received = receiver.recv() => heard += usize::from(received.is_ok()),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!((sent, heard), (200, 200));
}
