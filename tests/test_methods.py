"""What every method's record says, whichever methods there are."""

import dataclasses
import operator
from importlib import import_module

import pytest

from diffunet.errors import UsageError
from diffunet.inference.options import PredictionOptions
from diffunet.methods import METHODS, method_of_saliency
from diffunet.plans import WeakPlan
from tests.wsss.weak_folds import weak_plans


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_a_method_names_can_be_loaded(method):
    assert METHODS[method.name] is method
    configuration = weak_plans(method=method.name).configuration
    training = method.training()
    assert callable(training.objective)
    assert callable(training.finish)
    module, _, name = method.predictor.partition(":")
    assert callable(getattr(import_module(module), name).predict)
    module, _, name = method.builder.partition(":")
    assert callable(getattr(import_module(module), name))
    assert method.network_sizes(configuration)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_weights_belong_to_fields_that_there_are(method):
    configuration = weak_plans(method=method.name).configuration
    for field in method.weight_fields:
        assert operator.attrgetter(field)(configuration) is not None


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_options_of_other_methods_are_refused_by_name_and_its_own_are_not(method):
    everything = set().union(*(each.options for each in METHODS.values()))
    fields = {each.name for each in dataclasses.fields(PredictionOptions)}
    assert everything == fields - {"seed"}
    method.refuse_options(dict.fromkeys(method.options, 1))
    method.refuse_options(PredictionOptions(seed=3).given())
    for name in everything - method.options:
        with pytest.raises(UsageError, match=f"^{name}: a model of -m {method.name} "):
            method.refuse_options({name: 1})


def test_each_kind_of_saliency_is_made_by_one_method_whose_default_it_may_be():
    fields = WeakPlan.__dataclass_fields__
    for method in METHODS.values():
        assert bool(method.saliency) == (method.learns_from == "image_labels")
        if method.saliency:
            assert fields[method.saliency_field].default in method.saliency
        for saliency in method.saliency:
            assert method_of_saliency(saliency) == method.name
