//! The metrics of the server in the text format of Prometheus.
//!
//! The figures are atomics that the floors below record ([`crate::metrics`]), and states that are read
//! when the text is asked for. So nothing is counted twice, and a figure that nobody reads costs
//! nothing more. [`CATALOG`] names every family; no label is an id.

mod catalog;
mod collecting;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub use catalog::{CATALOG, Family, Kind};

use crate::metrics::Snapshot;
use crate::service::core::Core;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One value of a family.
#[derive(Debug, Clone)]
enum Value {
    Count(u64),
    Number(i64),
    Seconds(f64),
    Distribution(Snapshot),
}

/// A value with the values of its labels, in the order of the family's labels.
#[derive(Debug, Clone)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

/// The values of every family at one time.
#[derive(Debug, Default)]
struct Collected(Vec<(&'static Family, Vec<Sample>)>);

impl Collected {
    fn add(&mut self, family: &'static Family, samples: impl IntoIterator<Item = Sample>) {
        self.0.push((family, samples.into_iter().collect()));
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (family, samples) in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for Sample { labels, value } in samples {
                if labels.is_empty() {
                    write_value(&mut metric, value, family.kind)?;
                    continue;
                }
                let names = family.labels.iter().copied();
                let labels: Vec<(&str, &str)> =
                    names.zip(labels.iter().map(String::as_str)).collect();
                write_value(&mut metric.encode_family(&labels)?, value, family.kind)?;
            }
        }
        Ok(())
    }
}

fn write_value(
    metric: &mut MetricEncoder<'_>,
    value: &Value,
    kind: Kind,
) -> Result<(), fmt::Error> {
    let is_counter = kind == Kind::Counter;
    match value {
        Value::Count(count) if is_counter => counter(metric, count),
        Value::Seconds(seconds) if is_counter => counter(metric, seconds),
        Value::Count(count) => gauge(metric, &i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Number(number) => gauge(metric, number),
        Value::Seconds(seconds) => gauge(metric, seconds),
        Value::Distribution(Snapshot { sum, count, buckets }) => {
            metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}

fn counter(
    metric: &mut MetricEncoder<'_>,
    value: &impl EncodeCounterValue,
) -> Result<(), fmt::Error> {
    metric.encode_counter::<NoLabelSet, _, f64>(value, None)
}

fn gauge(metric: &mut MetricEncoder<'_>, value: &impl EncodeGaugeValue) -> Result<(), fmt::Error> {
    metric.encode_gauge(value)
}

/// Returns the text with the present value of every family.
pub async fn text(core: &Core) -> String {
    let collected = collecting::collect(core).await;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collected));
    let mut text = String::new();
    // A `String` accepts every text.
    let _never = prometheus_text::encode(&mut text, &registry);
    text
}
