"""A checkout as the gateway is told of it: what it costs now, and for what."""

from gateway.contract import QuoteRequest
from mcp_server.brands.pack import BrandPack, Product
from mcp_server.checkout.cart import Cart

DESCRIPTION_CHARACTERS_MAX = 200


def quote_of(pack: BrandPack, cart: Cart) -> QuoteRequest:
    pieces = ", ".join(f"{line.quantity} x {line.title}" for line in cart.lines)
    description = f"{pack.brand.name}: {pieces}"
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        description = f"{description[: DESCRIPTION_CHARACTERS_MAX - 1]}…"
    return QuoteRequest(
        brand_id=cart.brand_id,
        cart_sha256=cart.sha256,
        amount_minor=cart.total_minor,
        currency=cart.currency,
        description=description,
        purposes=tuple(sorted({_product(pack, line.sku).purpose for line in cart.lines})),
    )


def _product(pack: BrandPack, sku: str) -> Product:
    return pack.products[pack.offers[sku].product_sku]
