"""Every option is declared once: the public functions, names and bounds elsewhere agree with it."""

from __future__ import annotations

import inspect
from dataclasses import MISSING
from pathlib import Path
from typing import Any, get_args

import pytest

import lsns
from lsns import specs
from lsns.analysis import METHODS
from lsns.audits import calibration, reliability
from lsns.audits.auditing import AuditOptions
from lsns.config import ExperimentConfig
from lsns.evaluation import conditions
from lsns.evaluation.lesion_study import evaluate
from lsns.experiment import run_experiment
from lsns.lesions.ablation import Mode
from lsns.lesions.controls import Control
from lsns.models.factory import ModelRequest
from lsns.specs import AnalysisConfig, ModelConfig, ModelSpec, SpecError
from lsns.stimuli.contrast import Pooling
from lsns.stimuli.networks import NETWORKS

# What a function takes beside options: what it works on, where, and how it tells of it.
SUBJECTS = {
    lsns.load_model: set(),
    lsns.localize: {"model", "contrast", "cache_dir", "workers", "progress"},
    evaluate: {
        *("model", "masks", "expect", "output_dir", "cache_dir", "workers"),
        *("allow_code", "progress"),
    },
    lsns.audit: {"found", "model", "study", "options", "batch_size", "progress"},
}
# What is an option of a run alone.
OF_RUNS = {
    lsns.load_model: set(),
    lsns.localize: set(),
    evaluate: {"doses", "part_controls"},
    lsns.audit: {"enabled", *AuditOptions.options()},
}
SPECS = {
    lsns.load_model: ModelSpec,
    lsns.localize: AnalysisConfig,
    evaluate: specs.StudySpec,
    lsns.audit: specs.AuditSpec,
}


def defaults(function: Any) -> dict[str, Any]:
    """The keywords of a function and their defaults, without what it works on."""
    found = inspect.signature(function).parameters
    return {
        name: MISSING if one.default is inspect.Parameter.empty else one.default
        for name, one in found.items()
        if name not in SUBJECTS[function]
    }


@pytest.mark.parametrize("function", SPECS, ids=lambda function: function.__name__)
def test_the_public_functions_take_the_options_with_their_defaults(function):
    declared = {
        name: option.default
        for name, option in SPECS[function].options().items()
        if name not in OF_RUNS[function]
    }
    taken = defaults(function)
    if function is lsns.localize:
        # Not given: the protocol's, which None, whole texts, is not.
        assert declared.pop("max_tokens") is None
        del taken["max_tokens"]
    assert taken == declared


def test_how_many_workers_is_no_part_of_a_run():
    """What is found does not depend on it, so it is in no configuration, digest or key."""
    default = specs.Running().workers
    for function in (lsns.localize, evaluate, run_experiment):
        assert inspect.signature(function).parameters["workers"].default == default == 1
    assert "workers" not in str(ExperimentConfig().but())


def test_the_keywords_of_localize_follow_from_the_options():
    given = AnalysisConfig().arguments()
    assert "max_tokens" not in given
    assert AnalysisConfig(max_tokens=0).arguments()["max_tokens"] is None
    assert AnalysisConfig(max_tokens=5).arguments()["max_tokens"] == 5
    inspect.signature(lsns.localize).bind("model", "contrast", **given)


def test_a_run_adds_to_the_options_and_changes_two_defaults():
    assert set(ModelConfig.options()) == {*ModelSpec.options(), "plugins"}
    for made, base, changed in (
        (specs.EvaluationConfig(), specs.StudySpec(), {"benchmarks", "split_outliers"}),
        (specs.AuditConfig(), specs.AuditSpec(), {"profile"}),
    ):
        assert set(type(made).options()) == set(type(base).options())
        assert {n for n in made.but() if getattr(made, n) != getattr(base, n)} == changed


def test_names_and_bounds_are_those_of_what_takes_them():
    assert tuple(METHODS) == specs.METHODS
    assert get_args(specs.Network) == tuple(NETWORKS)
    assert get_args(specs.Control) == get_args(Control)
    assert get_args(specs.AnyControl) == conditions.CONTROLS
    assert get_args(specs.Mode) == get_args(Mode) == conditions.MODES
    assert set(AnalysisConfig.options()["pooling"].wants.choices) == {*get_args(Pooling), "last"}
    assert specs.MOST_SEEDS == conditions.MOST_SEEDS
    assert AuditOptions().halves == reliability.HALVES
    assert AuditOptions().permutations == calibration.PERMUTATIONS
    assert AuditOptions().alpha == calibration.ALPHA


def test_every_option_has_a_meaning_and_says_what_it_wants():
    for spec in (
        ModelConfig,
        AnalysisConfig,
        AuditOptions,
        specs.EvaluationConfig,
        ExperimentConfig,
    ):
        for option in spec.options().values():
            if option.default is not MISSING:
                assert option.meaning.endswith("."), option
                assert option.wants.words
                # The default is one of the values that are taken.
                assert option.read(option.default) == option.default


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (AnalysisConfig, {"percentage": "x"}, "analysis.percentage wants a number above 0 and at"),
        (AnalysisConfig, {"seed": "42"}, "analysis.seed wants a whole number, 0 to 4294967295; fo"),
        (AnalysisConfig, {"per_layer": "yes"}, "wants true or false, or null; found the text"),
        (specs.LesionConfig, {"seeds": []}, "wants a list (at least one) of different values"),
        (specs.LesionConfig, {"seeds": (1, 1)}, "found [1, 1]"),
        (specs.LesionConfig, {"mode": "zreo"}, "did you mean zero?"),
        (specs.StudySpec, {"benchmarks": "blimp"}, "evaluation.benchmarks wants a list"),
        (AuditOptions, {"alpha": 0.01, "permutations": 19}, "use at least 99"),
        (ModelRequest, {"name": 5}, "model.name wants a name; found 5; quote it"),
        (ModelRequest, {"name": "x", "dtype": "int8"}, "model.dtype wants one of float32"),
        (ExperimentConfig, {"analysis": {}}, "analysis wants a AnalysisConfig; found a mapping"),
    ],
)
def test_what_is_not_taken_is_one_line_with_the_key_and_the_value(spec, given, message):
    with pytest.raises(SpecError) as caught:
        spec(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_stored_as_they_are_used():
    config = AnalysisConfig(pooling="last", percentage=1)
    assert (config.pooling, config.percentage) == ("last-token", 1.0)
    assert isinstance(config.percentage, float)
    assert specs.LesionConfig(seeds=[1, 2]).seeds == (1, 2)
    assert ModelConfig(name=Path("a/b")).name == "a/b"


def test_a_request_is_made_of_the_options_of_a_model():
    config = ModelConfig(name="x", dtype="bfloat16", plugins=("own.py",))
    request = ModelRequest.of(config)
    assert request == ModelRequest("x", dtype="bfloat16")
    assert ModelRequest.of(request) is request
    assert not hasattr(request, "plugins")
