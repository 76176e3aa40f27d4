"""`ray.data` over dataframes that are in the object store."""

import importlib

import pytest

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def data(engine, cluster):
    return importlib.import_module(f"{engine.name}.data")


def frame():
    return pandas.DataFrame(
        {"number": [1, 2], "name": ["x", None], "share": [0.5, float("nan")]}, index=[7, 8]
    )


@pytest.fixture
def dataset(ray, data):
    return data.from_pandas_refs([ray.put(frame()), ray.put(frame())])


def test_blocks_stay_where_they_are(ray, get, data):
    refs = [ray.put(frame()), ray.put(frame())]
    dataset = data.from_pandas_refs(refs)
    assert dataset.to_pandas_refs() == refs
    assert (dataset.num_blocks(), dataset.count()) == (2, 4)
    for block in get(dataset.to_pandas_refs()):
        pandas.testing.assert_frame_equal(block, frame())


def test_one_reference_is_one_block(ray, data):
    assert data.from_pandas_refs(ray.put(frame())).num_blocks() == 1


def test_results_of_tasks_are_blocks(ray, data):
    @ray.remote
    def make(number):
        return pandas.DataFrame({"number": [number]})

    dataset = data.from_pandas_refs([make.remote(number) for number in range(3)])
    assert [row["number"] for row in dataset.iter_rows()] == [0, 1, 2]


def test_rows(dataset):
    row = {"number": 1, "name": "x", "share": 0.5}
    empty = {"number": 2, "name": None, "share": None}
    assert dataset.take(3) == [row, empty, row]
    assert dataset.take_all() == [row, empty, row, empty]
    assert dataset.take(0) == [] and dataset.take(-1) == []
    with pytest.raises(ValueError, match="more than the given limit of 3 records"):
        dataset.take_all(limit=3)


def test_show(dataset, capsys):
    dataset.show(1)
    assert capsys.readouterr().out == "{'number': 1, 'name': 'x', 'share': 0.5}\n"


def test_one_dataframe(dataset):
    expected = pandas.concat([frame(), frame()], ignore_index=True)
    pandas.testing.assert_frame_equal(dataset.to_pandas(), expected)
    with pytest.raises(ValueError, match="more than the given limit of 3 rows: 4"):
        dataset.to_pandas(limit=3)


def test_schema(dataset):
    assert dataset.columns() == dataset.schema().names == ["number", "name", "share"]
    assert [str(kind) for kind in dataset.schema().types] == ["int64", "string", "double"]
    assert dataset.schema() == dataset.schema()
    assert "number" in repr(dataset.schema())


def test_blocks_with_different_columns(ray, data):
    dataset = data.from_pandas_refs([ray.put(frame()), ray.put(frame()[["name"]])])
    assert dataset.columns() == ["number", "name", "share"]
    assert dataset.take_all()[2] == {"name": "x"}


def test_tables_of_arrow(get, dataset):
    tables = get(dataset.to_arrow_refs())
    assert [table.column_names for table in tables] == [["number", "name", "share"]] * 2
    assert tables[0].to_pylist()[0] == {"number": 1, "name": "x", "share": 0.5}


def test_no_blocks(data):
    empty = data.from_pandas_refs([])
    assert (empty.count(), empty.schema(), empty.columns(), empty.take_all()) == (0, None, None, [])
    assert empty.to_pandas().empty


def test_dataframes_of_the_driver(data):
    assert data.from_pandas(frame()).num_blocks() == 1
    divided = data.from_pandas([frame(), frame()], override_num_blocks=3)
    assert (divided.num_blocks(), divided.count()) == (3, 4)
    assert [row["number"] for row in divided.iter_rows()] == [1, 2, 1, 2]


def test_what_is_no_dataframe(ray, data):
    with pytest.raises(ValueError, match="list containing <class 'int'>"):
        data.from_pandas_refs([3])
    with pytest.raises(TypeError):
        data.from_pandas_refs([ray.put(3)])


def test_it_is_no_sequence(dataset):
    assert dataset
    with pytest.raises(AttributeError, match="count"):
        len(dataset)
    with pytest.raises(TypeError, match="iter_rows"):
        iter(dataset)
