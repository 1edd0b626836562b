"""Find products by what a person calls them: exact and plural words first, then beginnings, then near misses.

Deterministic and in memory: same pack and arguments, same list.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache

from mcp_server.brands.pack import BrandPack, Product

LIMIT_MAX = 50  # an assistant's result budget holds about this many short products
QUERY_WORDS_MAX = 12  # more words than anyone speaks to a shop shelf; keeps the work per search bounded

_WORD = re.compile(r"[a-z0-9]+")
# Words people wrap around what they want.
_FILLER = frozenset({
    "a", "an", "and", "any", "are", "at", "can", "do", "does", "for", "find", "from", "get", "have", "help", "i",
    "in", "is", "it", "like", "looking", "me", "my", "need", "not", "of", "on", "or", "please", "show", "some",
    "something", "that", "the", "to", "want", "we", "with", "would", "you", "your",
})  # fmt: skip

_NAME, _KIND_OR_TAG, _OPTION, _DESCRIPTION, _LONG_DESCRIPTION = 12, 8, 6, 4, 1
_EXACT, _BEGINNING, _NEAR = 4, 2, 1

_BEGINNING_LETTERS_MIN = 3  # "cur" finds curtains; two letters begin half the catalogue
_ONE_SLIP_LETTERS_MIN = 4
_TWO_SLIPS_LETTERS_MIN = 8

# For each word of a catalogue, the skus that use it, each with the weight of the best field that does.
_Index = Mapping[str, Mapping[str, int]]


class CursorUnknown(ValueError):
    """The cursor is not the sku of a product in this search."""


def search(
    pack: BrandPack,
    query: str,
    *,
    tags: Collection[str] = (),
    price_minor_max: int | None = None,
    limit: int = 10,
    cursor: str | None = None,
) -> list[Product]:
    """Products for `query`, best first, ties by sku; an empty query lists the catalogue in its own order.

    A product has all `tags` and an offer at or under `price_minor_max`. `cursor` is the sku of the last product of
    the page before; one that is not in this search raises `CursorUnknown`.
    """
    candidates = [product for product in pack.products.values() if _fits(product, tags, price_minor_max)]
    words = list(dict.fromkeys(word for word in _words(query) if word not in _FILLER))[:QUERY_WORDS_MAX]
    if words:
        candidates = _ranked(candidates, [_weights(_index(pack), word) for word in words])
    start = 0
    if cursor is not None:
        skus = [product.sku for product in candidates]
        if cursor not in skus:
            raise CursorUnknown(cursor)
        start = skus.index(cursor) + 1
    return candidates[start : start + min(limit, LIMIT_MAX)]


def _fits(product: Product, tags: Collection[str], price_minor_max: int | None) -> bool:
    return all(tag in product.tags for tag in tags) and (
        price_minor_max is None or product.price_minor_from <= price_minor_max
    )


def _ranked(candidates: list[Product], weights_of_words: list[Mapping[str, int]]) -> list[Product]:
    """Keep what matches as many words as the best match does; in a long sentence one word may be missing."""
    found: list[tuple[int, int, str, Product]] = []
    for product in candidates:
        weights = [weights[product.sku] for weights in weights_of_words if product.sku in weights]
        if weights:
            found.append((-len(weights), -sum(weights), product.sku, product))
    if not found:
        return []
    most = -min(found)[0]
    enough = most if most < 3 else most - 1  # noqa: PLR2004 - "long" is three matched words or more
    return [product for count, _, _, product in sorted(found, key=lambda each: each[:3]) if -count >= enough]


def _weights(index: _Index, word: str) -> Mapping[str, int]:
    """What each product scores for one word of the query; nearer readings of the word win outright."""
    if word in index:
        return _scaled(index, [word], _EXACT)
    beginnings = [known for known in index if known.startswith(word)]
    if beginnings and len(word) >= _BEGINNING_LETTERS_MIN:
        return _scaled(index, beginnings, _BEGINNING)
    slips_max = (len(word) >= _ONE_SLIP_LETTERS_MIN) + (len(word) >= _TWO_SLIPS_LETTERS_MIN)
    by_slips: dict[int, list[str]] = {}
    for known in index:
        near_in_length = len(known) >= _ONE_SLIP_LETTERS_MIN and abs(len(known) - len(word)) <= slips_max
        if slips_max and near_in_length and known[0] in word[:2]:  # people rarely miss how a word begins
            by_slips.setdefault(_slips(word, known), []).append(known)
    nearest = min((slips for slips in by_slips if slips <= slips_max), default=None)
    return {} if nearest is None else _scaled(index, by_slips[nearest], _NEAR)


def _scaled(index: _Index, words: list[str], factor: int) -> dict[str, int]:
    scores: dict[str, int] = {}
    for word in words:
        for sku, weight in index[word].items():
            scores[sku] = max(scores.get(sku, 0), weight * factor)
    return scores


@lru_cache(maxsize=1024)  # packs live as long as the process; this is one entry per brand served
def _index(pack: BrandPack) -> _Index:
    weights_by_word: dict[str, dict[str, int]] = {}
    for product in pack.products.values():
        choices = " ".join(choice for values in product.options.values() for choice in values)
        for text, weight in (
            (product.name, _NAME),
            (" ".join((product.kind, *product.tags)), _KIND_OR_TAG),
            (choices, _OPTION),
            (" ".join((product.short, *product.materials)), _DESCRIPTION),
            (product.long, _LONG_DESCRIPTION),
        ):
            for word in _words(text):
                weights = weights_by_word.setdefault(word, {})
                weights[product.sku] = max(weights.get(product.sku, 0), weight)
    return weights_by_word


def _words(text: str) -> list[str]:
    """Lower-case words without accents, in the singular."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("'s", ""))
    return [_singular(word) for word in _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)))]


def _singular(word: str) -> str:
    if len(word) <= 3 or word.endswith(("ss", "us", "is")):  # noqa: PLR2004 - "gas", "bus"
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def _slips(left: str, right: str) -> int:
    """Optimal string alignment distance: letters added, dropped, changed, or two neighbours swapped."""
    before: list[int] = []
    above = list(range(len(right) + 1))
    for i, letter in enumerate(left, start=1):
        row = [i]
        for j, other in enumerate(right, start=1):
            slips = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == right[j - 2] and left[i - 2] == other:
                slips = min(slips, before[j - 2] + 1)
            row.append(slips)
        before, above = above, row
    return above[-1]
