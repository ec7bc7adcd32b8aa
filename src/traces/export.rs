//! The export of spans to a collector: OTLP over HTTP, in the binary form of Protocol Buffers.
//!
//! 1. A span that has ended is put into a bounded queue and never waited for. One that finds it full is lost.
//! 2. One task takes spans from the queue, a second's worth at a time, and sends them in one request. A request
//!    that the collector may accept later is repeated a few times; meanwhile the queue fills.
//! 3. A collector that hangs, refuses, or is gone is reported once in the log, and again when it works.
//! 4. At the end of the server the rest is sent, within a time limit.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::encoding::Encoder;
use super::settings::target;
use super::{Finished, Settings, Traces};
use crate::metrics::Counter;

/// The most spans that may wait for the collector; a span takes less than a kilobyte.
const MOST_WAITING: usize = 8_192;

/// The most spans in one request.
const MOST_TOGETHER: usize = 1_024;

/// The time that the first span of a request waits for others.
const GATHERED: Duration = Duration::from_secs(1);

/// The longest time for a request to the collector.
const PATIENCE: Duration = Duration::from_secs(10);

/// The waits before a request is repeated.
const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// The largest answer of a collector that is read, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The numbers of spans by what became of them.
#[derive(Debug, Default)]
pub struct Figures {
    /// Spans that the collector has accepted.
    pub exported: Counter,
    /// Spans that were lost because too many waited.
    pub dropped: Counter,
    /// Spans that the collector has not accepted.
    pub failed: Counter,
}

/// The entrance to the export.
#[derive(Debug)]
pub(super) struct Sink {
    queue: mpsc::Sender<Finished>,
    ratio: f64,
    pub(super) parent_decides: bool,
    pub(super) figures: Figures,
}

impl Sink {
    /// True if sampling keeps another trace.
    pub(super) fn samples(&self) -> bool {
        rand::random::<f64>() < self.ratio
    }

    pub(super) fn send(&self, span: Finished) {
        if self.queue.try_send(span).is_err() {
            self.figures.dropped.add(1);
        }
    }
}

/// The task that sends spans to the collector; none if tracing is off.
#[derive(Debug)]
pub struct Exporter {
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Traces {
    /// The source of traces for these settings, and the exporter of their spans. `instance` is the id of this
    /// server among those of the same name.
    ///
    /// # Errors
    ///
    /// If the settings are wrong, which loading them has checked, or if TLS cannot be used.
    pub fn start(
        settings: &Settings,
        instance: &str,
        runtime: &Handle,
    ) -> Result<(Self, Exporter), NotStarted> {
        let Some(endpoint) = &settings.endpoint else {
            return Ok((Self::default(), Exporter { running: None }));
        };
        let target = target(endpoint).map_err(NotStarted::Endpoint)?;
        let client = client(settings)?;
        let (queue, spans) = mpsc::channel(MOST_WAITING);
        let Settings { sampling_ratio, parent_decides, .. } = *settings;
        let figures = Figures::default();
        let sink = Arc::new(Sink { queue, ratio: sampling_ratio, parent_decides, figures });
        let stop = CancellationToken::new();
        let export = Export {
            encoder: Encoder::new(&settings.service_name, instance),
            sink: Arc::clone(&sink),
            client,
            target,
            stop: stop.clone(),
            failed: None,
        };
        info!("traces are exported to {}", export.target);
        let task = runtime.spawn(export.run(spans));
        Ok((Self(Some(sink)), Exporter { running: Some((stop, task)) }))
    }
}

impl Exporter {
    /// Sends the spans that wait, and ends; at the latest after `within`.
    pub async fn finish(self, within: Duration) {
        let Some((stop, mut task)) = self.running else { return };
        stop.cancel();
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            warn!("the last spans are not exported: the collector takes too long");
        }
    }
}

fn client(settings: &Settings) -> Result<Client, NotStarted> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let named = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value.expose()).ok());
        let (key, mut value) = named.ok_or_else(|| NotStarted::Header(name.clone()))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers);
    Ok(client.build()?)
}

/// The reasons for which traces cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    #[error("traces.endpoint: {0}")]
    Endpoint(String),
    #[error("traces.headers.{0} cannot be sent")]
    Header(String),
    #[error("the HTTP client cannot be created")]
    Client(#[from] reqwest::Error),
}

/// The reason why a collector has not taken a request.
#[derive(Debug)]
struct Refused {
    cause: String,
    /// True if the same request may succeed later.
    is_passing: bool,
}

struct Export {
    encoder: Encoder,
    sink: Arc<Sink>,
    client: Client,
    target: Url,
    stop: CancellationToken,
    /// The spans that are lost since the collector has failed; none while it works.
    failed: Option<u64>,
}

impl Export {
    async fn run(mut self, mut spans: mpsc::Receiver<Finished>) {
        while let Some(batch) = self.gather(&mut spans).await {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let body = self.encoder.encode(batch);
            match self.deliver(body).await {
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    self.sink.figures.exported.add(count - rejected);
                    self.sink.figures.failed.add(rejected);
                    if let Some(lost) = self.failed.take() {
                        info!("traces are exported again; {lost} spans were lost meanwhile");
                    }
                }
                Err(cause) => {
                    self.sink.figures.failed.add(count);
                    self.report(&cause);
                    *self.failed.get_or_insert_default() += count;
                }
            }
        }
    }

    /// The spans of the next request; none at the end.
    async fn gather(&self, spans: &mut mpsc::Receiver<Finished>) -> Option<Vec<Finished>> {
        let mut batch = Vec::new();
        tokio::select! {
            _ = spans.recv_many(&mut batch, MOST_TOGETHER) => {}
            () = self.stop.cancelled() => {}
        }
        let until = Instant::now() + GATHERED;
        while batch.len() < MOST_TOGETHER {
            let room = MOST_TOGETHER - batch.len();
            tokio::select! {
                biased;
                count = spans.recv_many(&mut batch, room) => if count == 0 { break },
                () = self.stop.cancelled() => break,
                () = sleep_until(until) => break,
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a request, and again if that may help. Returns the number of spans that the collector rejects.
    async fn deliver(&mut self, body: Vec<u8>) -> Result<u64, String> {
        let mut waits = WAITS.into_iter();
        loop {
            let refused = match self.post(body.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(refused) => refused,
            };
            let wait = waits.next().filter(|_| refused.is_passing && !self.stop.is_cancelled());
            let Some(wait) = wait else { return Err(refused.cause) };
            self.report(&refused.cause);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Says that the collector fails, once until it works again.
    fn report(&mut self, cause: &str) {
        if self.failed.is_none() {
            self.failed = Some(0);
            warn!(
                "traces cannot be exported to {}: {cause}; spans are lost if this lasts",
                self.target
            );
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<u64, Refused> {
        let answer = self.client.post(self.target.clone()).body(body).send().await;
        let answer = answer.map_err(|cause| unreachable(&cause))?;
        let status = answer.status();
        let is_passing = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !status.is_success() {
            return Err(Refused { cause: format!("it answers {status}"), is_passing });
        }
        Ok(rejected(answer).await)
    }
}

fn unreachable(cause: &reqwest::Error) -> Refused {
    let cause = if cause.is_timeout() {
        "it does not answer in time"
    } else if cause.is_connect() {
        "it cannot be reached"
    } else {
        "the request cannot be sent"
    };
    Refused { cause: cause.to_owned(), is_passing: true }
}

/// The number of spans that the collector says it has rejected. An answer that cannot be read rejects none.
async fn rejected(mut answer: Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        if body.len() + part.len() > LARGEST_ANSWER {
            return 0;
        }
        body.extend_from_slice(&part);
    }
    let answer = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |partly| partly.rejected_spans);
    u64::try_from(rejected).unwrap_or(0)
}

/// Spans that nothing exports, for measurements.
#[derive(Debug)]
pub struct Unexported(mpsc::Receiver<Finished>);

impl Unexported {
    /// Takes the spans that wait, and returns their number.
    pub fn discard(&mut self) -> usize {
        std::iter::from_fn(|| self.0.try_recv().ok()).count()
    }
}

impl Traces {
    /// A source of traces without a collector, which keeps every trace: for measurements.
    pub fn unexported() -> (Self, Unexported) {
        let (queue, spans) = mpsc::channel(MOST_WAITING);
        let figures = Figures::default();
        let sink = Sink { queue, ratio: 1.0, parent_decides: false, figures };
        (Self(Some(Arc::new(sink))), Unexported(spans))
    }
}

#[cfg(test)]
impl Sink {
    /// A sink without an exporter, and the spans that it is sent.
    pub(super) fn testing(
        ratio: f64,
        parent_decides: bool,
    ) -> (Arc<Self>, mpsc::Receiver<Finished>) {
        let (queue, spans) = mpsc::channel(4);
        let figures = Figures::default();
        (Arc::new(Self { queue, ratio, parent_decides, figures }), spans)
    }
}
