//! Amazon SES: events that arrive in SNS envelopes.
