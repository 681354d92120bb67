"""Names that are places: many at once as one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger.ids.blocks import grouped_places, parsed_place

tails = st.one_of(
    st.integers(0, 10**18 - 1).map(str),
    st.sampled_from(["", "0", "00", "01", "-1", "1.0", "１", "9" * 18, "9" * 19, "a", "1_000"]),
)
names = st.builds(
    lambda origin, tail: f"{origin}{tail}", st.sampled_from(["a/", "a/b/", "x"]), tails
)


@given(st.one_of(st.lists(names), st.lists(tails.map("train/{}".format))), st.data())
def test_many_names_are_read_as_each_alone(given_names: list[str], data: st.DataObject) -> None:
    """Whichever way they are taken, the same names are places of the same samples."""
    which = (
        data.draw(st.lists(st.sampled_from(range(len(given_names))), unique=True))
        if given_names
        else []
    )
    found = {
        at: (origin, index)
        for origin, (where, indices) in grouped_places(given_names, which).items()
        for at, index in zip(where, indices.tolist(), strict=True)
    }
    alone = {at: parsed_place(given_names[at]) for at in which}
    assert found == {at: parsed for at, parsed in alone.items() if parsed is not None}
