//! When and how a request is tried again.

use kuma_core::{
    ir::{RateLimitedRetry, RetryHostPredicate, RetryPolicy},
    meta::{Labels, label},
};
use prost_types::Any;

use super::{
    duration, matcher, metadata,
    proto::{
        omit_host_metadata::OmitHostMetadataConfig,
        pack,
        previous_hosts::PreviousHostsPredicate,
        previous_priorities::PreviousPrioritiesConfig,
        route::{
            RetryPolicy as Message,
            retry_policy::{
                RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff,
                RetryHostPredicate as HostPredicate, RetryPriority, retry_host_predicate, retry_priority,
            },
        },
    },
};

/// The retry policy of a route.
pub(super) fn policy(policy: &RetryPolicy) -> Message {
    let back_off = policy
        .back_off
        .as_ref()
        .map(|pause| RetryBackOff { base_interval: pause.base.map(duration), max_interval: pause.max.map(duration) });
    Message {
        retry_on: policy.retry_on.clone(),
        num_retries: policy.num_retries,
        per_try_timeout: policy.per_try_timeout.map(duration),
        retry_back_off: back_off,
        rate_limited_retry_back_off: policy.rate_limited.as_ref().map(rate_limited),
        retriable_status_codes: policy.status_codes.clone(),
        retriable_request_headers: policy.request_headers.iter().map(matcher::header).collect(),
        retriable_headers: policy.response_headers.iter().map(matcher::header).collect(),
        retry_host_predicate: policy.host_predicates.iter().map(host_predicate).collect(),
        retry_priority: policy.previous_priorities.map(previous_priorities),
        host_selection_retry_max_attempts: policy.host_selection_attempts.unwrap_or_default(),
        ..Default::default()
    }
}

fn rate_limited(pause: &RateLimitedRetry) -> RateLimitedRetryBackOff {
    let reset = |(name, unix): &(std::sync::Arc<str>, bool)| ResetHeader {
        name: name.as_ref().to_owned(),
        format: if *unix { ResetHeaderFormat::UnixTimestamp } else { ResetHeaderFormat::Seconds }.into(),
    };
    RateLimitedRetryBackOff {
        reset_headers: pause.headers.iter().map(reset).collect(),
        max_interval: pause.max.map(duration),
    }
}

fn host_predicate(predicate: &RetryHostPredicate) -> HostPredicate {
    let (name, config) = match predicate {
        RetryHostPredicate::PreviousHosts => {
            ("envoy.retry_host_predicates.previous_hosts", pack(&PreviousHostsPredicate::default()))
        }
        RetryHostPredicate::WithTags(tags) => ("envoy.retry_host_predicates.omit_host_metadata", with_tags(tags)),
    };
    HostPredicate { name: name.to_owned(), config_type: Some(retry_host_predicate::ConfigType::TypedConfig(config)) }
}

/// Endpoints do not carry the service label, so a condition on it would never hold.
fn with_tags(tags: &Labels) -> Any {
    let tags = metadata::texts(tags.iter().filter(|(key, _)| key.as_str() != label::SERVICE));
    pack(&OmitHostMetadataConfig { metadata_match: Some(metadata::by_filter([(metadata::LOAD_BALANCING, tags)])) })
}

fn previous_priorities(update_frequency: i32) -> RetryPriority {
    let config = PreviousPrioritiesConfig { update_frequency };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&config))),
    }
}
