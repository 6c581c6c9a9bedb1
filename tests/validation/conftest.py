"""The small company of the sync tests, whose data are validated here."""

from tests.sync.conftest import empty_shop, shop

__all__ = ["empty_shop", "shop"]
