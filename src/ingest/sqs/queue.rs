//! The queue by Amazon's SDK: what is asked of it, in batches.

use std::{collections::HashSet, fmt, time::Duration};

use aws_config::{AppName, BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    config::Builder,
    error::SdkError,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry as Visibility,
        DeleteMessageBatchRequestEntry as Deletion,
    },
};

use super::{Settings, trouble::Trouble};

/// The most messages that SQS hands out, or deletes, by one request.
pub(super) const BATCH: usize = 10;
/// For how long a message that was handed out is hidden from others, in seconds.
pub(super) const HIDDEN_SECONDS: i32 = 30;
/// The longest that any request may take beside what it is told to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that was handed out. Its body holds addresses: never to be printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// What was sent.
    pub(super) body: String,
    /// By what it is deleted; another one each time it is handed out.
    pub(super) handle: String,
    /// How often others of its batch were committed and it was not.
    pub(super) passed_over: u32,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.body.len())
    }
}

/// One queue. Clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue of these settings, with credentials by AWS's ordinary chain. Nothing is asked yet.
    pub(super) async fn of(settings: &Settings) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(settings.region.clone()));
        if let Ok(name) = AppName::new(env!("CARGO_PKG_NAME")) {
            loader = loader.app_name(name);
        }
        let mut config = Builder::from(&loader.load().await);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        Self { client: Client::from_conf(config.build()), url: settings.queue_url.as_str().to_owned() }
    }

    /// Up to `most` messages; waits for the first so long.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    pub(super) async fn receive(&self, most: usize, wait: Duration) -> Result<Vec<Message>, Trouble> {
        let limit = TimeoutConfig::builder().operation_timeout(wait + PATIENCE).build();
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(i32::MAX))
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
            .visibility_timeout(HIDDEN_SECONDS)
            .customize()
            .config_override(Builder::default().timeout_config(limit))
            .send()
            .await
            .map_err(|error| Trouble::of(&error))?;
        let messages = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            Some(Message { body: message.body.unwrap_or_default(), handle: message.receipt_handle?, passed_over: 0 })
        });
        Ok(messages.collect())
    }

    /// Deletes messages; gives those that are still there.
    ///
    /// # Errors
    /// Where the queue can't be asked; then all of them may be there, or none.
    pub(super) async fn delete(&self, messages: Vec<Message>) -> Result<Vec<Message>, Trouble> {
        let entry = |(place, message): (usize, &Message)| {
            Deletion::builder().id(place.to_string()).receipt_handle(&message.handle).build().ok()
        };
        let request = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(messages.iter().enumerate().filter_map(entry).collect()))
            .customize()
            .config_override(patient());
        let failed = places(request.send().await.map(|answer| answer.failed))?;
        Ok(parted(messages, &failed).0)
    }

    /// Hides messages from others for so many seconds from now, or shows them at once (0); gives the places of those whose
    /// time has run out, or that are gone.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    pub(super) async fn hide(&self, messages: &[Message], seconds: i32) -> Result<HashSet<usize>, Trouble> {
        let entry = |(place, message): (usize, &Message)| {
            let entry = Visibility::builder().id(place.to_string()).receipt_handle(&message.handle);
            entry.visibility_timeout(seconds).build().ok()
        };
        let request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(messages.iter().enumerate().filter_map(entry).collect()))
            .customize()
            .config_override(patient());
        places(request.send().await.map(|answer| answer.failed))
    }
}

fn patient() -> Builder {
    Builder::default().timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build())
}

/// The places of the entries that failed.
fn places<E, R>(answer: Result<Vec<BatchResultErrorEntry>, SdkError<E, R>>) -> Result<HashSet<usize>, Trouble>
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let failed = answer.map_err(|error| Trouble::of(&error))?;
    Ok(failed.iter().filter_map(|entry| entry.id.parse().ok()).collect())
}

/// Those at these places, and the others.
pub(super) fn parted(messages: Vec<Message>, places: &HashSet<usize>) -> (Vec<Message>, Vec<Message>) {
    let (mut those, mut others) = (Vec::new(), Vec::new());
    for (place, message) in messages.into_iter().enumerate() {
        if places.contains(&place) {
            those.push(message);
        } else {
            others.push(message);
        }
    }
    (those, others)
}

/// All but those at these places.
pub(super) fn without(messages: Vec<Message>, places: &HashSet<usize>) -> Vec<Message> {
    parted(messages, places).1
}
