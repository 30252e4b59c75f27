"""The fuzzer finds nothing in a few seconds, and would if there were something."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main, run
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import SIDES, TARGETS, corpus_of

targets = pytest.mark.parametrize("name", sorted(TARGETS))


@pytest.mark.parametrize("name", sorted(SIDES))
def test_corpus(name: str) -> None:
    """Of the inputs that all others are made of, most reach the other side."""
    beds = [SIDES[name](data) for data in corpus_of(name).values()]
    served = [bed for bed in beds if bed.upstreams and bed.records]

    assert len(beds) // 2 < len(served)


@targets
def test_a_few_seconds(name: str) -> None:
    """Whatever comes: no exception, one record each, nothing malformed goes on."""
    _, failed = run(name, seconds=3 if name in SIDES else 1, seed=20)

    assert failed is None


@targets
def test_same_seed_same_inputs(name: str) -> None:
    """What was found can be found again."""
    corpus = list(corpus_of(name).values())
    one, other = (random.Random(7) for _ in range(2))  # noqa: S311  chance, not a secret
    made = [mutated(one, corpus) for _ in range(300)]

    assert made == [mutated(other, corpus) for _ in range(300)]
    assert len(set(made)) > 100


def test_a_finding_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is written to a file, from which it can be played again."""

    def fails(data: bytes) -> None:
        raise AssertionError(len(data))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TARGETS, "server", fails)
    status = main(["--target", "server", "--seconds", "1", "--plain"])
    [found] = tmp_path.iterdir()

    assert 1 == status
    assert found.read_bytes() in corpus_of("server").values()
    with pytest.raises(AssertionError):
        main(["--target", "server", "--replay", str(found)])
