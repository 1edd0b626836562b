"""A house whose vault's root was put under custody: it starts all the same, says so, and waits for its custodians."""

from infra.cli.guide import CUSTODY
from infra.dev import readiness
from infra.dev.house import House, Options
from infra.dev.ports import Ports
from tests.vault.custody import NAMES, Place, short_folder


def test_a_house_says_how_its_root_lies_starts_sealed_and_is_opened_by_two():
    with short_folder() as folder:
        folder.chmod(0o711)
        house = House(folder / "h", Ports.free(), Options(services=("vault",), durable=False))
        place = Place(house.folder / "secrets" / "vault")
        with house:
            said = [house.custody()]
            place.enrol(*NAMES)
            papers = place.generate(*NAMES)
            house.restart("vault")
            said.append(house.custody())
            sealed = readiness.answers_ok(house.ports.vault, "/ready")
            told = [place.give("enter", name, papers[name])[0] for name in NAMES[:2]]
            said.append(house.custody())
            ready = readiness.answers_ok(house.ports.vault, "/ready")

    assert said == ["open", "sealed", "opened"]
    assert (sealed, told, ready) == (False, [0, 0], True)
    assert set(said) == CUSTODY.keys()
