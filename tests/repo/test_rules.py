"""Every rule of compliance/checks finds its bad sample and passes its good one. Samples are never executed."""

from collections.abc import Callable, Iterable
from email.message import Message
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import cast

import pytest

from compliance.checks import drawing, licences, marks, secrecy, shape, transactions, unused, words
from compliance.checks.tree import Finding, Source, Text, read_tree, source

Rule = Callable[[Source], Iterable[Finding]]
VISA = "4242" * 4
"""Written so that this file holds no number the rules would find."""

PYTHON_RULES: list[tuple[Rule, str, str]] = [
    (shape.long_functions, "def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
    (shape.long_files, "x = 1\n" * 401, "x = 1\n" * 400),
    (shape.vague_names, "class CardManager: ...", "class Cards: ..."),
    (shape.printing, "print('x')", "log.info('x')"),
    (shape.unfinished, "# TO" + "DO: later", "# a to-do list is a product feature"),
    (shape.unfinished, "x = 1  # for n" + "ow", "x = 1  # for nowhere"),
    (shape.bare_suppressions, "import os  # noqa", "import os  # noqa: F401 - its import registers a handler"),
    (shape.bare_suppressions, "import os  # noqa: F401", "import os  # noqa: F401, E402 - two reasons in one"),
    (shape.bare_suppressions, "x = f()  # type: ignore", "x = f()  # type: ignore[misc]  # untyped library"),
    (shape.bare_suppressions, "x = f()  # type: ignore[misc]", "x = '# noqa'"),
    (shape.bare_suppressions, "f()  # pragma: no cover", "f()  # pragma: no cover - only on Windows"),
    (shape.bare_suppressions, "# ruff: noqa: S608", "# ruff: noqa: S608 - names come from the catalogue"),
    (shape.bare_suppressions, "f()  # pylint: disable=all", "f()  # pylint is not used here"),
    (shape.skipped_tests, "@pytest.mark.skip\ndef test_x(): ...", "@pytest.mark.control('x')\ndef test_x(): ..."),
    (shape.skipped_tests, "pytest.importorskip('x')", "stream.skip(3)"),
    (shape.own_settings_of_cases, "from hypothesis import given, settings", "from hypothesis import given"),
    (shape.contract_frameworks, "from litestar import get", "import msgspec"),
    (shape.contract_frameworks, "from vault.store import Store", "from vault.contract import ChargeOrder"),
    (words.foreign_words, "def find_user(): ...", "def find_subject(): ..."),
    (words.foreign_words, "def f(customers): ...", "def f(subjects): ..."),
    (words.foreign_words, "class BotAccount: ...", "class AgentAccount: ..."),
    (words.foreign_words, "self.session = 1", "x = library.session"),
    (words.card_words, "def f(card_number): ...", "def f(card_numbering): ..."),
    (words.card_words, "cvc: str = ''", "x = form['cvc']"),
    (words.card_like_digits, f"x = '{VISA}'", "x = '4242424242424241'"),
    (words.card_like_digits, "x = '4242 4242-42424242'", "x = 'tok_4242'"),
    (words.card_like_digits, "x = 4242_4242_4242_4242", "x = 1_700_000_000_000"),
    (words.card_like_digits, f"x = '{VISA.translate({48 + n: 0xFF10 + n for n in range(10)})}'", "x = '\uff14\uff12'"),
    (words.addresses, "x = 'https://registry" + ".npmjs.org/x'", "x = 'the package registry'"),
    (words.addresses, "x = '/ro" + "ot/undercroft'", "x = '/v1/roots/x'"),
    (words.addresses, "x = '/ho" + "me/ada/x'", "x = 'https://example.com/home/x'"),
]
TRANSACTION_RULES = [
    ("await self.vault.charge(order)", "await tx.close_charge(order)"),
    ("await self.find(order)", "await self.find(tx, order)"),
    ("x = (await peer.ask()).rows", "x = (await tx.execute(q)).scalars().all()"),
    ("async with client.post('/x'):\n            pass", "async with tx.begin_nested():\n            pass"),
    ("for x in y:\n            await asyncio.sleep(1)", "for x in y:\n            await store.keep(tx=tx)"),
]


@pytest.mark.parametrize(("rule", "bad", "good"), PYTHON_RULES)
def test_a_rule_finds_its_bad_sample_and_passes_its_good_one(rule: Rule, bad: str, good: str):
    assert list(rule(source("gateway/sample.py", bad)))
    assert not list(rule(source("gateway/sample.py", good)))


@pytest.mark.parametrize("path", ["gateway/utils.py", "vault/helpers/cards.py", "memory/service.py", "infra/models.py"])
def test_a_file_name_that_says_nothing_is_found(path: str):
    assert list(shape.vague_names(source(path, "x = 1")))


@pytest.mark.parametrize(("bad", "good"), TRANSACTION_RULES)
@pytest.mark.parametrize(
    "frame",
    [
        "async def f(self):\n    async with self.store.transaction(t) as tx:\n        {}",
        "async def f(self, tx):\n    if True:\n        {}",
    ],
)
def test_whoever_is_awaited_inside_a_transaction_is_named(frame: str, bad: str, good: str):
    assert list(transactions.awaits_elsewhere(source("gateway/sample.py", frame.format(bad))))
    assert not list(transactions.awaits_elsewhere(source("gateway/sample.py", frame.format(good))))


def test_after_the_transaction_anything_may_be_awaited():
    text = "async def f():\n    async with engine.begin() as tx:\n        await tx.execute(q)\n    await peer.ask()"

    assert not list(transactions.awaits_elsewhere(source("gateway/sample.py", text)))


def test_a_revealer_is_named_by_file_and_function_also_when_the_method_is_only_taken_along():
    text = (
        "class Keys:\n    def wrap(self, key):\n        return seal(key.reveal())\n\n"
        "def f(key):\n    return map(key.reveal, ())"
    )

    assert secrecy.reveals([source("vault/keys.py", text)]) == {("vault/keys.py", "Keys.wrap"), ("vault/keys.py", "f")}


def test_whoever_draws_text_with_digits_is_named_however_it_is_called():
    text = (
        "class Keys:\n    def name(self):\n        return secrets.token_hex(8)\n\n"
        "def f():\n    return map(uuid4, ())\n\ndef g():\n    return secrets.token_bytes(8)"
    )

    assert drawing.drawings([source("vault/keys.py", text)]) == {("vault/keys.py", "Keys.name"), ("vault/keys.py", "f")}


def test_a_readme_that_leaves_a_question_open_is_found():
    whole = "**Does** x\n**May be called by** y\n## Calls\n**Holds** z\n**If it is stolen**: w\n"

    assert not list(shape.readme_headings(Text("vault/README.md", whole)))
    (finding,) = shape.readme_headings(Text("vault/README.md", whole.replace("**Holds** z\n", "")))
    assert str(finding) == "vault/README.md:1: does not say: Holds"


def test_a_stray_folder_at_the_top_is_found():
    texts = [Text("gateway/app.py", ""), Text(".ci/run", ""), Text("scripts/x.sh", "")]

    assert [finding.path for finding in shape.stray_top_level(texts)] == ["scripts"]


def test_a_module_and_a_name_that_nothing_uses_are_found():
    files = [
        source("gateway/app.py", "from gateway.used import build\n\nROUTES = build()\nx = ROUTES"),
        source(
            "gateway/used.py",
            "def build(): ...\n\ndef forgotten(): ...\n\nclass Kept:\n    def left(self): ...\n\nKept()",
        ),
        source("gateway/lost.py", "x = 1"),
        source("tests/gateway/test_lost.py", "from gateway.lost import x\nfrom gateway.used import forgotten"),
    ]

    assert [found.path for found in unused.unused_modules(files, frozenset({"gateway.app"}))] == ["gateway/lost.py"]
    assert [found.what.split("`")[1] for found in unused.unused_names(files)] == ["forgotten", "left"]


def test_marks_are_read_from_functions_and_classes_and_may_name_several_controls():
    text = (
        "@pytest.mark.control('A', 'B')\nasync def test_x(): ...\n\n"
        "@pytest.mark.control('C')\nclass TestY:\n    def test_z(self): ...\n\n@pytest.mark.slow\ndef test_w(): ...\n"
    )

    found = list(marks.evidence_in([source("tests/vault/test_s.py", text), source("gateway/test_n.py", text)]))

    assert [(one.control, one.test) for one in found] == [
        ("A", "tests/vault/test_s.py::test_x"),
        ("B", "tests/vault/test_s.py::test_x"),
        ("C", "tests/vault/test_s.py::TestY::test_z"),
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([("License-Expression", "(MIT OR Apache-2.0) AND PSF-2.0")], {"MIT", "Apache-2.0", "PSF-2.0"}),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "long text")], {"BSD"}),
        ([("License", "MIT License\n\nCopyright (c) somebody")], {"MIT"}),
        ([("License", "GPL-3.0")], {"GPL-3.0"}),
        ([], set()),
    ],
)
def test_a_licence_is_read_from_whatever_the_metadata_says(fields: list[tuple[str, str]], named: set[str]):
    about = Message()
    for name, value in fields:
        about[name] = value.replace("\n", "\n    ")

    assert licences.licences_of(cast("PackageMetadata", about)) == named


def test_a_lock_names_its_distributions_without_extras_and_hashes(tmp_path: Path):
    lock = tmp_path / "dev.txt"
    lock.write_text("aiohttp==3.14.1 \\\n    --hash=sha256:aa==\nsqlalchemy[asyncio]==2.1.9 ; python_version > '3'\n")

    assert licences.locked(lock) == ["aiohttp", "sqlalchemy"]


def test_the_tree_is_read_without_what_git_ignores(tmp_path: Path):
    (tmp_path / ".gitignore").write_text(".venv/\n*.egg-info/\n")
    for name in (".venv/x.py", "a.egg-info/x.py", ".git/x.py", "gateway/app.py", "picture.bin"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\xff\xfe" if name.endswith("bin") else b"x = 1\n")

    assert [text.path for text in read_tree(tmp_path)] == [".gitignore", "gateway/app.py"]
