"""The soak: it compares bits, and sees memory that grows."""

from __future__ import annotations

import time

import pytest

from onnx_fft import rewrite
from scripts.native import soak


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
def test_a_short_soak_runs_and_passes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "MOST_GROWTH_BYTES", 1 << 40)  # caches are still filling
    assert soak.main(["--seconds", "4"]) == 0
    assert " 0 results differed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
def test_a_result_that_differs_is_found() -> None:
    model = rewrite(soak.build_model(), target="native", select="all", validate=False).model.SerializeToString()
    run = soak.Soak(model, time.monotonic() + 100)
    session = run.open_session()
    run.run(session, 3)
    run.run(session, 3)
    assert not run.is_over
    run.digests[3] = b"other"
    run.run(session, 3)
    assert run.different == [3] and run.is_over


def test_growth_is_that_after_the_caches_are_full() -> None:
    assert soak.measure_growth([1, 5, 9, 9, 9, 9, 9, 9]) == 0
    assert soak.measure_growth([9, 9, 10, 10, 11, 11, 14, 14]) == 4
    assert soak.measure_growth([1]) == 0
