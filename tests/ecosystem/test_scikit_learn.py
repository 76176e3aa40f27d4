"""scikit-learn through joblib: the cluster gives what one process gives."""

import importlib

import pytest

joblib = pytest.importorskip("joblib")
pytest.importorskip("sklearn")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster", "registered")]


@pytest.fixture(scope="module")
def registered(engine):
    importlib.import_module(f"{engine.name}.util.joblib").register_ray()


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def test_a_grid_search_finds_the_same(digits):
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    grid = {"C": [0.1, 1, 10], "gamma": [0.0005, 0.001, 0.01]}
    alone = GridSearchCV(SVC(), grid, cv=3, n_jobs=1).fit(*digits)
    with joblib.parallel_backend("ray"):
        spread = GridSearchCV(SVC(), grid, cv=3).fit(*digits)
    assert spread.best_params_ == alone.best_params_
    scores = alone.cv_results_["mean_test_score"].tolist()
    assert spread.cv_results_["mean_test_score"].tolist() == scores


def test_a_search_with_parallel_estimators_inside(digits):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    forest = RandomForestClassifier(20, random_state=1, n_jobs=2)
    alone = cross_val_score(forest, *digits, cv=3)
    with joblib.parallel_backend("ray"):
        spread = cross_val_score(forest, *digits, cv=3, n_jobs=2)
    assert spread.tolist() == alone.tolist()


def test_a_forest_is_trained_and_asked(digits):
    from sklearn.ensemble import RandomForestClassifier

    def forest():
        return RandomForestClassifier(30, random_state=1).fit(*digits).predict_proba(digits[0])

    alone = forest()
    with joblib.parallel_backend("ray"):
        assert (forest() == alone).all()
