import json
from typing import Any

import pytest

from providers.emulated.faults import Fault
from providers.emulated.spec import (
    EmulatedDeployment,
    EmulatedSpecError,
    deployment_document,
    read_deployment,
    read_deployments,
)
from providers.emulated.words import text
from providers.engine_model.spec import BatchSpec, RemoteSpec

REMOTE: dict[str, Any] = {"kind": "remote_api", "token_ps_min": 10, "token_ps_shared": 1, "concurrency_max": 4}
CURVE: dict[str, Any] = {"kind": "load_curve", "concurrency": [1, 4], "tpot_us": [10.0, 13.0], "ttft_us": [90.0, 99.0]}
ONE: dict[str, Any] = {"deployment_id": "d", "model": "m", "engine": REMOTE}


@pytest.mark.parametrize("engine", [RemoteSpec(10, 1, 4), BatchSpec(((1, 5), (4, 9)), 1, 2, 64, 8)])
def test_a_deployment_survives_its_json_form(engine: BatchSpec | RemoteSpec) -> None:
    made = EmulatedDeployment("d", "m", engine, port=9_000, label="emulated", fault=Fault(status=500, requests=3))
    assert read_deployment(json.loads(json.dumps(deployment_document(made)))) == made


def test_an_engine_may_be_given_as_a_measured_load_curve() -> None:
    read = read_deployment(ONE | {"engine": CURVE | {"isl": 10, "osl": 100, "max_seqs": 16}})
    assert isinstance(read.engine, BatchSpec)
    assert read.engine.max_seqs == 16
    assert read.engine.base_table()[4] > read.engine.base_table()[1]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "a spec is a JSON object"),
        ({"deployments": []}, "a list of 1 to 64"),
        ({"deployments": [ONE] * 65}, "a list of 1 to 64"),
        ({"deployments": ["x"]}, r"deployments\[0\] must be a JSON object"),
        ({"deployments": [ONE | {"port": 80}, ONE | {"port": 80}]}, "port 80 on 127.0.0.1 is named twice"),
        ({"deployments": [ONE | {"model": ""}]}, "model must be printable text"),
        ({"deployments": [ONE | {"model": 3}]}, "model must be text"),
        ({"deployments": [ONE | {"port": 70_000}]}, "port must be 0 to 65535"),
        ({"deployments": [ONE | {"port": "80"}]}, "port must be a whole number"),
        ({"deployments": [ONE | {"context_max": 1}]}, "context_max must be 2"),
        ({"deployments": [ONE | {"stops_early": 1}]}, "stops_early must be true or false"),
        ({"deployments": [ONE | {"colour": "red"}]}, "colour"),
        ({"deployments": [{"model": "m", "engine": REMOTE}]}, "deployment_id"),
        ({"deployments": [{"model": "m", "deployment_id": "d"}]}, "engine must be a JSON object"),
        ({"deployments": [ONE | {"fault": {"status": 1}}]}, "status must be 400 to 599"),
        ({"deployments": [ONE | {"engine": CURVE}]}, "isl"),
        ({"deployments": [ONE | {"engine": CURVE | {"tpot_us": "x"}}]}, "tpot_us must be a list of numbers"),
        ({"deployments": [ONE | {"engine": CURVE | {"isl": 1, "osl": 0}}]}, "positive numbers"),
    ],
)
def test_a_spec_that_cannot_be_followed_is_refused_by_field(document: object, words: str) -> None:
    with pytest.raises(EmulatedSpecError, match=words):
        read_deployments(document)


def test_text_is_readable_sentences_that_loop_without_a_seam() -> None:
    loop = text(3)
    start = loop.starts[-1]
    spoken = loop.between(start, 0, len(loop.pieces) + 5)
    assert spoken[0].isupper()
    assert "  " not in spoken
    assert all(sentence.strip()[0].isupper() for sentence in spoken.split(".") if sentence.strip())
    assert spoken == "".join(loop.piece(start, index) for index in range(len(loop.pieces) + 5))
