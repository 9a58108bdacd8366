"""Which model serves which role, and at what price."""

from typing import Any

from app.compose import endpoints
from app.settings import Settings

URL = "http://127.0.0.1:9/v1"


def served(**more: Any) -> Settings:
    return Settings(
        _env_file=None, model_url=URL, model="big", price_in_usd_per_mtok=1, price_out_usd_per_mtok=2, **more
    )


def test_the_same_model_has_the_same_price_in_every_role() -> None:
    roles = endpoints(served(), URL)
    assert roles["small"] == roles["large"]
    assert roles["small"].price_out_usd_per_mtok == 2


def test_another_model_has_no_price_that_nobody_gave() -> None:
    roles = endpoints(served(small_model="little"), URL)
    assert (roles["small"].model, roles["small"].price_in_usd_per_mtok) == ("little", None)
