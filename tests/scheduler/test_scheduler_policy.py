from typing import Any

import pytest

from pricing.slo import Tier
from scheduler.policy import Policy
from tests.scheduler.round_numbers import S


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("margin", 0.6),
        ("margin", -0.1),
        ("tie_share", 2.0),
        ("explore_share", -1.0),
        ("bulk_share_max", 1.5),
        ("ttft_shape", 0.0),
        ("floors", {Tier.BULK: 2.0}),
        ("queue_max", 0),
        ("retry_us_min", 500 * S),
    ],
)
def test_a_knob_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Policy(**{field: value})
