//! Whole traces, as they reach an exporter.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData, SpanExporter};
use parking_lot::Mutex;

use super::export::Exporting;
use super::names::{key, span};
use super::queue::Queue;
use super::*;
use crate::clock::{Clock, Now};
use crate::config::Settings;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 77));
const SAID: AnnounceSummary<'static> =
    AnnounceSummary { info_hash: &[0xab; 20], event: "started", num_want: 50, partition: 7 };

/// A clock that goes on by a millisecond with each look.
struct Steady(Mutex<u64>);

impl Clock for Steady {
    fn now(&self) -> Now {
        let mut millis = self.0.lock();
        *millis += 1;
        Now { uptime: Duration::from_millis(*millis), wall_millis: 1_700_000_000_000 + *millis }
    }
}

fn options(ratio: f64) -> TraceOptions {
    let mut settings = Settings::default();
    settings.telemetry.sample_ratio = ratio;
    settings.telemetry.slow_per_second = 2;
    settings.telemetry.trusted_probes = vec!["203.0.113.0/24".parse().unwrap()];
    TraceOptions::new(&settings, |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://x".into()))
        .unwrap()
        .unwrap()
}

fn traces_to(queue: &Arc<Queue>, ratio: f64, secret: u8) -> Traces {
    Traces::to(queue.clone(), options(ratio), Arc::new(Steady(Mutex::new(0))), &[secret; 16], rand::random)
}

fn traces(ratio: f64) -> (Traces, Arc<Queue>) {
    let queue = Arc::new(Queue::new(1024, 3));
    (traces_to(&queue, ratio, 7), queue)
}

/// One round of the export.
fn export<E: SpanExporter>(exporting: &mut Exporting<E>, all: bool) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(exporting.round(all));
}

/// Exports all that waits, and returns it.
fn exported(queue: &Arc<Queue>) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    export(&mut Exporting::new(queue, exporter.clone()), true);
    exporter.get_finished_spans().unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.as_str().into_owned())
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} among {spans:?}"))
}

/// Every span but `root` has its parent among the others and lies within it.
fn check_tree(spans: &[SpanData], root: &str) {
    for span in spans.iter().filter(|span| span.name != root) {
        let parent = spans.iter().find(|other| other.span_context.span_id() == span.parent_span_id);
        let parent = parent.unwrap_or_else(|| panic!("{} has no parent", span.name));
        assert_eq!(span.span_context.trace_id(), parent.span_context.trace_id());
        assert!(span.start_time >= parent.start_time && span.end_time <= parent.end_time, "{span:?} in {parent:?}");
    }
    for span in spans {
        assert!(!format!("{span:?}").contains("203.0.113"), "a raw address: {span:?}");
    }
}

fn announce(traces: &Traces, chosen: bool, parent: Option<Parent>) -> Option<Box<RequestTrace>> {
    let received = traces.now();
    let mut trace = traces.start_announce(chosen, parent, received, Transport::Udp, CLIENT)?;
    trace.describe(&SAID);
    trace.steps().step(span::ADMIT);
    Some(trace)
}

#[test]
fn an_announce_that_another_node_answers_is_one_trace() {
    let (here, queue) = traces(1.0);
    let there = traces_to(&queue, 0.0, 7);
    let mut trace = announce(&here, true, None).unwrap();
    let caller = trace.begin_call(span::CALL_ANNOUNCES, "eu-2".into());
    let received = TraceContext::from_bytes(&caller.to_bytes()).unwrap();
    let mut served = there.start_server(span::CALL_ANNOUNCES, received).unwrap();
    served.steps().step(span::PARTITION);
    // The clocks of the two are not the same, which is no matter here.
    served.finish();
    trace.end_call(None);
    trace.answered(3, AnsweredFrom::Remote);
    trace.finish_with(span::REPLY);

    let spans = exported(&queue);
    let root = named(&spans, span::ANNOUNCE);
    assert_eq!(root.span_kind, SpanKind::Server);
    assert_eq!(root.status, Status::Unset);
    assert_eq!(attribute(root, key::INFO_HASH).unwrap(), "abababab");
    assert_eq!(attribute(root, key::NETWORK_TRANSPORT).unwrap(), "udp");
    assert_eq!(attribute(root, key::PEERS).unwrap(), "3");
    let [client, server] = [SpanKind::Client, SpanKind::Server]
        .map(|kind| spans.iter().find(|span| span.name == span::CALL_ANNOUNCES && span.span_kind == kind).unwrap());
    assert_eq!(client.parent_span_id, root.span_context.span_id());
    assert_eq!(attribute(client, key::SERVER).unwrap(), "eu-2");
    assert_eq!(attribute(client, key::RPC_STATUS).unwrap(), "OK");
    assert_eq!((server.parent_span_id, server.parent_span_is_remote), (client.span_context.span_id(), true));
    assert_eq!(named(&spans, span::PARTITION).parent_span_id, server.span_context.span_id());
    assert!(spans.iter().all(|span| span.span_context.trace_id() == root.span_context.trace_id()));
    let own: Vec<_> = spans.iter().filter(|span| ![span::PARTITION].contains(&&*span.name)).cloned().collect();
    check_tree(&own.into_iter().filter(|span| !span.parent_span_is_remote).collect::<Vec<_>>(), span::ANNOUNCE);
    assert_eq!(here.counts().unwrap().0.exported.load(Relaxed), 6);
}

#[test]
fn whatever_becomes_of_a_request_its_spans_have_their_parents() {
    let (traces, queue) = traces(1.0);
    let mut trace = announce(&traces, true, None).unwrap();
    trace.begin_call(span::CALL_ANNOUNCES, "eu-2".into());
    drop(trace);
    let spans = exported(&queue);
    check_tree(&spans, span::ANNOUNCE);
    for name in [span::ANNOUNCE, span::CALL_ANNOUNCES] {
        let span = named(&spans, name);
        assert_eq!((attribute(span, key::ERROR).unwrap(), &span.status), ("lost".into(), &Status::error("lost")));
    }
}

#[test]
fn a_probe_has_its_way_and_others_are_left_to_chance() {
    let (traces, queue) = traces(0.0);
    assert!(announce(&traces, false, None).is_none());
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
    let [wanted, unwanted] = ["1", "0"].map(|flag| Parent::parse(&format!("{text}{flag}")));
    assert!(announce(&traces, true, unwanted).is_none());
    announce(&traces, false, wanted).unwrap().finish();
    let spans = exported(&queue);
    let root = named(&spans, span::ANNOUNCE);
    assert_eq!(root.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((root.parent_span_id.to_string().as_str(), root.parent_span_is_remote), ("b7ad6b7169203331", true));
    assert!(traces.trusts(CLIENT) && !traces.trusts("198.51.100.1".parse().unwrap()));
}

#[test]
fn slow_and_failed_announces_are_told_afterwards_but_not_too_many() {
    let (traces, queue) = traces(0.0);
    let millis = Duration::from_millis;
    assert!(traces.is_slow(millis(100), millis(350)) && !traces.is_slow(millis(100), millis(349)));
    let may: Vec<bool> = (0..4).map(|_| traces.allows_unsampled(millis(10))).collect();
    assert_eq!(may, [true, true, false, false]);
    let record = BatchTimes { received: millis(1), handed: millis(2), began: millis(3) };
    traces.record_unsampled(record, Unsampled::Slow, Transport::Udp, Some(CLIENT), Some(&SAID), None);
    let spans = exported(&queue);
    check_tree(&spans, span::ANNOUNCE);
    assert_eq!(attribute(named(&spans, span::ANNOUNCE), key::AFTERWARDS).unwrap(), "slow");
    let waited = named(&spans, span::QUEUE);
    assert_eq!(waited.end_time.duration_since(waited.start_time).unwrap(), millis(1));
    traces.record_unsampled(
        record,
        Unsampled::Failed(ErrorType::NoHolder),
        Transport::Udp,
        None,
        None,
        Some("eu-2".into()),
    );
    let spans = exported(&queue);
    check_tree(&spans, span::ANNOUNCE);
    assert_eq!(attribute(named(&spans, span::ANNOUNCE), key::ERROR).unwrap(), "no_holder");
    assert_eq!(attribute(named(&spans, span::CALL_ANNOUNCES), key::SERVER).unwrap(), "eu-2");
}

#[test]
fn a_batch_links_to_what_it_is_made_of() {
    let (traces, queue) = traces(0.0);
    assert!(traces.start_batch(Duration::ZERO, &[]).is_none());
    let cause = Parent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap().context;
    let mut batch = traces.start_batch(Duration::from_millis(1), &[cause]).unwrap();
    for error in [Some(ErrorType::Link("timeout")), None] {
        batch.begin_call(span::CALL_DELTAS, "eu-2".into());
        batch.end_call(error);
    }
    batch.finish();
    let spans = exported(&queue);
    check_tree(&spans, span::REPLICATE);
    let batch = named(&spans, span::REPLICATE);
    assert_eq!(batch.links.len(), 1);
    assert_eq!(
        (batch.links[0].span_context.trace_id(), batch.links[0].span_context.span_id()),
        (cause.trace, cause.span)
    );
    assert_ne!(batch.span_context.trace_id(), cause.trace);
    assert_eq!(spans.iter().filter(|span| span.span_kind == SpanKind::Client).count(), 2);
}

#[test]
fn an_address_is_hashed_with_a_key_of_the_cluster() {
    let hash = |secret| {
        let traces = traces_to(&Arc::new(Queue::new(8, 8)), 0.0, secret);
        traces.0.unwrap().client(CLIENT)
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
    assert!(hash(1).starts_with("keyed-") && hash(1).len() == 22);
}

#[test]
fn nothing_is_asked_for_while_tracing_is_off() {
    let off = Traces::off();
    assert_eq!((off.now(), off.is_on(), off.sample(), off.has_probes()), (Duration::ZERO, false, false, false));
    assert!(
        !off.countdown().hit() && !off.allows_unsampled(Duration::ZERO) && !off.is_slow(Duration::ZERO, Duration::MAX)
    );
    assert!(announce(&off, true, None).is_none());
}

/// A collector that refuses.
#[derive(Debug)]
struct Refusing;

impl SpanExporter for Refusing {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("refused".into()))
    }
}

fn outcomes(traces: &Traces) -> [u64; 4] {
    let (counts, _) = traces.counts().unwrap();
    let [exported, full, failed] =
        [&counts.exported, &counts.queue_full, &counts.failed].map(|count| count.load(Relaxed));
    [exported, full, failed, counts.waiting.load(Relaxed) as u64]
}

#[test]
fn what_is_dropped_is_counted() {
    let (traces, queue) = traces(1.0);
    announce(&traces, true, None).unwrap().finish();
    export(&mut Exporting::new(&queue, Refusing), true);
    assert_eq!(outcomes(&traces), [0, 0, 2, 0]);

    let traces = traces_to(&Arc::new(Queue::new(3, 3)), 1.0, 7);
    announce(&traces, true, None).unwrap().finish();
    let mut longer = announce(&traces, true, None).unwrap();
    longer.steps().step(span::ROUTE);
    longer.finish();
    // Its two steps have no room any more, its own span still has.
    assert_eq!(outcomes(&traces), [0, 2, 0, 3]);
}

#[test]
fn exports_are_as_large_as_they_may_be() {
    let (traces, queue) = traces(1.0);
    let exporter = InMemorySpanExporter::default();
    let mut exporting = Exporting::new(&queue, exporter.clone());
    let mut round = |all, spans: u64, waiting| {
        export(&mut exporting, all);
        assert_eq!(outcomes(&traces), [spans, 0, 0, waiting]);
        assert_eq!(exporter.get_finished_spans().unwrap().len() as u64, spans);
    };
    round(true, 0, 0);
    (0..4).for_each(|_| announce(&traces, true, None).unwrap().finish());
    // Three by three, of which the last waits for others unless all are to go.
    round(false, 6, 2);
    round(false, 6, 2);
    announce(&traces, true, None).unwrap().finish();
    round(false, 9, 1);
    round(true, 10, 0);
}

#[test]
fn a_batch_that_the_queue_has_no_room_for_is_smaller() {
    assert_eq!(
        [(8192, 512), (256, 512), (3, 3), (1, 1)].map(|(limit, batch)| Queue::new(limit, batch).batch()),
        [512, 128, 2, 1]
    );
}

#[test]
fn a_record_of_more_spans_than_an_export_leaves_none_behind() {
    let queue = Arc::new(Queue::new(64, 2));
    let traces = traces_to(&queue, 1.0, 7);
    let mut trace = announce(&traces, true, None).unwrap();
    (0..4).for_each(|_| _ = trace.steps().step(span::ROUTE));
    trace.finish();
    export(&mut Exporting::new(&queue, InMemorySpanExporter::default()), false);
    assert_eq!(outcomes(&traces), [6, 0, 0, 0]);
}
