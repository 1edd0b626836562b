"""The tree, read once for all checks."""

import pytest

from compliance.checks.tree import Source, Text, read_tree


@pytest.fixture(scope="session")
def texts() -> list[Text]:
    return read_tree()


@pytest.fixture(scope="session")
def sources(texts: list[Text]) -> list[Source]:
    return [text for text in texts if isinstance(text, Source)]
