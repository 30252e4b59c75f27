"""Whose key made which of Gemini's resources."""

from __future__ import annotations

import pytest

from passgate.core.gemini.resources import Resources

FILE = b'{"file": {"name": "files/abc-1", "uri": "https://google.test/v1beta/files/abc-1"}}'


@pytest.mark.parametrize(
    ("made_at", "answer", "path", "body"),
    [
        pytest.param("/upload/v1beta/files", FILE, "/v1beta/files/abc-1", None, id="file by path"),
        pytest.param(
            "/upload/v1beta/files",
            FILE,
            "/v1beta/models/gemini-x:generateContent",
            b'{"fileData": {"fileUri": "https://google.test/v1beta/files/abc-1"}}',
            id="file by its address",
        ),
        pytest.param(
            "/v1beta/cachedContents",
            b'{"name":"cachedContents/x"}',
            "/v1beta/models/gemini-x:generateContent",
            b'{"cachedContent":"cachedContents/x"}',
            id="cache by name",
        ),
        pytest.param(
            "/v1beta/models/veo:predictLongRunning",
            b'{"name": "models/veo/operations/o1"}',
            "/v1beta/models/veo/operations/o1",
            None,
            id="operation of a model",
        ),
        pytest.param(
            "/v1beta/models/gemini-x:batchGenerateContent",
            b'{\n "name" : "batches/b1"}',
            "/v1beta/batches/b1:cancel",
            None,
            id="batch",
        ),
        pytest.param(
            "/v1beta/interactions",
            b'{"id":"i1","object":"interaction"}',
            "/v1beta/interactions/i1",
            None,
            id="interaction by path",
        ),
        pytest.param(
            "/v1beta/interactions",
            b'{"id":"i1"}',
            "/v1beta/interactions",
            b'{"previous_interaction_id": "i1"}',
            id="interaction that goes on",
        ),
        pytest.param(
            "/v1beta/files",
            b'{"files": [{"name": "files/a"}, {"name": "files/b"}]}',
            "/v1beta/files/b",
            None,
            id="one of a list",
        ),
    ],
)
def test_a_resource_goes_to_its_key(
    made_at: str, answer: bytes, path: str, body: bytes | None
) -> None:
    """What an answer named is asked for with the key that was shown then."""
    resources = Resources()
    before = resources.scope_of(path.replace(":cancel", ""), body)
    resources.learn(made_at, answer, "00000001")

    assert (None, "00000001") == (before, resources.scope_of(path.replace(":cancel", ""), body))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/files/other", None),
        ("/v1beta/myfiles/abc-1", None),
        ("/v1beta/models/gemini-x:generateContent", b'{"text":"see myfiles/abc-1"}'),
        ("/v1beta/files", None),
    ],
)
def test_others_do_not(path: str, body: bytes | None) -> None:
    """A name that was not seen, or is none, tells nothing."""
    resources = Resources()
    resources.learn("/upload/v1beta/files", FILE, "00000001")

    assert None is resources.scope_of(path, body)


def test_bounded() -> None:
    """The least recently used name is forgotten."""
    resources = Resources(most=2)
    for name in (b"a", b"b"):
        resources.learn("/v1beta/files", b'{"name":"files/%s"}' % name, "00000001")
    resources.scope_of("/v1beta/files/a", None)
    resources.learn("/v1beta/files", b'{"name":"files/c"}', "00000002")
    got = [resources.scope_of(f"/v1beta/files/{name}", None) for name in "abc"]

    assert (["00000001", None, "00000002"], 2) == (got, len(resources))
