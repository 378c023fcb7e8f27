import pytest

from pricing.accuracy_table import accuracy_from_csv
from pricing.quality import QualityError

HEADER = "model,precision,benchmark,score,reference,source,date"


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows))


def test_a_reference_is_a_score_or_the_row_of_a_precision() -> None:
    known = accuracy_from_csv(
        table(
            "m,bf16,gpqa,0.50,bf16,own,2026-11-01",
            "m,fp8,gpqa,0.495,BF16,own,2026-11-01",
            "m,fp4,gpqa,0.45,0.60,own,2026-11-01",
        )
    )
    assert [(each.precision, round(each.ratio, 6)) for each in known.figures] == [
        ("bf16", 1.0),
        ("fp8", 0.99),
        ("fp4", 0.75),
    ]
    assert [each.reference_precision for each in known.figures] == ["bf16", "bf16", ""]


def test_the_newest_row_of_a_reference_is_the_reference() -> None:
    rows = ("m,bf16,gpqa,0.6,bf16,own,2026-11-02", "m,bf16,gpqa,0.5,bf16,own,2026-11-01")
    known = accuracy_from_csv(table(*rows, "m,fp8,gpqa,0.57,bf16,own,2026-11-02"))
    assert known.of("m", "fp8", "any")[0].ratio == pytest.approx(0.95)


def test_an_engines_reference_is_its_own_or_else_anyones() -> None:
    header = "engine," + HEADER
    known = accuracy_from_csv(
        table(
            ",m,bf16,gpqa,0.50,bf16,own,2026-11-01",
            "trtllm,m,fp4,gpqa,0.45,bf16,own,2026-11-01",
            header=header,
        )
    )
    assert known.of("m", "fp4", "trtllm")[0].ratio == pytest.approx(0.9)
    assert known.of("m", "fp4", "vllm") == ()


def test_columns_may_come_in_any_order_with_a_byte_order_mark_and_capitals() -> None:
    text = "\ufeffdate,source,reference,score,benchmark,precision,model\n2026-11-01,own,0.5,0.5,gpqa, FP8 ,m\n"
    assert accuracy_from_csv(text).figures[0].precision == "fp8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a header and 1 to"),
        (HEADER, "a header and 1 to"),
        ("x" * 5_000_001, "at most 5,000,000"),
        (HEADER + '\n"' + "x" * 200_000 + '"', "the table is no CSV: field larger than field limit"),
        (table("m,fp8", header="model,precision"), "missing: benchmark, date, reference, score, source"),
        (table("m,x", header=HEADER + ",notes"), "not known: notes"),
        (table("m,fp8,gpqa,0.5"), "line 2: 4 cells for 7 columns"),
        (table("m,fp8,gpqa,0.5,0.5,own,2026-11-01", "m,fp8,gpqa,high,0.5,own,2026-11-02"), "line 3: score 'high'"),
        (table("m,fp8,gpqa,71.5,72,own,2026-11-01"), r"line 2: .*write 71\.5 % as 0\.715"),
        (table("m,fp8,gpqa,0.5,0.5,own,yesterday"), "line 2: date 'yesterday'"),
        (table("m,fp8,gpqa,0.5,bf16,own,2026-11-01"), "line 2: reference 'bf16' is no score, and there is no row of m"),
        (table("m,fp8,gpqa,0.5,nan,own,2026-11-01"), "line 2: .*reference must lie in 0 to 1"),
        (table(*["m,fp8,gpqa,0.5,0.5,own,2026-11-01"] * 2), "two figures for m fp8 gpqa on 2026-11-01"),
        (table(",fp8,gpqa,0.5,0.5,own,2026-11-01"), "line 2: .*must not be empty"),
    ],
)
def test_a_bad_table_is_refused_whole_with_line_and_reason(text: str, said: str) -> None:
    with pytest.raises(QualityError, match=said):
        accuracy_from_csv(text)
