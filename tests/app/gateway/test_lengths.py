"""Length prediction: no tokenizer, yet it learns what is typical and what is a bound."""

import numpy as np

from app.gateway.lengths import TEMPLATE_TOKENS, TEMPLATE_TOKENS_PER_MESSAGE, Lengths


def test_a_new_model_is_taken_at_four_bytes_a_token_plus_the_template() -> None:
    expected = 100 + 2 * TEMPLATE_TOKENS_PER_MESSAGE + TEMPLATE_TOKENS
    assert Lengths().input_predicted("m", prompt_bytes=400, messages=2) == expected


def test_the_bound_lies_above_99_of_100_prompts_once_learned() -> None:
    rng = np.random.default_rng(1)
    lengths = Lengths()
    tokens = [int(400 * ratio) for ratio in rng.lognormal(np.log(0.22), 0.15, 6_000)]
    for count in tokens[:4_000]:
        lengths.observe("c", "m", 400, count, 1)
    covered = [count <= lengths.input_bound("m", 400, 1) for count in tokens[4_000:]]
    assert sum(covered) / len(covered) >= 0.99


def test_the_typical_length_follows_the_model_it_sees() -> None:
    lengths = Lengths()
    for _ in range(200):
        lengths.observe("c", "dense", 1_000, 500, 1)
    assert abs(lengths.input_predicted("dense", 1_000, 0) - TEMPLATE_TOKENS - 500) <= 2


def test_an_answer_is_predicted_at_a_high_quantile_and_never_above_its_limit() -> None:
    rng = np.random.default_rng(2)
    lengths = Lengths()
    for tokens in rng.integers(1, 1_000, 5_000):
        lengths.observe("c", "m", 400, 100, int(tokens))
    assert 700 <= lengths.output_predicted("c", "m", 10_000) <= 900
    assert lengths.output_predicted("c", "m", 64) == 64


def test_customers_do_not_teach_each_other_answer_lengths() -> None:
    lengths = Lengths()
    before = lengths.output_predicted("quiet", "m", 10_000)
    for _ in range(500):
        lengths.observe("chatty", "m", 400, 100, 9_000)
    assert lengths.output_predicted("quiet", "m", 10_000) == before


def test_absurd_usage_cannot_break_the_ratios() -> None:
    lengths = Lengths()
    for _ in range(1_000):
        lengths.observe("c", "m", 64, 10**9, 1)
    assert lengths.input_bound("m", 1_000, 0) <= 1_000 + TEMPLATE_TOKENS
