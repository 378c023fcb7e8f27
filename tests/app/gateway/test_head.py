"""What the headers say before the body is read."""

from app.gateway.head import read_head


def test_what_the_gateway_looks_at_is_picked_out() -> None:
    headers = [
        (b"host", b"x"),
        (b"authorization", b"Bearer gp-1"),
        (b"content-length", b"12"),
        (b"x-quote-id", b"qt-1"),
        (b"idempotency-key", b"caf\xe9"),
    ]
    head = read_head(headers, "gen_1", 7, 9)
    assert (head.request_id, head.began_ns, head.requested_at_us) == ("gen_1", 7, 9)
    assert (head.authorization, head.content_length) == ("Bearer gp-1", 12)
    assert (head.quote_id, head.idempotency_key) == ("qt-1", "café")


def test_an_x_api_key_stands_for_a_bearer_token_unless_there_is_one() -> None:
    key, bearer = (b"x-api-key", b"gp-2"), (b"authorization", b"Bearer gp-1")
    assert read_head([key], "gen_1", 0, 0).authorization == "Bearer gp-2"
    assert read_head([bearer, key], "gen_1", 0, 0).authorization == "Bearer gp-1"
    assert read_head([key, bearer], "gen_1", 0, 0).authorization == "Bearer gp-1"


def test_nothing_is_made_up() -> None:
    head = read_head([(b"content-length", b"-1")], "gen_1", 0, 0)
    assert (head.authorization, head.content_length, head.quote_id, head.idempotency_key) == (None,) * 4
