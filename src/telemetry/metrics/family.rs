//! Metric families with a number of labels that the compiler knows: `prometheus` panics on a wrong number.

use std::collections::{BTreeSet, HashMap};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

/// Series of one name with `N` labels.
pub(super) struct Family<V, const N: usize>(V);

pub(super) type IntGauges<const N: usize> = Family<IntGaugeVec, N>;
pub(super) type Gauges<const N: usize> = Family<GaugeVec, N>;
pub(super) type Counters<const N: usize> = Family<IntCounterVec, N>;
pub(super) type Histograms<const N: usize> = Family<HistogramVec, N>;

impl<B: MetricVecBuilder, const N: usize> Family<MetricVec<B>, N> {
    /// The series with these label values; a new counter starts at 0.
    pub(super) fn at(&self, values: [&str; N]) -> B::M {
        self.0.with_label_values(&values)
    }

    /// Drops the series whose value of `label` is not among `known`.
    pub(super) fn retain(&self, label: &str, known: &BTreeSet<String>) {
        for family in self.0.collect() {
            for metric in family.get_metric() {
                let labels: HashMap<&str, &str> =
                    metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
                if labels.get(label).is_some_and(|&value| !known.contains(value)) {
                    // An error means that it has been dropped already.
                    let _ = self.0.remove(&labels);
                }
            }
        }
    }
}

/// Creates families and registers them.
pub(super) struct Registrar<'a>(pub(super) &'a Registry);

impl Registrar<'_> {
    fn register<V: Collector + Clone + 'static, const N: usize>(
        &self,
        vec: V,
    ) -> Result<Family<V, N>, prometheus::Error> {
        self.0.register(Box::new(vec.clone()))?;
        Ok(Family(vec))
    }

    /// Integer gauges.
    pub(super) fn int_gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<IntGauges<N>, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), &labels)?)
    }

    /// Gauges.
    pub(super) fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Gauges<N>, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), &labels)?)
    }

    /// Counters.
    pub(super) fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Counters<N>, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), &labels)?)
    }

    /// Histograms with these buckets' upper bounds.
    pub(super) fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        buckets: &[f64],
    ) -> Result<Histograms<N>, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, &labels)?)
    }
}
