"""search_catalog and get_product: the brand pack, with what is left of each piece."""

from mcp_server.brands.pack import Offer, Product
from mcp_server.brands.search import CursorUnknown, search
from mcp_server.checkout.cart import written
from mcp_server.checkout.stock import Stock
from mcp_server.contract import GetProduct, OfferView, ProductSummary, ProductView, SearchCatalog, SearchView
from mcp_server.errors import PageUnknown, ProductUnknown
from mcp_server.tools.tool import Call, Tool


class Catalogue:
    """`public_url` is where the pictures are."""

    def __init__(self, stock: Stock, *, public_url: str) -> None:
        self._stock = stock
        self._public_url = public_url

    def tools(self) -> list[Tool[SearchCatalog] | Tool[GetProduct]]:
        return [
            Tool(
                name="search_catalog",
                title="Search the catalogue",
                description=(
                    "Find products of this brand by what the person calls them. Prices are in minor units (cents) and "
                    "before tax and shipping. Use get_product for the versions of a product, their skus and stock."
                ),
                scopes=("catalog",),
                arguments=SearchCatalog,
                view=SearchView,
                run=self.search,
                reads_only=True,
                destroys=False,
                repeatable=True,
            ),
            Tool(
                name="get_product",
                title="Look at a product",
                description=(
                    "Everything about one product: materials, care, and its offers, each with sku, price and how many "
                    "are available. The sku of an offer is what create_checkout takes."
                ),
                scopes=("catalog",),
                arguments=GetProduct,
                view=ProductView,
                run=self.look,
                reads_only=True,
                destroys=False,
                repeatable=True,
            ),
        ]

    async def search(self, call: Call, wanted: SearchCatalog) -> SearchView:
        try:
            found = search(
                call.pack,
                wanted.query,
                tags=wanted.tags,
                price_minor_max=wanted.price_minor_max,
                limit=wanted.limit + 1,
                cursor=wanted.after_sku or None,
            )
        except CursorUnknown:
            raise PageUnknown from None
        page = found[: wanted.limit]
        skus = [offer.sku for product in page for offer in product.offers]
        left = await self._stock.available(call.pack, call.owner.tenant_id, skus)
        return SearchView(
            currency=call.pack.brand.currency,
            products=[self._summary(call, product, left) for product in page],
            next_after_sku=page[-1].sku if len(found) > wanted.limit else "",
        )

    async def look(self, call: Call, wanted: GetProduct) -> ProductView:
        offer = call.pack.offers.get(wanted.sku)
        product = call.pack.products.get(offer.product_sku if offer else wanted.sku)
        if product is None:
            raise ProductUnknown
        skus = [offer.sku for offer in product.offers]
        left = await self._stock.available(call.pack, call.owner.tenant_id, skus)
        return ProductView(
            sku=product.sku,
            name=product.name,
            short=product.short,
            long=product.long,
            materials=list(product.materials),
            care=product.care,
            tags=list(product.tags),
            currency=call.pack.brand.currency,
            picture_url=self._picture_url(call, product),
            offers=[_offer(offer, left[offer.sku], call.pack.brand.currency) for offer in product.offers],
        )

    def _summary(self, call: Call, product: Product, left: dict[str, int]) -> ProductSummary:
        return ProductSummary(
            sku=product.sku,
            name=product.name,
            short=product.short,
            price_minor_from=product.price_minor_from,
            price_from=written(product.price_minor_from, call.pack.brand.currency),
            in_stock=any(left[offer.sku] > 0 for offer in product.offers),
            picture_url=self._picture_url(call, product),
            tags=list(product.tags),
            options={name: list(choices) for name, choices in product.options.items()},
        )

    def _picture_url(self, call: Call, product: Product) -> str:
        return f"{self._public_url}/brands/{call.pack.brand.slug}/pictures/{product.picture}"


def _offer(offer: Offer, available: int, currency: str) -> OfferView:
    return OfferView(
        sku=offer.sku,
        title=offer.title,
        price_minor=offer.price_minor,
        price=written(offer.price_minor, currency),
        available=available,
        options=dict(offer.options),
    )
