"""experimental.tqdm_ray: progress bars of workers, shown by the driver."""

import importlib
import io

import pytest

PROGRAM = """
    import time

    import {engine} as ray
    from {engine}.experimental.tqdm_ray import safe_print, tqdm

    ray.init(num_cpus=2)

    @ray.remote
    def work(name):
        for item in tqdm(range(3), desc=name, flush_interval_s=0):
            pass
        bar = tqdm(desc=name, total=5)
        bar.set_description("second of " + name)
        bar.update(5)
        bar.close()
        print("printed by", name)

    ray.get([work.remote(name) for name in ("first", "other")])
    for item in tqdm([1], desc="of the driver"):
        safe_print("printed by the driver")
    time.sleep({pause})
    ray.shutdown()
"""


@pytest.fixture(scope="module")
def module(engine):
    return importlib.import_module(f"{engine.name}.experimental.tqdm_ray")


def test_bars_are_shown_by_the_driver(engine, drivers):
    # Ray does not show what comes shortly before the end.
    pause = 0 if engine.is_whipray else 3
    driver = drivers.run(PROGRAM.format(engine=engine.name, pause=pause))
    for name in ("first", "other"):
        assert f"{name}: " in driver.stderr
        assert f"second of {name}: " in driver.stderr
        assert f"printed by {name}" in driver.stdout
    assert "of the driver: " in driver.stderr
    assert "printed by the driver" in driver.stdout
    assert "magic_token" not in driver.stdout + driver.stderr


def test_what_the_driver_prints_does_not_meet_them(engine, drivers):
    driver = drivers.run(
        f"""
        from {engine.name}.experimental import tqdm_ray

        manager = tqdm_ray.instance()
        bar = tqdm_ray.tqdm(total=3, flush_interval_s=0)
        bar.update()
        hides = manager.num_hides
        print("printed")
        assert (manager.num_hides, manager.in_hidden_state) == (hides + 1, False)
        bar.close()
        """
    )
    assert driver.stdout == "printed\n"


@pytest.mark.whipray_only
def test_they_may_be_switched_off(drivers):
    driver = drivers.run(PROGRAM.format(engine="whipray", pause=0), environment={"RAY_TQDM": "0"})
    assert driver.stderr == ""
    assert "magic_token" not in driver.stdout


class TestBar:
    @pytest.fixture(autouse=True)
    def shown(self, module, monkeypatch):
        """The states that this process would show."""
        states = []
        monkeypatch.setattr(module.instance(), "process_state_update", states.append)
        return states

    def test_it_goes_through_an_iterable(self, module, shown):
        assert list(module.tqdm(iter("abc"), desc="letters", flush_interval_s=0)) == ["a", "b", "c"]
        assert sorted({state["x"] for state in shown} - {0}) == [1, 2, 3]
        assert {state["desc"] for state in shown} == {"letters"}

    def test_the_length_is_the_total_where_there_is_one(self, module):
        assert module.tqdm([1, 2]).total == 2
        assert module.tqdm(iter([1])).total is None
        assert module.tqdm([1, 2], total=7).total == 7

    def test_changes_are_shown_after_a_while(self, module, shown):
        bar = module.tqdm(total=100, flush_interval_s=3600)
        for _ in range(50):
            bar.update()
        assert bar.n == 50
        assert len(shown) == 1

    @pytest.mark.whipray_only
    def test_or_when_that_is_asked_for(self, module, shown):
        bar = module.tqdm(total=100, flush_interval_s=3600)
        bar.update(50)
        bar.refresh()
        assert [state["x"] for state in shown] == [0, 50]

    def test_numbers_and_total_can_be_set(self, module, shown):
        bar = module.tqdm(total=10, flush_interval_s=0)
        bar.n, bar.total = 4, 20
        bar.refresh()
        assert (shown[-1]["x"], shown[-1]["total"]) == (4, 20)

    @pytest.mark.whipray_only
    def test_the_end_is_told_once(self, module, shown):
        bar = module.tqdm(total=10)
        bar.close()
        bar.close()
        assert [state["closed"] for state in shown] == [False, True]

    def test_unknown_options_are_refused(self, module):
        with pytest.raises(TypeError):
            module.tqdm(range(3), leave=True)


class Screen(io.StringIO):
    """A terminal that knows what stands on it, for the sequences that bars use."""

    def isatty(self):
        return True

    def lines(self):
        lines = [""]
        text = self.getvalue()
        while text:
            if text.startswith("\x1b[1A"):
                lines.pop()
                text = text[4:]
            elif text.startswith("\r\x1b[2K"):
                lines[-1] = ""
                text = text[5:]
            elif text[0] == "\n":
                lines.append("")
                text = text[1:]
            else:
                lines[-1] += text[0]
                text = text[1:]
        return lines[:-1]


@pytest.mark.whipray_only
class TestScreen:
    @staticmethod
    def state(name, count, **changes):
        return {"uuid": name, "desc": name, "x": count, "total": 10, "unit": "it", **changes}

    @pytest.fixture
    def manager(self):
        from whipray._progress_bars import BarManager

        self.now = 0.0
        self.screen = Screen()
        return BarManager(self.screen, lambda: self.now, is_enabled=True)

    def test_bars_stand_below_each_other(self, manager):
        manager.process_state_update(self.state("one", 0, pid=1))
        manager.process_state_update(self.state("two", 0, pid=2))
        self.now = 2.0
        manager.process_state_update(self.state("one", 5, pid=1))
        first, second = self.screen.lines()
        assert first.startswith("(pid=1) one:  50%|") and "5/10 [00:02<00:02, 2.5it/s]" in first
        assert second.startswith("(pid=2) two:   0%|")

    def test_what_is_printed_comes_above_them(self, manager):
        manager.process_state_update(self.state("one", 0))
        manager.hide_bars()
        self.screen.write("printed\n")
        manager.unhide_bars()
        assert [line[:7] for line in self.screen.lines()] == ["printed", "one:   "]

    def test_a_bar_that_is_through_stays_above_the_others(self, manager):
        manager.process_state_update(self.state("one", 0))
        manager.process_state_update(self.state("two", 0))
        manager.process_state_update(self.state("two", 10, closed=True))
        assert [line[:8] for line in self.screen.lines()] == ["two: 100", "one:   0"]

    def test_without_a_total_there_is_a_count(self, manager):
        manager.process_state_update(self.state("one", 1500, total=None, unit="rows"))
        assert self.screen.lines() == ["one: 1.5krows [00:00, ?rows/s]"]

    def test_no_terminal_gets_a_line_from_time_to_time(self, manager):
        self.screen.isatty = lambda: False
        for self.now in range(13):
            manager.process_state_update(self.state("one", min(10, self.now)))
        manager.process_state_update(self.state("one", 10, closed=True))
        first, last = self.screen.getvalue().splitlines()
        assert first == "one: 100% 10/10 [00:10<00:00, 1it/s]"
        assert last.startswith("one: 100% 10/10 [00:12<00:00")
