import os
import subprocess
import sys
from pathlib import Path

from app.telemetry import Finished, Metrics

DONE = Finished(
    tier="premium",
    model="m",
    provider="p",
    status=200,
    e2e_s=2.0,
    ttft_s=0.3,
    tpot_s=0.004,
    tokens_input=7,
    tokens_delivered=10,
    tokens_good=8,
    revenue_nano=1_500_000_000,
    adjustment_nano=500_000_000,
    cost_nano=250_000_000,
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"goodput_{name}", labels)


def test_a_finished_request_is_counted_once_everywhere() -> None:
    metrics = Metrics()
    metrics.began("premium")
    assert value(metrics, "inflight", tier="premium") == 1
    metrics.finished(DONE)
    assert value(metrics, "inflight", tier="premium") == 0
    assert value(metrics, "requests_total", tier="premium", model="m", provider="p", status="200") == 1
    assert value(metrics, "tokens_delivered_total", tier="premium", model="m", provider="p") == 10
    assert value(metrics, "tokens_goodput_total", tier="premium", model="m", provider="p") == 8
    assert value(metrics, "revenue_usd_total", tier="premium", model="m") == 1.5
    assert value(metrics, "slo_adjustments_usd_total", tier="premium") == 0.5
    assert value(metrics, "cost_usd_total", model="m", provider="p") == 0.25
    assert value(metrics, "ttft_seconds_bucket", tier="premium", model="m", le="0.35") == 1
    assert value(metrics, "ttft_seconds_bucket", tier="premium", model="m", le="0.2") == 0
    assert value(metrics, "requests_attained_total", tier="premium", model="m") is None


def test_an_answer_without_content_has_no_token_times() -> None:
    metrics = Metrics()
    metrics.began("bulk")
    metrics.finished(Finished(tier="bulk", model="m", provider="", status=503, e2e_s=0.1, cost_nano=3))
    assert value(metrics, "ttft_seconds_count", tier="bulk", model="m") is None
    assert value(metrics, "e2e_seconds_count", tier="bulk", model="m") == 1
    assert value(metrics, "cost_usd_total", model="m", provider="") == 3e-9


def test_two_metrics_of_one_process_do_not_share_counts() -> None:
    first, second = Metrics(), Metrics()
    first.refused("capacity_exceeded")
    assert value(second, "refusals_total", code="capacity_exceeded") is None
    assert b'goodput_refusals_total{code="capacity_exceeded"} 1.0' in first.render()


def test_processes_that_share_a_directory_are_summed(tmp_path: Path) -> None:
    script = (
        "from app.telemetry import Metrics\n"
        "metrics = Metrics(); metrics.refused('capacity_exceeded'); print(metrics.render().decode())"
    )
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert 'goodput_refusals_total{code="capacity_exceeded"} 1.0' in said[0]
    assert 'goodput_refusals_total{code="capacity_exceeded"} 2.0' in said[1]
