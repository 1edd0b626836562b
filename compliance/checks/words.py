"""Rules about words: one meaning each, card words only where cards are, no address of a machine or registry."""

import ast
import re
import unicodedata
from collections.abc import Iterator

from compliance.checks.tree import Finding, Source, Text, functions
from infra.chassis.screen import luhn

NOT_OURS = {
    "user": "subject, caller or person",
    "customer": "subject",
    "org": "tenant",
    "merchant": "tenant or brand",
    "bot": "agent",
    "session": "conversation",
    "shop": "brand",
    "ticket": "grant",
    "permission": "mandate",
    "authorize": "decide",
    "encrypt": "seal",
    "decrypt": "open",
}
"""Word → what the house says instead."""
CARD_WORDS = frozenset({"card_number", "pan", "cvc", "cvv", "cvc2", "cvv2", "primary_account_number", "track_data"})
TEST_CARDS = frozenset({
    # Stripe's published test numbers (docs.stripe.com/testing): networks
    "4242424242424242", "4000056655665556", "5555555555554444", "2223003122003222", "5200828282828210",
    "5105105105105100", "378282246310005", "371449635398431", "6011111111111117", "6011000990139424",
    "3056930009020004", "36227206271667", "3566002020360505", "6200000000000005", "6205500000000000004",
    # declines, fraud, disputes, 3-D Secure
    "4000000000000002", "4000000000009995", "4000000000009987", "4000000000009979", "4000000000000069",
    "4000000000000127", "4000000000000119", "4000000000006975", "4000000000000101", "4000000000000341",
    "4100000000000019", "4000000000000259", "4000000000002685", "4000000000001976",
    "4000002500003155", "4000002760003184", "4000008400001629",
    # PayPal's Payflow
    "378734493671000", "5610591081018250", "30569309025904", "38520000023237", "3530111333300000", "4012888888881881",
    "4222222222222",
    # Braintree's
    "4500600000000061", "4217651111111119", "4012000077777777", "4012000033330026", "4009348888881881",
    "2223000048400011", "36259600000004", "6221261111117766", "6223164991230014",
    # Cybersource's and Authorize.Net's
    "6759411100000008", "6759560045005727054", "5641821111166669", "2222420000001113", "2222630000001125",
    "4012888818888",
})  # fmt: skip
_GROUPED = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.])")
_RUN = re.compile(r"(?<!\d)\d{13,}(?!\d)")
_CARD_SHAPED = re.compile(r"4\d{12}(?:\d{3}){0,2}|[2356]\d{12,18}")
"""As the chassis's card screen: first digit and length of the networks' numbers (ISO/IEC 7812-1)."""
_ADDRESS = re.compile(
    r"registry\.npm[j]s|//registry\.\w|pypi\.(?:org|python)|python[h]osted|index-url\s*=|"  # where packages come from
    r"(?<![\w.])/(?:root|home|work|Users|mnt)/\w"  # where somebody's files are
)


def foreign_words(file: Source) -> Iterator[Finding]:
    """Names we define with a word that means something else here. Names of others (attributes, calls) are theirs."""
    for node, name in _defined(file.tree):
        for part in name.lower().split("_"):
            word = part if part in NOT_OURS else part.removesuffix("s")
            if word in NOT_OURS:
                yield file.found(node, f"`{name}`: we say {NOT_OURS[word]}")


def card_words(file: Source) -> Iterator[Finding]:
    for node, name in _defined(file.tree):
        if name.lower().strip("_") in CARD_WORDS:
            yield file.found(node, f"`{name}` stands outside the vault")


def card_like_digits(file: Text, allowed: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Digits that pass for a card number, other than the allowed ones."""
    for number, line in file.lines():
        for digits in sorted(_candidates(line) - allowed):
            yield Finding(file.path, number, f"…{digits[-4:]} passes for a card number")


def addresses(file: Text) -> Iterator[Finding]:
    """A package registry's address, or a path that exists on one machine only."""
    for number, line in file.lines():
        if found := _ADDRESS.search(line):
            yield Finding(file.path, number, f"an address that belongs to one machine or registry: {found.group()}")


def _candidates(line: str) -> set[str]:
    plain = unicodedata.normalize("NFKC", line).replace("_", "")
    found = {re.sub(r"[ -]", "", digits) for digits in (*_GROUPED.findall(plain), *_RUN.findall(plain))}
    return {digits for digits in found if _CARD_SHAPED.fullmatch(digits) and luhn(digits)}


def _defined(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt | ast.arg, str]]:
    """Every name this file gives: functions, parameters, classes, variables, own attributes."""
    for function in functions(tree):
        yield function, function.name
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            yield argument, argument.arg
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node, re.sub(r"(?<!^)(?=[A-Z])", "_", node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr
