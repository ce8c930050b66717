"""The steps of the pass, one by one: each takes a state, does its one job, and can be left out or done again."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from onnx_fft import steps
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.opset import model_opset
from onnx_fft.options import LEAST_GROWTH_BYTES, RewriteOptions
from onnx_fft.replacement import build_variant
from onnx_fft.sites.find import find_sites, relocate_sites
from onnx_fft.state import State, run_steps
from onnx_fft.steps import DECIDING, read
from tests.comparing import assert_same, dump, own_nodes
from tests.models import conv, if_model, make_model, two_convs


def read_two_convs(**choices: object) -> State:
    return read(two_convs(), RewriteOptions(**choices))  # type: ignore[arg-type]


def test_reading_decides_nothing() -> None:
    state = read_two_convs()
    assert not state.sites and not state.decisions and state.plan is None
    assert state.model is not state.original and dump(state.model.model) == dump(state.original.model)
    assert state.request.max_growth_bytes == LEAST_GROWTH_BYTES


def test_every_step_leaves_the_original_alone() -> None:
    state = read_two_convs(select="all", input_shapes={"x": (2, 3, 13, 11)})
    before = dump(state.original.model)
    for step in (*DECIDING, *steps.WRITING):
        state = step(state)
        assert dump(state.original.model) == before
    assert len(own_nodes(state.model.model)) > 2 and state.validation is not None


def test_steps_do_one_job_each() -> None:
    found = steps.find(read_two_convs(select="all"))
    assert [site.name for site in found.sites] == ["first", "second"] and not found.decisions
    decided = steps.decide(found)
    assert [decision.plan is not None for decision in decided.decisions] == [True, True]
    assert dump(decided.model.model) == dump(found.original.model)
    assert len(decided.replaced) == 2
    assert own_nodes(steps.splice(decided).model.model)


def test_deciding_otherwise_is_a_step_of_ones_own() -> None:
    """As any step: a function from state to state, between those that are there."""

    def keep_first(state: State) -> State:
        decisions = (state.decisions[0], replace(state.decisions[1], plan=None))
        return replace(state, decisions=decisions)

    state = run_steps((*DECIDING, keep_first, *steps.WRITING), read_two_convs(select="all"))
    assert {node.metadata_props[0].value for node in own_nodes(state.model.model)} == {"first"}
    assert state.validation is not None and state.validation.ok


def test_a_conversion_that_came_to_nothing_is_undone() -> None:
    nodes = [conv("x", "y", "w1", name="only")]
    model = make_model(nodes, opset=15)
    state = run_steps((steps.find, steps.convert), read(model, RewriteOptions(lowering="dft")))
    assert state.opset == 17 and state.converted_from == 15 and state.unconverted is not None
    left = replace(steps.decide(state), decisions=(replace(steps.decide(state).decisions[0], plan=None),))
    settled = steps.settle(left)
    assert settled.opset == 15 and settled.converted_from is None and dump(settled.model.model) == dump(model)
    assert steps.settle(steps.decide(state)).opset == 17


def test_a_conversion_that_was_asked_for_stays() -> None:
    state = run_steps((steps.find, steps.convert, steps.decide), read_two_convs(opset=18, exclude=["."]))
    assert model_opset(steps.settle(state).model.model) == 18


@pytest.mark.parametrize("model", [two_convs(), if_model()], ids=["graph", "bodies"])
def test_sites_are_found_in_a_copy_without_asking_again(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = LoadedModel(model)
    sites, copy = find_sites(loaded), loaded.copy()
    monkeypatch.setattr("onnx_fft.sites.find.infer_shapes", None)
    moved = relocate_sites(sites, model, copy)
    assert [(site.name, site.spec) for site in moved] == [(site.name, site.spec) for site in sites]
    for old, new in zip(sites, moved, strict=True):
        assert new.node is not old.node and new.node == old.node
        assert any(node is new.node for node in new.scope.body.node)


def test_a_variant_is_a_copy() -> None:
    state = run_steps(DECIDING, read_two_convs(select="all"))
    before = dump(state.model.model)
    plan = state.decisions[0].plan
    assert plan is not None
    variant = build_variant(state.model, state.sites, "standard", {"first": plan})
    assert dump(state.model.model) == before
    assert {node.metadata_props[0].value for node in own_nodes(variant)} == {"first"}
    assert_same(state.original.model, variant)
