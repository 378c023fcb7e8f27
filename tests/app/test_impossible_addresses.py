from types import SimpleNamespace
from typing import Any

import pytest

from app.refusals import ImpossibleAddress, refuse_nul


def request(path: str, query: bytes = b"") -> Any:
    return SimpleNamespace(scope={"path": path, "query_string": query})


@pytest.mark.parametrize(("path", "query"), [("/admin/price-drafts/\0", b""), ("/admin/requests", b"model=%00")])
def test_no_address_with_a_nul_byte_comes_through(path: str, query: bytes) -> None:
    with pytest.raises(ImpossibleAddress, match="NUL byte") as refused:
        refuse_nul(request(path, query))
    assert refused.value.status == 400


def test_other_addresses_do() -> None:
    refuse_nul(request("/v1/models/acme%2Fm", b"after=%20"))
