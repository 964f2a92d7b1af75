"""Which endpoints ask for keys, by what is configured and where HTTP listens."""

import pytest
from pydantic import ValidationError

from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.serving import keyless

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")


@pytest.mark.parametrize(
    ("mode", "host", "needed"),
    [
        ("auto", "127.0.0.1", False),
        ("auto", "::1", False),
        ("auto", "localhost", False),
        ("auto", "0.0.0.0", True),
        ("auto", "10.0.0.7", True),
        ("auto", None, True),
        ("required", "127.0.0.1", True),
        ("required", "0.0.0.0", True),
        ("none", "127.0.0.1", False),
    ],
)
def test_keys_are_needed_where_others_can_ask(mode, host, needed):
    assert keyless.needs_keys(mode, host) is needed


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", "0.0.0.0"), ("10.0.0.7", "10.0.0.7"), (None, "all interfaces")])
def test_doing_without_keys_where_others_can_ask_is_refused(host, told):
    with pytest.raises(ConfigError, match=f"serving.keys is none, but HTTP listens on {told}") as caught:
        keyless.needs_keys("none", host)
    assert caught.value.exit_code == 2
    assert "sluiceway keys create" in caught.value.hint


@pytest.mark.parametrize(("keys", "host"), [("none", "0.0.0.0"), ("none", "10.0.0.7"), ("none", "")])
def test_a_configuration_that_says_so_is_refused(keys, host):
    with pytest.raises(ValidationError, match="keyless is for"):
        ServingSection(keys=keys, host=host)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValidationError, match="keys"):
        ServingSection(keys="off")


def replica(monkeypatch, answer):
    """Whether a replica needs keys whose Serve says that HTTP listens there, or does not say."""

    def http_host():
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(keyless, "http_host", http_host)
    return keyless.replica_needs_keys


@pytest.mark.parametrize(
    ("mode", "answer", "needed"),
    [
        ("auto", "127.0.0.1", False),
        ("auto", "0.0.0.0", True),
        ("auto", None, True),
        ("auto", BackendError("no answer"), True),
        ("required", BackendError("no answer"), True),
        ("none", "127.0.0.1", False),
    ],
    ids=["loopback", "all interfaces", "no HTTP", "nobody says", "required and nobody says", "none on loopback"],
)
def test_a_replica_that_cannot_tell_where_http_listens_asks_for_keys(monkeypatch, mode, answer, needed):
    assert replica(monkeypatch, answer)(mode) is needed


@pytest.mark.parametrize(
    ("answer", "error"),
    [("0.0.0.0", ConfigError), (None, ConfigError), (BackendError("no answer"), BackendError)],
    ids=["all interfaces", "no HTTP", "nobody says"],
)
def test_a_replica_that_is_to_do_without_and_must_not_does_not_come_up(monkeypatch, answer, error):
    with pytest.raises(error):
        replica(monkeypatch, answer)("none")
