//! Metrics of webhook deliveries.

use super::family::{Counters, Registrar};
use crate::github::webhook::{DeliveryEvent, DeliveryResult};

pub(super) struct WebhookMetrics {
    deliveries: Counters<2>,
}

impl WebhookMetrics {
    pub(super) fn new(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let deliveries = to.counters(
            "dayfly_webhook_deliveries_total",
            "Webhook deliveries by event and result.",
            ["event", "result"],
        )?;
        Ok(Self { deliveries })
    }

    /// Creates every series.
    pub(super) fn expect(&self) {
        for event in DeliveryEvent::ALL {
            for result in DeliveryResult::ALL {
                self.deliveries.at([event.as_str(), result.as_str()]);
            }
        }
    }

    pub(super) fn record(&self, event: DeliveryEvent, result: DeliveryResult) {
        self.deliveries.at([event.as_str(), result.as_str()]).inc();
    }
}
