import copy
import json
import pickle
from typing import Any

import pytest

from infra.chassis import logs
from infra.chassis.secret import Secret


@pytest.mark.parametrize(
    "act", [pickle.dumps, copy.copy, copy.deepcopy, hash, json.dumps, lambda secret: secret == Secret("hunter2")]
)
@pytest.mark.control("UC-3.6")
def test_a_secret_refuses_to_leave_by_accident(act: Any):
    with pytest.raises(TypeError):
        act(Secret("hunter2"))


def test_a_secret_prints_nothing_of_itself():
    secret = Secret("hunter2")

    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.control("UC-L.1")
def test_logs_keep_no_card_number_no_secret_and_no_exception_text(capsys: pytest.CaptureFixture[str]):
    logs.configure("test")

    logs.get_logger().error(
        "tried",
        text="card 4242 4242 4242 4242",
        number=4242424242424242,
        items=["5555555555554444"],
        error=ValueError("378282246310005"),
        key=Secret("hunter2"),
    )

    (line,) = capsys.readouterr().out.splitlines()
    written = json.loads(line)
    assert written["event"] == "tried"
    del written["timestamp"]
    assert [leak for leak in ("4242", "5555", "3782", "hunter2") if leak in json.dumps(written)] == [], written


@pytest.mark.control("UC-L.1")
def test_a_card_number_leaves_the_rest_of_a_log_line_and_is_not_cut_in_half(capsys: pytest.CaptureFixture[str]):
    logs.configure("test")
    half_inside = "x" * (logs.VALUE_LENGTH_MAX - 13) + " 4242 4242 4242 4242"

    logs.get_logger().error("tried", text="paid with 4242 4242 4242 4242 twice", long=half_inside)

    written = json.loads(capsys.readouterr().out)
    assert written["text"] == "paid with [card number removed] twice"
    assert len(written["long"]) <= logs.VALUE_LENGTH_MAX
    assert "4" not in written["long"]
