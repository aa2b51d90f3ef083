"""The retry policies that the settings name."""

from mailworkers.adapters.settings import Settings
from mailworkers.core.retry import RetryPolicy, exponential, ladder


def retry_policies(settings: Settings) -> dict[str, RetryPolicy]:
    """Return the policy for each value of the column `retry_policy`."""
    jitter = settings.retry_jitter
    policies = (
        ladder("ladder", settings.retry_ladder, jitter),
        exponential("exponential", jitter=jitter),
        ladder("auth", settings.auth_retry_ladder, jitter),
    )
    return {policy.name: policy for policy in policies}
