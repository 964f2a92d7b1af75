"""Every error keeps what it says on its way through pickle and through Ray."""

from __future__ import annotations

import inspect
import pickle

import pytest

from sluiceway.core import errors
from sluiceway.core.errors import SluicewayError

EXTRAS = {
    "problems": ("training.folds: missing",),
    "status": 422,
}


def every_class() -> list[type[SluicewayError]]:
    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, SluicewayError)]
    return sorted(found, key=lambda value: value.__name__)


def example(error_class: type[SluicewayError]) -> SluicewayError:
    """An error with every argument that its class names set to something other than the default."""
    known = inspect.signature(error_class).parameters
    return error_class(
        "the message",
        hint="the hint",
        table="sales",
        version=3,
        **{name: value for name, value in EXTRAS.items() if name in known},
    )


def assert_same(again: BaseException, original: SluicewayError) -> None:
    assert isinstance(again, type(original))
    assert str(again) == str(original)
    assert "the message" in str(again)
    assert "the hint" in str(again)
    assert vars(again) == vars(original)
    assert again.exit_code == original.exit_code


@pytest.mark.parametrize("error_class", every_class())
def test_pickle_keeps_every_field(error_class: type[SluicewayError]) -> None:
    error = example(error_class)
    assert_same(pickle.loads(pickle.dumps(error)), error)


@pytest.mark.parametrize("error_class", every_class())
def test_one_positional_message_and_everything_else_has_a_default(error_class: type[SluicewayError]) -> None:
    arguments = list(inspect.signature(error_class).parameters.values())
    assert [a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD] == ["message"]
    assert all(a.default is not a.empty for a in arguments if a.kind is a.KEYWORD_ONLY)
    assert isinstance(error_class(), Exception)


def test_the_drawing_of_the_tree_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for error_class in every_class():
        assert error_class.__name__ in drawn, error_class
        assert inspect.getdoc(error_class), error_class


@pytest.mark.integration
@pytest.mark.parametrize("error_class", every_class())
def test_a_ray_task_raises_it_with_its_fields(ray_cluster: None, error_class: type[SluicewayError]) -> None:
    import ray  # noqa: PLC0415 (the tests above run without Ray)

    error = example(error_class)

    @ray.remote(num_cpus=0, max_retries=0)
    def fails() -> None:
        raise error

    with pytest.raises(error_class) as caught:
        ray.get(fails.remote(), timeout=60)
    # Ray raises a class of both kinds; its cause is the error as the task raised it.
    assert_same(caught.value.cause, error)  # type: ignore[attr-defined]
    assert caught.value.exit_code == error.exit_code
