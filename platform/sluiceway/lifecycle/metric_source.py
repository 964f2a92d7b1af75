"""The Prometheus of a rollout: asked once before it begins, and at its looks."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

from sluiceway.config.deployment import PolicySection
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.context import Context
from sluiceway.rollout.own_queries import check, texts_of
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.prometheus_api import open_prometheus
from sluiceway.rollout.prometheus_source import Observe, PrometheusObserver

logger = logging.getLogger(__name__)


def check_source(context: Context, policy: PolicySection, plan: RolloutPlan) -> None:
    """Before a rollout begins: its Prometheus answers, and takes every query of the plan.

    One that has begun is not asked: while Prometheus is away it has to hold, or go back.

    Raises:
        InputError: a query cannot be used, or a secret is missing.
        BackendError: Prometheus does not answer.
    """
    if not plan.asks_prometheus or context.stores.rollouts.journal(plan.rollout_id):
        return
    with open_prometheus(policy.prometheus, context.secret) as api:
        api.now()
        check(api, plan.prometheus.queries, texts_of(plan, version=plan.version, arm="challenger"))


def check_configured(context: Context) -> None:
    """Before hours of training: what can be known to fail at the rollout. A Prometheus that is away may be back then.

    Raises:
        InputError: a query cannot be used, or a secret is missing.
    """
    name = context.experiment.name
    for environment in context.deployment.environments:
        section = context.deployment.of(environment).prometheus
        if section.url is None:
            continue
        endpoint = endpoint_name(name, environment)
        texts = {"endpoint": endpoint, "model": name, "version": "0", "arm": "challenger", "rollout": name}
        with open_prometheus(section, context.secret) as api:
            try:
                check(api, section.queries, texts)
            except BackendError as error:
                logger.warning("the rollout will ask Prometheus, and it does not answer now: %s", error.message)


def observed(
    context: Context, policy: PolicySection, plan: RolloutPlan, observe: Observe
) -> AbstractContextManager[Observe]:
    """An observer that adds what Prometheus tells, where the plan asks it.

    Raises:
        InputError: nobody says where Prometheus is, or a secret is missing.
    """
    if not plan.asks_prometheus:
        return nullcontext(observe)
    section = policy.prometheus
    return PrometheusObserver(
        observe,
        open_prometheus(section, context.secret),
        labels=section.labels,
        every_seconds=section.every_seconds,
        rollouts=context.stores.rollouts,
        clock=context.clock,
    )
