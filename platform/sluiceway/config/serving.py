"""The endpoints: the section ``platform.serving``, and the ``serving`` of an application in a Serve config."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.core.loopback import is_loopback

KeysMode = Literal["auto", "required", "none"]
# Bytes of bodies that a replica holds at once, where nothing is said.
ROOM_FOR_BODIES = 256_000_000


class ScalingSection(Section):
    """How many replicas there are, by the requests that are under way; Serve's own autoscaling."""

    min_replicas: int = Field(default=1, ge=0)
    """Fewest; 0 lets an idle challenger go, and is refused for an endpoint, whose clients would wait for a start."""
    max_replicas: int = Field(ge=1)
    """Most."""
    target_ongoing_requests: float = Field(default=8.0, gt=0)
    """Requests under way at once that one replica is meant to have."""
    upscale_delay_seconds: float = Field(default=5.0, ge=0)
    """The load has to last so long before replicas are added."""
    downscale_delay_seconds: float = Field(default=300.0, ge=0)
    """The quiet has to last so long before replicas are taken away."""
    look_back_seconds: float = Field(default=10.0, gt=0)
    """Over how long the load is averaged."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self


class BreakerSection(Section):
    """When an endpoint's replica stops asking a challenger by itself; it is asked again from the next generation on."""

    errors_in_row: int = Field(default=5, ge=1)
    """So many failures, one after the other."""
    errors_total: int = Field(default=20, ge=1)
    """So many failures in a generation, whatever lies between them."""
    late_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the last ``window`` requests that took more than ``late_seconds``."""
    late_seconds: float = Field(default=0.5, gt=0)
    """A request to a challenger that takes longer is late."""
    window: int = Field(default=50, ge=10)
    """Requests that ``late_share`` is taken over; fewer are not judged."""


class InputSection(Section):
    """What a request may hold, beyond what the model's features say."""

    categories: Literal["missing", "refuse"] = "missing"
    """A category that the model does not know: taken as missing and counted, or refused with 422."""
    ranges: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    """Smallest and largest value by feature, e.g. ``{distance: [0, 6000]}``; null leaves a side open."""
    extra: tuple[str, ...] = ()
    """Further fields that a row may hold and that no model sees, such as the one of ``routing_field``."""

    @field_validator("ranges")
    @classmethod
    def _in_order(
        cls, value: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        for name, (low, high) in value.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"the range of {name} begins at {low} and ends at {high}")
        return value


class PredictionLogSection(Section):
    """The log of predictions, a Delta table."""

    enabled: bool = True
    """False keeps only what a rollout needs, in the catalog."""
    table: str | None = None
    """Where; left out, ``predictions/<endpoint>`` in the platform's ``state`` folder."""
    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the requests that is logged, chosen by a hash of the request's id."""
    drop: tuple[str, ...] = ()
    """Features that are not logged."""
    hash: tuple[str, ...] = ()
    """Features that are logged as a keyed hash only."""
    flush_seconds: float = Field(default=10.0, gt=0)
    """A commit holds what came in so long, unless ``flush_rows`` come before."""
    flush_rows: int = Field(default=50_000, ge=1)
    """A commit is made at once when so many rows wait."""


class ServingSection(Section):
    """The endpoints."""

    host: str = "127.0.0.1"
    """Interface that HTTP listens on; keyless only on loopback."""
    port: int = Field(default=8000, ge=0, le=65535)
    """HTTP port; 0 takes a free one."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of gRPC for the Open Inference Protocol; left out there is none. Needs ``keys: required``."""
    keys: KeysMode = "auto"
    """Whether requests need an API key; ``auto``: unless HTTP listens on loopback. ``none`` elsewhere is refused."""
    replicas: int = Field(default=1, ge=1)
    """Replicas of an endpoint, where ``scaling`` is left out."""
    challenger_replicas: int = Field(default=1, ge=1)
    """Replicas of a challenger, where ``challenger_scaling`` is left out."""
    scaling: ScalingSection | None = None
    """Replicas of an endpoint by its load."""
    challenger_scaling: ScalingSection | None = None
    """Replicas of a challenger by its load."""
    isolation: Literal["process", "replica"] = "process"
    """Where challengers run: in a deployment of their own, or in the endpoint's replicas, faster and less safe."""
    replica_cpus: float = Field(default=0.1, gt=0)
    """CPUs that Ray reserves for a replica; a local canary shares the machine with its load."""
    challenger_timeout_seconds: float = Field(default=1.0, gt=0)
    """A challenger that has not answered by then is counted as an error and the champion answers."""
    request_timeout_seconds: float = Field(default=10.0, gt=0)
    """A request that is not answered by then gets 504; one that has not come in whole by then gets 408."""
    ongoing_requests: int = Field(default=512, ge=1)
    """Requests that a replica works on at once; further ones wait."""
    queued_requests: int = Field(default=1024, ge=-1)
    """Requests that may wait for a replica, 1 or more; further ones are shed. -1 sheds none."""
    shed_status: Literal[429, 503] = 503
    """What a request that is shed gets, with ``Retry-After``."""
    retry_after_seconds: int = Field(default=1, ge=1)
    """The value of ``Retry-After``."""
    max_body_bytes: int = Field(default=1_000_000, ge=1)
    """Larger requests get 413."""
    max_rows: int = Field(default=1_000, ge=1)
    """More rows in one request get 413."""
    max_arrow_bytes: int = Field(default=64_000_000, ge=1)
    """Larger requests in Arrow get 413."""
    max_arrow_rows: int = Field(default=100_000, ge=1)
    """More rows in one request in Arrow get 413."""
    max_held_bytes: int | None = Field(default=None, ge=1)
    """Bytes of the bodies that a replica holds at once, those of up to 64 KiB left out; a request beyond it is shed.
    Left out, 256 MB, or twice the largest body that may come."""
    routing_field: str | None = None
    """Field of a row by which arms are drawn where a request has no ``X-Routing-Key``; its first row counts."""
    breaker: BreakerSection = BreakerSection()
    """When a replica stops asking a challenger by itself."""
    input: InputSection = InputSection()
    """What a request may hold."""
    wait_for_outcome_days: float = Field(default=7.0, gt=0)
    """So long a prediction waits in the catalog for its outcome; then it is archived without one. Longer than the
    latest outcomes take, e.g. 100 for loans. So long an outcome waits for its prediction, too; then it is deleted."""
    log: PredictionLogSection = PredictionLogSection()
    """The log of predictions."""

    @property
    def extra_fields(self) -> frozenset[str]:
        """Fields that a row may hold beside a model's features."""
        return frozenset((*self.input.extra, *([self.routing_field] if self.routing_field else [])))

    @property
    def room_for_bodies(self) -> int:
        """``max_held_bytes``, or what it is where that is left out."""
        largest = max(self.max_body_bytes, self.max_arrow_bytes)
        return max(ROOM_FOR_BODIES, 2 * largest) if self.max_held_bytes is None else self.max_held_bytes

    @model_validator(mode="after")
    def _the_largest_body_has_room(self) -> Self:
        for name in ("max_body_bytes", "max_arrow_bytes"):
            if getattr(self, name) > self.room_for_bodies:
                raise ValueError(
                    f"max_held_bytes {self.room_for_bodies} is less than {name} {getattr(self, name)}: such a request "
                    f"would never be answered; raise the one, or lower the other"
                )
        return self

    @field_validator("queued_requests")
    @classmethod
    def _some_or_all_wait(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0 is nothing that Serve knows: 1 or more, or -1 to shed none")
        return value

    @model_validator(mode="after")
    def _an_endpoint_stays(self) -> Self:
        if self.scaling is not None and self.scaling.min_replicas < 1:
            raise ValueError("scaling.min_replicas has to be 1 or more: an endpoint without a replica answers nobody")
        return self

    @model_validator(mode="after")
    def _grpc_with_keys_only(self) -> Self:
        # The gRPC servers of Serve's replicas listen on all interfaces, whatever host says.
        if self.grpc_port is not None and self.keys != "required":
            raise ValueError("grpc_port needs keys: required, because Serve's gRPC listens on all interfaces")
        return self

    @model_validator(mode="after")
    def _keyless_on_loopback_only(self) -> Self:
        # Where Serve is started by others, its own host counts; a replica finds it out (serving.keyless).
        if self.keys == "none" and not is_loopback(self.host):
            raise ValueError(f"keys are none, but HTTP listens on {self.host}: keyless is for 127.0.0.1 only")
        return self
