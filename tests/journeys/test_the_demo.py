import base64
from pathlib import Path

import pytest

from infra.dev import demo
from infra.dev.demo.leaks import forms, search
from infra.dev.demo.person import CARD_NUMBER
from infra.dev.house import House
from tests.support.house import throwaway_house


@pytest.mark.control("UC-3.5")
@pytest.mark.control("UC-3.1")
def test_the_demo_tells_its_whole_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with throwaway_house(tmp_path, wiretap=True) as house:
        code = demo.play(house)

    told = capsys.readouterr().out
    assert code == 0, told
    assert "Everything in the story happened" in told
    assert CARD_NUMBER not in told


def test_the_demo_says_what_did_not_happen_and_fails(house: House, capsys: pytest.CaptureFixture[str]):
    away = House(house.folder, house.ports)
    away.urls = {**house.urls, "mcp_server": f"{house.urls['mcp_server']}/nowhere"}

    code = demo.play(away)

    assert code == 1
    assert "The story broke" in capsys.readouterr().out


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_a_number_at_every_base64_alignment(tmp_path: Path, shift: int):
    (tmp_path / "file").write_bytes(base64.b64encode(b"abc"[:shift] + CARD_NUMBER.encode() + b"tail"))

    assert search(tmp_path, forms(CARD_NUMBER)).found


@pytest.mark.parametrize("text", ["", "4242", "4242 4242 4242", "NDI0Mg=="])
def test_the_search_does_not_cry_wolf(tmp_path: Path, text: str):
    (tmp_path / "file").write_text(text)

    assert search(tmp_path, forms(CARD_NUMBER)).found == []
