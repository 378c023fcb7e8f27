import json
from typing import Any

import pytest

from providers.engine_model.spec import BatchSpec, RemoteSpec, SpecError, read_spec, spec_document

BATCH: dict[str, Any] = {"base_ps": ((1, 10), (4, 40)), "kv_ps": 1, "prefill_ps": 1, "chunk_tokens": 16, "max_seqs": 6}


def batch(**changes: Any) -> BatchSpec:
    return BatchSpec(**(BATCH | changes))


def test_the_base_is_flat_below_the_first_knot_straight_between_and_beyond() -> None:
    assert batch().base_table() == (10, 10, 20, 30, 40, 50, 60)


def test_one_knot_is_a_constant_step() -> None:
    assert batch(base_ps=((3, 7),), max_seqs=4).base_table() == (7,) * 5


@pytest.mark.parametrize("spec", [batch(entry_ns=5), RemoteSpec(10, 2, 8, entry_ns=3, context_max=99)])
def test_a_spec_survives_its_json_form(spec: BatchSpec | RemoteSpec) -> None:
    assert read_spec(json.loads(json.dumps(spec_document(spec)))) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_ps": ()}, "at least one knot"),
        ({"base_ps": ((1, 5), (1, 6))}, "must rise in batch"),
        ({"base_ps": ((1, 5), (2, 4))}, "never fall in time"),
        ({"base_ps": ((-1, 5),)}, "start at or above 0"),
        ({"base_ps": ((1, 10**16),)}, "check the unit"),
        ({"kv_ps": -1}, "must not be negative"),
        ({"prefill_ps": 10**16}, "check the unit"),
        ({"max_seqs": 0}, "max_seqs must be 1"),
        ({"chunk_tokens": 5}, "must be at least max_seqs"),
        ({"kv_tokens": 0}, "kv_tokens must be positive"),
        ({"base_ps": ((1, 0),), "kv_ps": 0, "prefill_ps": 0}, "every cost is zero"),
    ],
)
def test_impossible_batch_engines_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        batch(**changes)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((0, 1, 1), "token_ps_min must be positive"),
        ((1, -1, 1), "must not be negative"),
        ((10**16, 1, 1), "check the unit"),
        ((1, 1, 0), "concurrency_max must be 1"),
    ],
)
def test_impossible_remote_engines_are_refused(fields: tuple[int, int, int], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        RemoteSpec(*fields)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "engine kind None is unknown; known are continuous_batch, remote_api"),
        ({"kind": "continuous_batch"}, "base_ps must be a list"),
        ({"kind": "continuous_batch", "base_ps": [[1, 2, 3]]}, "pairs of whole numbers"),
        ({"kind": "continuous_batch", "base_ps": [[1, 2]]}, "missing"),
        ({"kind": "remote_api", "token_ps_min": 1.5}, "token_ps_min must be a whole number"),
        ({"kind": "remote_api", "token_ps_min": True}, "token_ps_min must be a whole number"),
        ({"kind": "remote_api", "speed": 1}, "unexpected keyword"),
    ],
)
def test_a_document_that_is_no_spec_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_spec(document)
