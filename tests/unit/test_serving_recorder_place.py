"""Where the log of an endpoint's predictions is, and what is said where nobody knows."""

import logging

import pytest

from sluiceway.config.serving import PredictionLogSection
from sluiceway.serving.prediction_log import log_uri

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")


def place(root="/state/predictions", **section):
    return log_uri(PredictionLogSection(**section), root=root, endpoint="fraud-production")


def test_it_is_below_the_root_or_where_the_section_says():
    assert place() == "/state/predictions/fraud-production"
    assert place("s3://bucket/predictions/") == "s3://bucket/predictions/fraud-production"
    assert place(table="s3://bucket/all") == "s3://bucket/all"
    assert place(None, table="/logs/all") == "/logs/all"


@pytest.mark.parametrize("section", [{"enabled": False}, {"sample": 0.0}, {"enabled": False, "table": "/logs/all"}])
def test_there_is_none_where_nothing_is_logged(section):
    assert place(**section) is None


def test_there_is_none_where_nobody_says_where():
    assert place(None) is None


@pytest.fixture
def built():
    """The specification of an endpoint that is built from a Serve config."""
    from sluiceway.serving.app import build  # noqa: PLC0415 (brings Ray along)

    def of(**args):
        application = build({"endpoint": "fraud", "catalog": "sqlite://", **args})
        return application._bound_deployment.init_args[0]

    return of


def test_a_serve_config_says_where_the_logs_are(built, caplog):
    assert built(predictions="/logs").log_table == "/logs/fraud"
    assert built(serving={"log": {"table": "/logs/all"}}).log_table == "/logs/all"
    assert built(serving={"log": {"enabled": False}}).log_table is None
    assert caplog.records == []


def test_a_serve_config_that_says_nothing_has_no_log_and_says_so(built, caplog):
    with caplog.at_level(logging.WARNING):
        assert built().log_table is None
    assert [record.getMessage() for record in caplog.records] == [
        "endpoint fraud has no prediction log: neither `predictions` nor `serving.log.table` says where it lies"
    ]
