"""``sluiceway keys``: a key is shown once, lists never show one."""

import json
import subprocess
import sys

from command_line import sluiceway
from sluiceway.catalog.api_keys import KEY_LENGTH, ApiKeyStore
from sluiceway.catalog.engine import open_catalog
from sluiceway.cli.main import run_command

CREATE = ("keys", "create", "checkout")


def usable(folder, endpoint="fraud"):
    """What a replica of an endpoint would know."""
    engine = open_catalog(f"sqlite:///{folder / '.sluiceway' / 'catalog.db'}")
    try:
        return ApiKeyStore(engine).usable(endpoint)
    finally:
        engine.dispose()


def test_a_key_is_made_listed_and_revoked(tmp_path):
    made = sluiceway(tmp_path, *CREATE, "--scope", "feedback", "--scope", "predict", "--endpoint", "fraud")
    assert len(made["key"]) == KEY_LENGTH
    assert made["key"].startswith(f"sw_{made['id']}_")
    assert (made["name"], made["scopes"], made["endpoint"]) == ("checkout", ["predict", "feedback"], "fraud")
    (known,) = usable(tmp_path)
    assert (known.id, usable(tmp_path, "churn")) == (made["id"], ())
    (listed,) = sluiceway(tmp_path, "keys", "list")
    assert listed == {name: value for name, value in made.items() if name != "key"}
    revoked = sluiceway(tmp_path, "keys", "revoke", made["id"])
    assert revoked["revoked"] is not None
    assert usable(tmp_path) == ()
    assert sluiceway(tmp_path, "keys", "list") == [revoked]


def test_a_key_can_predict_unless_more_is_said(tmp_path):
    assert sluiceway(tmp_path, *CREATE)["scopes"] == ["predict"]
    assert sluiceway(tmp_path, *CREATE, "--scope", "admin")["scopes"] == ["admin"]


def run(folder, *arguments):
    code = "import sys; from sluiceway.cli.main import main; sys.argv = ['sluiceway', *sys.argv[1:]]; main()"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_a_shell_gets_the_key_alone(tmp_path):
    done = run(tmp_path, *CREATE, "--endpoint", "fraud")
    assert (done.returncode, len(done.stdout)) == (0, KEY_LENGTH + 1), done.stderr
    secret = done.stdout.strip()[12:]
    assert "it cannot be shown again" in done.stderr
    assert "no endpoint fraud has had traffic yet" in done.stderr
    assert secret not in done.stderr
    listed = run(tmp_path, "keys", "list")
    assert secret not in listed.stdout + listed.stderr
    assert "checkout" in listed.stdout


def test_nothing_to_list_makes_no_catalog(tmp_path):
    assert sluiceway(tmp_path, "keys", "list") == []
    assert list(tmp_path.iterdir()) == []


def refused(folder, capsys, *arguments):
    document = sluiceway(folder, *arguments, expect=2)
    capsys.readouterr()
    return document


def test_what_cannot_be_is_bad_input(tmp_path, capsys):
    unknown = refused(tmp_path, capsys, *CREATE, "--scope", "write")
    assert unknown["problems"] == ["there is no scope write; known: predict, feedback, admin"]
    assert refused(tmp_path, capsys, "keys", "create", " ")["problems"]
    assert refused(tmp_path, capsys, "keys", "revoke", "0badc0de")["message"] == "there is no key 0badc0de"
    assert run_command(["keys", "create"]) == 2
    assert sluiceway(tmp_path, "keys", "list") == []


def test_the_key_is_in_the_result_and_nowhere_else(tmp_path, capsys):
    made = sluiceway(tmp_path, *CREATE)
    said = capsys.readouterr()
    secret = made["key"][12:]
    assert secret not in said.out + said.err
    for path in (tmp_path / ".sluiceway").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    assert secret not in json.dumps(sluiceway(tmp_path, "keys", "list"))
