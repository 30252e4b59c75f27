"""The thin thread through the whole: one exchange of each kind."""

from tests.loopback.gateway import Gateway, message


def test_unary(gateway: Gateway) -> None:
    """A request goes up with the operator's credential and the answer comes down."""
    answer = gateway.ask(gateway.post(message()))
    [seen] = gateway.upstream.seen
    [record] = gateway.recorded()

    assert (answer.status, answer.complete) == (200, True)
    assert [gateway.credential.encode()] == [v for n, v in seen.fields if n == b"x-api-key"]
    assert gateway.key.encode() not in seen.head
    assert (record.client, record.ending.value, record.status) == ("test", "complete", 200)


def test_stream(gateway: Gateway) -> None:
    """A stream comes down chunked as it went up, to the byte."""
    answer = gateway.ask(gateway.post(message("claude-text-5", stream=True)))

    assert answer.complete
    assert answer.body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
