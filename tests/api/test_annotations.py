"""`ray.util.annotations`: the marks that libraries on top put on their own names."""

import warnings
from importlib import import_module

import pytest


@pytest.fixture
def annotations(ray):
    return import_module(f"{ray.__name__}.util.annotations")


def test_public(annotations):
    @annotations.PublicAPI(stability="beta", api_group="Group")
    def function():
        """Does something."""
        return 1

    assert function() == 1
    assert function.__doc__.startswith("Does something.")
    assert "PublicAPI (beta)" in function.__doc__
    assert function._annotated == "function"
    assert function._annotated_type is annotations.AnnotationType.PUBLIC_API
    assert function._annotated_api_group == "Group"


def test_bare(annotations):
    @annotations.PublicAPI
    class Public:
        pass

    @annotations.DeveloperAPI
    def developer():
        return 2

    assert isinstance(Public(), Public)
    assert Public._annotated_type is annotations.AnnotationType.PUBLIC_API
    assert developer() == 2
    assert developer._annotated_type is annotations.AnnotationType.DEVELOPER_API


def test_wrong_arguments(annotations):
    with pytest.raises(AssertionError):
        annotations.PublicAPI(stability="shaky")(lambda: None)
    with pytest.raises(ValueError):
        annotations.Deprecated(reason="old")(lambda: None)


def test_deprecated(annotations):
    @annotations.Deprecated(message="Use new().")
    def silent():
        """Old."""
        return 1

    @annotations.Deprecated(message="Use new().", warning=True)
    def loud():
        return 2

    @annotations.Deprecated(message="Use New.", warning=True)
    class Loud:
        def __init__(self, value):
            self.value = value

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert silent() == 1
        assert not caught
        assert loud() == 2
        assert Loud(3).value == 3
    assert [warning.category for warning in caught] == [annotations.RayDeprecationWarning] * 2
    assert "Use new()." in str(caught[0].message)
    assert "Use new()." in silent.__doc__
    assert issubclass(annotations.RayDeprecationWarning, DeprecationWarning)
