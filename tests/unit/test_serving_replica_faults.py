"""What a replica and a recorder outlive: bundles that cannot be loaded, and errors that nobody foresaw."""

import asyncio
import contextlib
import errno
import shutil
import types
from dataclasses import replace
from pathlib import Path

import pytest

from serving_models import train_small
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import TrafficDocument

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")

ENDPOINT = "flights"


@pytest.fixture
def models(tmp_path):
    """By version."""
    return {str(seed): train_small(tmp_path, seed=seed) for seed in (1, 2, 3, 4)}


@pytest.fixture
def document(models):
    return TrafficDocument(
        ENDPOINT,
        7,
        models["1"].arm("1", 0.6),
        (models["2"].arm("2", 0.4),),
        shadows=(models["3"].arm("3", 1.0),),
        warm=(models["4"].arm("4", 0.0),),
        salt="r1",
    )


@pytest.fixture
def replica():
    """A replica without Serve and catalog, that has just started with what is the newest document."""
    from sluiceway.serving.endpoint import EndpointReplica  # noqa: PLC0415 (brings Ray along)

    class Held(EndpointReplica):
        def __init__(self, newest):
            self.endpoint, self.limits = ENDPOINT, ServingSection()
            self.route, self._loaded, self._refused_generation = None, {}, 0
            self._applying = asyncio.Lock()
            self._traffic = types.SimpleNamespace(newest=newest)
            self.answerer = types.SimpleNamespace(open=lambda route: None, warm=self._nothing)
            self._start_with_newest()

        def __del__(self):
            pass

        async def _nothing(self, route):
            pass

    return Held


def gone(model, monkeypatch):
    shutil.rmtree(model.folder)


def unreadable(model, monkeypatch):
    read_bytes = Path.read_bytes

    def fail(path):
        if path.parent == model.folder:
            raise OSError(errno.EIO, "Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", fail)


def unforeseen(model, monkeypatch):
    from sluiceway.serving import endpoint  # noqa: PLC0415 (brings Ray along)

    load = endpoint.load_scorer

    def fail(arm):
        if arm.digest == model.bundle.digest:
            raise RuntimeError("nobody foresaw it")
        return load(arm)

    monkeypatch.setattr(endpoint, "load_scorer", fail)


def weights(route):
    return {entry["version"]: entry["weight"] for entry in route.described()}


@pytest.mark.parametrize("fault", [gone, unreadable, unforeseen])
@pytest.mark.parametrize(
    ("version", "generation", "there"),
    [
        ("4", 7, {"1": 0.6, "2": 0.4, "3": 1.0}),
        ("3", 6, {"1": 0.6, "2": 0.4}),
        ("2", 6, {"1": 1.0, "3": 1.0}),
    ],
)
def test_a_replica_starts_without_the_arm_that_does_not_load_and_with_all_others(
    models, document, replica, monkeypatch, caplog, fault, version, generation, there
):
    fault(models[version], monkeypatch)
    started = replica(lambda endpoint: document)
    assert (started.route.generation, weights(started.route)) == (generation, there)
    assert set(started.route.pinned) == {"1", "2", "3", "4"} - {version}
    (record,) = caplog.records
    assert f"starts without version {version} of generation 7: " in record.getMessage()
    assert bool(record.exc_info) == (fault is unforeseen)


def test_it_follows_the_whole_document_as_soon_as_all_of_it_loads(models, document, replica, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        unreadable(models["2"], patch)
        started = replica(lambda endpoint: document)
        caplog.clear()
        for _ in range(3):
            asyncio.run(started._follow_newest())
        assert (started.route.generation, started.route.challengers) == (6, ())
        (record,) = caplog.records
        assert "does not follow generation 7: " in record.getMessage()
        assert "model.ubj cannot be read: Input/output error" in record.getMessage()
    asyncio.run(started._follow_newest())
    assert (started.route.generation, weights(started.route)) == (7, {"1": 0.6, "2": 0.4, "3": 1.0})


@pytest.mark.parametrize("fault", [gone, unreadable, unforeseen])
def test_a_replica_that_runs_goes_on_as_before(models, document, replica, monkeypatch, fault):
    alone = TrafficDocument(ENDPOINT, 6, models["1"].arm("1", 1.0))
    documents = [alone]
    running = replica(lambda endpoint: documents[-1])
    fault(models["2"], monkeypatch)
    documents.append(document)
    asyncio.run(running._follow_newest())
    assert (running.route.generation, weights(running.route)) == (6, {"1": 1.0})


@pytest.mark.parametrize("version", ["3", "4"])
def test_a_later_document_is_followed_without_a_warm_arm_or_shadow_that_does_not_load(
    models, document, replica, monkeypatch, caplog, version
):
    documents = [document]
    unreadable(models[version], monkeypatch)
    started = replica(lambda endpoint: documents[-1])
    documents.append(replace(document, generation=8, challengers=(), champion=models["1"].arm("1", 1.0)))
    caplog.clear()
    asyncio.run(started._follow_newest())
    assert (started.route.generation, weights(started.route)["1"]) == (8, 1.0)
    assert set(started.route.pinned) == {"1", "3", "4"} - {version}
    (record,) = caplog.records
    assert f"goes on without version {version} of generation 8: " in record.getMessage()


def test_a_shadow_that_a_document_brings_has_to_load(models, document, replica, monkeypatch):
    documents = [replace(document, generation=6, shadows=())]
    started = replica(lambda endpoint: documents[-1])
    unreadable(models["3"], monkeypatch)
    documents.append(document)
    asyncio.run(started._follow_newest())
    assert started.route.generation == 6


async def for_a_while(forever):
    """Let a loop turn many times; raises what it has died of."""
    task = asyncio.create_task(forever)
    await asyncio.wait([task], timeout=0.3)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_the_replica_looks_again_after_an_error_that_nobody_foresaw(document, replica, monkeypatch, caplog):
    from sluiceway.serving import endpoint as module  # noqa: PLC0415 (brings Ray along)

    told = iter([None, OSError("nobody foresaw it"), ZeroDivisionError("nor this")])

    def newest(endpoint):
        one = next(told, document)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    started = replica(newest)
    assert started.route is None
    asyncio.run(for_a_while(started._poll_forever()))
    assert started.route.generation == 7
    assert [record.exc_info[0] for record in caplog.records] == [OSError, ZeroDivisionError]


def test_the_recorder_judges_again_after_an_error_that_nobody_foresaw(monkeypatch, caplog):
    from sluiceway.serving import recorder as module  # noqa: PLC0415 (brings Ray along)

    class Held(module.Recorder):
        def __init__(self):
            self._endpoint, self._senders, self._waiting, self._rows, self._silent = ENDPOINT, {}, [], 0, False
            self.shown = []
            self._metrics = types.SimpleNamespace(
                waiting=types.SimpleNamespace(set=lambda rows: None), judge=self.shown.append
            )
            self._lease = types.SimpleNamespace(renew=lambda: None)
            self._judging = self

        def __del__(self):
            pass

        def judged(self, now):
            one = next(told, {})
            if isinstance(one, Exception):
                raise one
            return one

    told = iter([OSError("nobody foresaw it"), ModelError("damaged"), ZeroDivisionError("nor this")])
    monkeypatch.setattr(module, "JUDGE_SECONDS", 0.01)
    recorder = Held()
    asyncio.run(for_a_while(recorder._judge_forever()))
    assert recorder.shown[0] == {}
    assert ["accuracy is not known" in record.getMessage() for record in caplog.records] == [True] * 3
