"""The challengers and shadows that an endpoint's traffic names: brought back on a Serve that has begun anew.

Serve forgets its applications when its Ray ends; the catalog keeps the shares. A share whose application is not there
goes to the champion, each request counted as a failure of the challenger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.specs import ChallengerSpec


def spec_of_arm(endpoint: str, arm: Arm, serving: ServingSection) -> ChallengerSpec:
    """The deployment of an arm; that of a drill keeps its fault, which the name of its application tells.

    Args:
        endpoint: its name.
        arm: a challenger or a shadow; one without an application gets its first.
        serving: sizes and limits.
    """
    fault = re.search(r"-fault(\d+)$", arm.application)
    return ChallengerSpec(endpoint, arm.version, arm.bundle, arm.digest, int(fault[1]) if fault else None, serving)


def redeploy_beside(
    document: TrafficDocument,
    serving: ServingSection,
    *,
    deploy: Callable[[ChallengerSpec], str],
    only: Collection[Arm] | None = None,
) -> Iterator[str]:
    """Deploy what a document names; one that does not come up keeps nothing else from coming up.

    Args:
        document: the newest of the endpoint.
        serving: sizes and limits.
        deploy: does so, and leaves alone what runs.
        only: of the document's arms; None: all.

    Yields:
        What is to be said of each that is not there, one line.
    """
    for arm in _deployed_arms(document):
        if only is not None and arm not in only:
            continue
        try:
            deploy(spec_of_arm(document.endpoint, arm, serving))
        except SluicewayError as error:
            yield _absent(document, arm, error.message)


def absent_beside(document: TrafficDocument, found: Collection[str], *, because: str) -> Iterator[str]:
    """What is to be said of each application that a document names and that is not there, one line each.

    Args:
        document: the newest of the endpoint.
        found: names of the applications that are there.
        because: why nobody deploys it.
    """
    for arm in _deployed_arms(document):
        if arm.application not in found:
            yield _absent(document, arm, because)


def _deployed_arms(document: TrafficDocument) -> list[Arm]:
    return [arm for arm in (*document.challengers, *document.shadows) if arm.application]


def _absent(document: TrafficDocument, arm: Arm, because: str) -> str:
    what = f"version {arm.version} of {document.endpoint} is not deployed ({because})"
    if arm in document.shadows:
        return f"{what}: as a shadow it scores nothing"
    return f"{what}: its share, {arm.weight:g}, is the champion's, and each request of it counts as its error"
