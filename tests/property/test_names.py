"""Whatever a signal, a tag or a category is called, it is found under that name."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

import weightslab as wl
from tests.property.support import FEW, NAMES, at_every_age, csv_rows, folder, json_rows

_SIGNALS = st.lists(NAMES.filter(str.strip), min_size=1, max_size=4, unique=True)


@FEW
@given(_SIGNALS)
def test_signals_come_back(names: list[str]) -> None:
    """Signals of any name are those of queries, frames and files; no two are mixed up."""
    values = {name: float(n) for n, name in enumerate(names)}

    def look() -> None:
        frame = wl.samples()
        table = json_rows(wl.write_dataframe())[0]
        found = json_rows(wl.write_history())
        for name, value in values.items():
            for spelling in (name, f"signals//{name}"):
                assert [r[:3] for r in wl.query_signal_history(spelling)] == [("a", 0, value)]
            assert wl.history(name, kind="global").select("step", "value").rows() == [(0, value)]
            assert frame[f"signals//{name}"].to_list() == [value]
            assert table[f"signals//{name}"] == value
            only = json_rows(wl.write_history("one.json", graph_name=name))["sample"]
            assert [(r["graph_name"], r["metric_value"]) for r in only] == [(name, value)]
            assert wl.samples(columns=f"signals//{name}").columns[2:] == [f"signals//{name}"]
        for layer in ("global", "sample"):
            assert {r["graph_name"]: r["metric_value"] for r in found[layer]} == values
        assert {row[0] for row in wl.query_sample_history("a")} == set(names)

    with folder() as root:
        at_every_age(
            root, lambda: wl.save_signals({n: [v] for n, v in values.items()}, ["a"], step=0), look
        )


@FEW
@given(_SIGNALS)
def test_signals_in_csv(names: list[str]) -> None:
    """CSV quotes what needs quoting, in the header too."""
    kept = [name for name in names if not set("\x00\r") & set(name)]
    assume(kept)
    with folder() as root, wl.Session(root):
        wl.save_signals({name: [1.0] for name in kept}, ["a"], step=0)
        rows = csv_rows(wl.write_history(format="csv", type_of_history="sample"))
        assert sorted(row["graph_name"] for row in rows) == sorted(kept)
        [row] = csv_rows(wl.write_dataframe(format="csv", columns="signals"))
        assert {name for name in row if name.startswith("signals//")} == {
            f"signals//{name}" for name in kept
        }


@FEW
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_tags_come_back(names: list[str]) -> None:
    """Tags of any name are found by it, and are the columns `tag:<name>`."""

    def fill() -> None:
        wl.save_signals({"loss": [0.0, 1.0]}, ["a", "b"], step=0)
        for name in names:
            assert wl.tag_samples(["b"], name) == 1

    def look() -> None:
        frame = wl.samples(columns="tags")
        rows = json_rows(wl.write_dataframe(columns="tags"))
        for name in names:
            assert wl.get_samples_by_tag(name) == ["b"]
            assert frame[f"tag:{name}"].to_list() == [False, True]
            assert [row[f"tag:{name}"] for row in rows] == [False, True]
            only = json_rows(wl.write_dataframe("one.json", columns=[f"tag:{name}"]))
            assert [row[f"tag:{name}"] for row in only] == [False, True]

    with folder() as root:
        at_every_age(root, fill, look)


@FEW
@given(NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_categories_come_back(tag: str, values: list[str]) -> None:
    """Values of any text are those of the samples; declared ones are known before any use."""
    ids = [f"s{n}" for n in range(len(values))]

    def fill() -> None:
        wl.register_categorical_tag(tag, values)
        wl.save_signals({"loss": [0.0] * (len(ids) + 1)}, [*ids, "none"], step=0)
        for one, value in zip(ids, values, strict=True):
            wl.set_categorical_tag([one], tag, value)

    def look() -> None:
        assert wl.samples()[f"tag:{tag}"].to_list() == [*values, None]
        assert wl.get_samples_by_tag(tag) == ids
        rows = json_rows(wl.write_dataframe(columns="tags"))
        assert [row[f"tag:{tag}"] for row in rows] == [*values, None]

    with folder() as root:
        at_every_age(root, fill, look)


@FEW
@given(NAMES, st.lists(st.sampled_from(["add", "remove", "set"]), min_size=1, max_size=6))
def test_modes_of_a_tag(tag: str, modes: list[str]) -> None:
    """After any sequence of modes the last one holds; the count says whether it changed."""
    with folder() as root, wl.Session(root):
        wl.save_signals({"loss": [0.0]}, ["a"], step=0)
        held = False
        for mode in modes:
            wanted = mode != "remove"
            assert wl.tag_samples(["a"], tag, mode) == (held != wanted)  # type: ignore[arg-type]
            held = wanted
        assert wl.get_samples_by_tag(tag) == (["a"] if held else [])


@FEW
@given(st.dictionaries(st.sampled_from("abcdef"), st.booleans()))
def test_discards_come_back(discarded: dict[str, bool]) -> None:
    """What is discarded is what was discarded last."""

    def fill() -> None:
        wl.save_signals({"loss": [0.0] * 6}, list("abcdef"), step=0)
        for name, state in discarded.items():
            wl.discard_samples([name])
            wl.discard_samples([name], discarded=state)

    def look() -> None:
        assert wl.get_discarded_samples() == sorted(n for n, d in discarded.items() if d)

    with folder() as root:
        at_every_age(root, fill, look)
