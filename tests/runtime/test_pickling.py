"""What may go to another process by pickle, and what the error says about what may not."""

from __future__ import annotations

import copy
import copyreg
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

import onnx_fft
from onnx_fft.errors import PickleError, RuntimeUnavailable, UsageError, ValidationFailed
from onnx_fft.ort import import_ort
from tests.models import X, two_convs


def send(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def open_session() -> Any:
    return onnx_fft.InferenceSession(two_convs(), rewrite=True)


def make_options() -> Any:
    import_ort()
    return onnxruntime.SessionOptions()


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda take: take.__name__)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            open_session,
            r"got an onnxruntime.InferenceSession .*call onnx_fft.InferenceSession\(path\) once in each proc",
        ),
        (make_options, r"got an onnxruntime.SessionOptions .*make them there, and call onnx_fft.register there"),
    ],
    ids=["session", "options"],
)
def test_sessions_and_options_say_what_to_do(make: Callable[[], Any], said: str, take: Callable[[Any], Any]) -> None:
    with pytest.raises(PickleError, match=said) as caught:
        take(make())
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, TypeError)  # what others catch, because Python's own error is one


def test_a_way_that_others_registered_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_anew(_: Any) -> Any:
        return onnxruntime.SessionOptions, ()

    monkeypatch.setitem(copyreg.dispatch_table, onnxruntime.SessionOptions, make_anew)
    assert isinstance(send(make_options()), onnxruntime.SessionOptions)


def test_rewrite_options_arrive_as_they_were() -> None:
    options = onnx_fft.RewriteOptions(target="native", include=["a"], input_shapes={"x": (1, 2)}, threads=2)
    assert send(options) == options
    x = send(onnx_fft.RewriteOptions(inputs={"x": X})).inputs
    np.testing.assert_array_equal(x["x"], X)


def test_results_arrive_as_they_were() -> None:
    rewritten = onnx_fft.rewrite(two_convs(), select="all")
    arrived = send(rewritten)
    assert arrived.model == rewritten.model
    assert arrived.report == rewritten.report
    assert arrived.plan == rewritten.plan
    assert arrived.validation is not None and arrived.validation.ok


@pytest.mark.parametrize(
    "error",
    [
        UsageError("got a", "b", "c"),
        RuntimeUnavailable("onnxruntime is missing", hint="install it"),
        ValidationFailed("the models differ", rewritten=[1]),
        PickleError("got a session"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_other_processes_arrive(error: onnx_fft.OnnxFftError) -> None:
    arrived = send(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
