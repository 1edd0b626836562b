"""What browsers say the page's policy stopped: reduced, counted, said in the log; never believed or repeated."""

import json
from datetime import timedelta
from typing import Any

import pytest
import structlog

from infra.dev.browser import Browser
from tests.support.card_site import CardSite
from tests.support.waiting import wait_until
from tests.vault.bench import PAGE_URL, Bench
from vault.reports import REPORT_BYTES_MAX, REPORTS_MAX, ReportRefused, Violation, read_report

CSP_REPORT = {"content-type": "application/csp-report"}
VISA = "4242" * 4
FAMILY = "vault_card_page_policy_reports_total"


def report(**changes: Any) -> bytes:
    said = {
        "document-uri": f"{PAGE_URL}/captures/cap_abc?language=de",
        "referrer": "",
        "violated-directive": "script-src-elem",
        "effective-directive": "script-src-elem",
        "original-policy": "default-src 'none'",
        "disposition": "enforce",
        "blocked-uri": "https://evil.example/skim.js?to=me",
        "line-number": 7,
        "status-code": 200,
        "script-sample": "",
    }
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return json.dumps({"csp-report": said | named}).encode()


async def counted(bench: Bench) -> dict[str, int]:
    lines = (await bench.api.get("/metrics")).text.splitlines()
    found = [line.removeprefix(FAMILY).split(" ") for line in lines if line.startswith(FAMILY + "{")]
    return {label.split('"')[1]: int(float(number)) for label, number in found}


async def test_a_violation_is_counted_and_said_in_the_log(bench: Bench):
    with structlog.testing.capture_logs() as said:
        answer = await bench.browser.post("/reports", content=report(), headers=CSP_REPORT)

    assert (answer.status_code, answer.content) == (204, b"")
    assert await counted(bench) == {"script-src-elem": 1}
    assert said == [
        {
            "event": "card_page_policy_violated",
            "log_level": "warning",
            "directive": "script-src-elem",
            "blocked": "evil.example",
            "capture_id": "cap_abc",
        }
    ]


@pytest.mark.parametrize(
    ("blocked", "kept"),
    [
        ("inline", "inline"),
        ("trusted-types-sink", "trusted-types-sink"),
        ("https://EVIL.example:8443/x?card=" + VISA, "evil.example:8443"),
        (f"https://{VISA}.evil.example/", "other"),
        (f"https://{VISA[:8]}-{VISA[8:]}.evil.example/", "other"),
        (f"https://{VISA}@evil.example/", "other"),
        ("data:text/javascript," + VISA, "data"),
        ("chrome-extension://abcdef/inject.js", "chrome-extension"),
        ("https://[", "other"),
        ("\x1b[31m" + VISA, "other"),
        ("", "other"),
        (VISA, "other"),
    ],
)
@pytest.mark.control("UC-11.6.1")
def test_of_what_was_stopped_only_the_host_or_the_kind_is_kept(blocked: str, kept: str):
    violation = read_report(report(blocked_uri=blocked, script_sample=VISA, referrer=VISA), PAGE_URL)

    assert violation == Violation("script-src-elem", kept, "cap_abc")


def test_a_capture_id_that_could_be_a_card_is_not_kept():
    assert read_report(report(document_uri=f"{PAGE_URL}/captures/cap_{VISA}"), PAGE_URL).capture_id is None


def test_an_older_browser_names_the_directive_with_its_sources():
    old = report(effective_directive="", violated_directive="form-action 'self'")

    assert read_report(old, PAGE_URL).directive == "form-action"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"csp-report":{}}',
        b'{"csp-report":{"document-uri":1}}',
        report()[:-1],
        report(document_uri="https://elsewhere.example/captures/cap_abc"),
        report(document_uri="https://["),
        report(document_uri=PAGE_URL + "0/captures/cap_abc"),
        report(effective_directive="x" * 50),
        report(effective_directive="", violated_directive=""),
        report().replace(b'"referrer"', b'"blocked-uri"'),
        report(blocked_uri=7),
        b"[" * 4000,
        b"\xff",
    ],
)
def test_what_is_no_report_of_this_page_is_refused_and_not_repeated(body: bytes):
    with pytest.raises(ReportRefused) as refused:
        read_report(body, PAGE_URL)

    assert str(refused.value) == ""


async def test_reports_too_large_or_of_another_type_are_refused_and_counted(bench: Bench):
    large = report(script_sample="x" * REPORT_BYTES_MAX)

    with structlog.testing.capture_logs() as said:
        answers = [
            await bench.browser.post("/reports", content=large, headers=CSP_REPORT),
            await bench.browser.post("/reports", content=report(), headers={"content-type": "application/json"}),
            await bench.browser.post("/reports", content=b"{}", headers=CSP_REPORT),
            await bench.browser.post("/reports", content=b"x" * 70_000, headers=CSP_REPORT),
            await bench.browser.get("/reports"),
        ]

    assert [answer.status_code for answer in answers] == [400, 400, 400, 413, 405]
    assert await counted(bench) == {"refused": 3}
    assert said == []


@pytest.mark.control("UC-11.6.1")
async def test_a_flood_of_reports_is_counted_but_not_read_and_ends_with_its_minute(bench: Bench):
    with structlog.testing.capture_logs() as said:
        answers = [
            (await bench.browser.post("/reports", content=report(), headers=CSP_REPORT)).status_code
            for _ in range(REPORTS_MAX + 5)
        ]
        bench.clock.advance(timedelta(minutes=1))
        later = await bench.browser.post("/reports", content=report(), headers=CSP_REPORT)

    assert answers == [204] * REPORTS_MAX + [429] * 5
    assert later.status_code == 204
    assert await counted(bench) == {"script-src-elem": REPORTS_MAX + 1, "too_many": 5}
    assert [line["event"] for line in said].count("card_page_policy_reports_flooded") == 1
    assert len(said) == REPORTS_MAX + 2


@pytest.mark.control("UC-11.6.1")
async def test_a_real_browser_reports_a_script_that_was_put_into_the_page(browser: Browser, site: CardSite):
    page = await browser.open_page()

    await page.goto(site.example_url("tampered", "en"))
    await page.evaluate("document.getElementById('elsewhere').submit()")
    await wait_until(lambda: len(site.reports) >= 3)

    origin = site.url.partition("/captures")[0]
    assert {read_report(body, origin) for body in site.reports} == {
        Violation("script-src-elem", "127.0.0.1:9", None),
        Violation("script-src-elem", "inline", None),
        Violation("form-action", "127.0.0.1:9", None),
    }
    assert "taken" not in await page.evaluate("document.title")
    assert max(map(len, site.reports)) < REPORT_BYTES_MAX
