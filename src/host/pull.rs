//! Pulls an image, and reports how far the pull is.

use std::collections::BTreeMap;

use bollard::{errors::Error, models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{
    Docker, HostError,
    call::Call,
    engine::Fault,
    registry::{self, Reference, RegistryLogin},
};
use crate::{
    clock,
    fleet::{Instant, PullProgress},
};

impl Docker {
    /// Pulls the image and returns its id. The credentials are the pool's own, else those of Docker's configuration
    /// for the image's registry. `on_progress` is called with every message of the engine.
    ///
    /// A registry's refusal is [`HostError::Refused`] or [`HostError::Failed`] with its message, also
    /// when the engine still has an older image.
    pub async fn pull(
        &self,
        reference: &str,
        own: Option<&RegistryLogin>,
        mut on_progress: impl FnMut(PullProgress) + Send,
    ) -> Result<String, HostError> {
        let parts = Reference::read(reference)?;
        let login = registry::login(&parts, own).await?;
        let credentials = login.credentials;
        let options = CreateImageOptionsBuilder::new().from_image(parts.name).tag(parts.tag).build();
        let (silence, since) = (self.engine().deadlines.pull_silence, clock::now());
        let pulled = self
            .engine()
            .request(Call::Pull, |docker| async move {
                let mut layers = Layers::default();
                on_progress(layers.progress(since));
                let mut messages = docker.create_image(Some(options), None, credentials);
                loop {
                    match timeout(silence, messages.next()).await {
                        Ok(Some(Ok(message))) => {
                            if layers.add(&message) {
                                on_progress(layers.progress(since));
                            }
                        }
                        // A successful pull may end like this (bollard, issue 560).
                        Ok(Some(Err(Error::IOError { err }))) => return Ok(Some(err)),
                        Ok(Some(Err(error))) => return Err(error),
                        Ok(None) => return Ok(None),
                        Err(_) => return Err(Error::RequestTimeoutError),
                    }
                }
            })
            .await;
        match pulled {
            Ok(broken) => match (self.image(reference).await?, broken) {
                (Some(id), _) => Ok(id),
                (None, None) => Err(HostError::ImageMissing(reference.to_owned())),
                (None, Some(error)) => Err(HostError::Failed {
                    detail: format!("the pull of {reference} was interrupted"),
                    source: Some(error.into()),
                }),
            },
            Err(Fault::Said(status, message)) => {
                let message = match login.note {
                    Some(note) => format!("{message} ({note})"),
                    None => message,
                };
                Err(Fault::Said(status, message).into())
            }
            Err(fault @ Fault::Silent(_)) => Err(fault.into()),
        }
    }
}

/// The most layers that are counted: an image has at most 127, and a text from outside may name any number.
const MOST_LAYERS: usize = 1024;

/// The layers that the messages of a pull have named.
#[derive(Default)]
struct Layers(BTreeMap<String, Layer>);

#[derive(Clone, Copy, Default)]
struct Layer {
    done: bool,
    /// Bytes downloaded, and bytes in all where known.
    bytes: u64,
    size: u64,
}

impl Layers {
    /// Takes in one message; returns whether it was about a layer.
    fn add(&mut self, message: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&message.id, &message.status) else { return false };
        // The words of Docker's command line; Podman uses the same.
        let begins = matches!(status.as_str(), "Pulling fs layer" | "Waiting" | "Already exists");
        let is_known = self.0.contains_key(id);
        // A pull begins with a message whose id is the tag.
        if !is_known && (!(begins || status == "Downloading") || self.0.len() >= MOST_LAYERS) {
            return false;
        }
        let layer = self.0.entry(id.clone()).or_default();
        match status.as_str() {
            "Downloading" => {
                let positive = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
                let detail = message.progress_detail.as_ref();
                layer.size = detail.and_then(|detail| positive(detail.total)).unwrap_or(layer.size);
                layer.bytes = detail.and_then(|detail| positive(detail.current)).unwrap_or(layer.bytes);
            }
            "Verifying Checksum" | "Download complete" | "Extracting" => layer.bytes = layer.size,
            "Pull complete" | "Already exists" => (layer.done, layer.bytes) = (true, layer.size),
            _ => {}
        }
        true
    }

    fn progress(&self, since: Instant) -> PullProgress {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let sum = |bytes: fn(&Layer) -> u64| self.0.values().map(bytes).fold(0, u64::saturating_add);
        PullProgress {
            since,
            layers_done: count(self.0.values().filter(|layer| layer.done).count()),
            layers: count(self.0.len()),
            bytes: sum(|layer| layer.bytes),
            bytes_known: sum(|layer| layer.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn progress_counts_the_layers_and_bytes_that_the_engine_names() {
        let mut layers = Layers::default();
        let mut add = |id: &str, status: &str, current: i64, total: i64| {
            layers.add(&CreateImageInfo {
                id: Some(id.to_owned()),
                status: Some(status.to_owned()),
                progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
                ..CreateImageInfo::default()
            });
            let PullProgress { layers_done, layers, bytes, bytes_known, .. } =
                layers.progress(Instant::default());
            (layers_done, layers, bytes, bytes_known)
        };
        assert_eq!(add("latest", "Pulling from library/a", 0, 0), (0, 0, 0, 0));
        assert_eq!(add("a", "Already exists", 0, 0), (1, 1, 0, 0));
        assert_eq!(add("b", "Pulling fs layer", 0, 0), (1, 2, 0, 0));
        assert_eq!(add("c", "Waiting", 0, 0), (1, 3, 0, 0));
        assert_eq!(add("b", "Downloading", 10, 100), (1, 3, 10, 100));
        assert_eq!(add("c", "Downloading", -1, 50), (1, 3, 10, 150));
        assert_eq!(add("b", "Download complete", 0, 0), (1, 3, 100, 150));
        assert_eq!(add("b", "Extracting", 5, 100), (1, 3, 100, 150));
        assert_eq!(add("b", "Pull complete", 0, 0), (2, 3, 100, 150));
        assert_eq!(add("x", "no such word", 0, 0), (2, 3, 100, 150));
    }
}
