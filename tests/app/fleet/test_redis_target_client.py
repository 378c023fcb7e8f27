import pytest

from app.fleet.redis_target_client import RedisTarget, RedisUrlError, redis_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://cache", RedisTarget(host="cache")),
        ("redis://", RedisTarget(host="127.0.0.1")),
        ("redis://cache:6380/3", RedisTarget(host="cache", port=6380, db=3)),
        ("redis://[::1]:7000/0?db=2", RedisTarget(host="::1", port=7000, db=2)),
        ("redis://:p%40ss%2F@cache", RedisTarget(host="cache", password="p@ss/")),
        ("redis://app:secret@cache", RedisTarget(host="cache", username="app", password="secret")),
        ("rediss://cache", RedisTarget(host="cache", is_tls=True)),
        (
            "rediss://cache?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem",
            RedisTarget(host="cache", is_tls=True, is_certificate_checked=False, certificates_path="/etc/ca.pem"),
        ),
        ("unix:///run/redis.sock", RedisTarget(socket_path="/run/redis.sock")),
        ("unix://:pw@/run/a%20b.sock?db=4", RedisTarget(socket_path="/run/a b.sock", password="pw", db=4)),
        ("redis+socket:///run/redis.sock?virtual_host=5", RedisTarget(socket_path="/run/redis.sock", db=5)),
    ],
)
def test_a_redis_url_says_where_the_server_is_and_how_to_be_let_in(url: str, target: RedisTarget) -> None:
    assert redis_target(url) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "cannot start with nothing:"),
        ("localhost:6379", "cannot start with localhost:"),
        ("sentinel://a:1,b:2/mymaster", "cannot start with sentinel:"),
        ("redis://cache:notaport", "malformed"),
        ("redis://cache/mine", "whole number, got 'mine'"),
        ("redis://cache/-1", "whole number, got '-1'"),
        ("redis://cache?timeout=3", "not known here: timeout; known: db"),
        ("rediss://cache?ssl_cert_reqs=maybe", "required or none, got 'maybe'"),
        ("unix://run/redis.sock", "three slashes, unix:///…; got host 'run'"),
        ("unix://", "names no socket"),
    ],
)
def test_a_url_that_cannot_be_honoured_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(RedisUrlError, match=reason):
        redis_target(url)


def test_a_target_never_shows_its_password() -> None:
    target = redis_target("redis://app:hunter2@cache:6380/1")
    assert "hunter2" not in repr(target) + target.name
    assert target.name == "cache:6380 (db 1)"
