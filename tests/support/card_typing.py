"""A person without JavaScript at the vault's card page."""

import re

import httpx2


async def enter_and_type(page_url: str, door_origin: str, capture_id: str, grant: str, number: str) -> None:
    """From the gateway's door, which hands the grant over, to the card that was taken."""
    async with httpx2.AsyncClient(base_url=page_url, headers={"Origin": door_origin}) as browser:
        entered = await browser.post(f"/captures/{capture_id}/open", data={"grant": grant})
        assert entered.status_code == 303, entered.text
        browser.headers["Origin"] = page_url
        page = await browser.get(f"/captures/{capture_id}")
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert csrf is not None, page.text
        card = {"number": number, "expiry": "12/34", "code": "123", "holder": "Ada Byron"}
        typed = await browser.post(f"/captures/{capture_id}", data={"csrf": csrf.group(1), **card})
        assert typed.status_code == 303, typed.text
