"""The policies that the settings name: when to retry, and what not to retry."""

from mailworkers.adapters.settings import Settings
from mailworkers.core.retry import RetryPolicy, exponential, ladder
from mailworkers.core.states import Lane


def retry_policies(settings: Settings) -> dict[str, RetryPolicy]:
    """Return the policy for each value of the column `retry_policy`."""
    jitter = settings.retry_jitter
    policies = (
        ladder("ladder", settings.retry_ladder, jitter),
        exponential("exponential", jitter=jitter),
        ladder("auth", settings.auth_retry_ladder, jitter),
    )
    return {policy.name: policy for policy in policies}


def parked_lanes(settings: Settings) -> frozenset[Lane]:
    """Return the lanes whose doubtful deliveries are never tried again."""
    return frozenset(lane for lane in Lane if settings.uncertain_policy[lane.label] == "park")
