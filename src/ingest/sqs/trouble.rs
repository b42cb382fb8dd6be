//! What AWS answers where it does not do what it was asked for, and what to do about it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use crate::{ingest::label, model::words};

words! {
    /// Why the queue can't be asked.
    pub enum Reason {
        /// AWS's chain of credentials has none, or none that AWS knows.
        NoCredentials = 1, "no-credentials";
        /// The credentials hold no right to do that.
        AccessDenied = 2, "access-denied";
        /// There is no such queue in that region.
        NoQueue = 3, "no-queue";
        /// Too many requests.
        Throttled = 4, "throttled";
        /// No answer: the network, or the endpoint.
        Unreachable = 5, "unreachable";
        /// An answer that AWS gives where something is wrong at its end, or that this version does not know.
        Failed = 6, "failed";
    }
}

impl Reason {
    /// What to do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "AWS's chain of credentials (environment, profile, web identity, container, instance) gives none that AWS takes: \
                 attach a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; where they are right, compare this machine's \
                 clock"
            }
            Self::AccessDenied => {
                "grant sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queue, and kms:Decrypt on its \
                 key where it is encrypted with one of yours"
            }
            Self::NoQueue => "there is no such queue: compare queue_url and region with the SQS console",
            Self::Throttled => "AWS asks for fewer requests; they are made more slowly",
            Self::Unreachable => {
                "no answer: let HTTPS to the region's SQS endpoint out, or set `endpoint` to your VPC endpoint"
            }
            Self::Failed => "AWS could not do it; it is asked again",
        }
    }
}

/// A request to the queue that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    /// Why.
    pub reason: Reason,
    /// AWS's own word for it, bounded.
    pub code: Option<String>,
}

impl Trouble {
    /// What an SDK's error means.
    pub(super) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let code = error.code();
        let reason = match (code, error) {
            (Some(code), _) => of_code(code),
            (None, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_))
                if lacks_credentials(error) =>
            {
                Reason::NoCredentials
            }
            (None, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_)) => Reason::Unreachable,
            _ => Reason::Failed,
        };
        Self { reason, code: code.map(label) }
    }
}

/// Whether an error was caused by credentials that can't be had.
fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<CredentialsError>)
}

/// What a code of SQS, of KMS for an encrypted queue, or one common to all services of AWS means (Amazon SQS API Reference,
/// "Errors" of each action and "Common errors"). The part before `#` or `.` is a namespace.
fn of_code(code: &str) -> Reason {
    let word = code.rsplit(['#', '.']).next().unwrap_or(code);
    let word = word.strip_suffix("Exception").unwrap_or(word);
    match word {
        "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "SignatureDoesNotMatch"
        | "InvalidSignature"
        | "IncompleteSignature"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "InvalidSecurity"
        | "RequestExpired" => Reason::NoCredentials,
        "AccessDenied" | "KmsAccessDenied" | "NotAuthorized" | "OptInRequired" => Reason::AccessDenied,
        "QueueDoesNotExist" | "NonExistentQueue" | "InvalidAddress" => Reason::NoQueue,
        "RequestThrottled"
        | "Throttling"
        | "Throttled"
        | "ThrottlingException"
        | "KmsThrottled"
        | "TooManyRequests"
        | "OverLimit" => Reason::Throttled,
        _ => Reason::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_aws_say_what_to_do() {
        for (code, reason) in [
            ("AWS.SimpleQueueService.NonExistentQueue", Reason::NoQueue),
            ("com.amazonaws.sqs#QueueDoesNotExist", Reason::NoQueue),
            ("AccessDeniedException", Reason::AccessDenied),
            ("KMS.AccessDeniedException", Reason::AccessDenied),
            ("InvalidClientTokenId", Reason::NoCredentials),
            ("ExpiredTokenException", Reason::NoCredentials),
            ("RequestThrottled", Reason::Throttled),
            ("ThrottlingException", Reason::Throttled),
            ("InternalFailure", Reason::Failed),
        ] {
            assert_eq!(of_code(code), reason, "{code}");
        }
    }
}
