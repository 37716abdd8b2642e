"""The table of prices, and a user's own table."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.prices import read_prices


def test_the_table_is_dated_and_has_the_chips_and_the_judge_of_the_recipes():
    prices = read_prices()
    assert set(prices.dates) == {"chips", "models"}
    assert all(prices.dates.values())
    assert {"v5p", "v6e"} <= set(prices.chips)
    judge = prices.models["gemini-3-flash-preview"]
    assert judge.dollars(1_000_000, 1_000_000) == pytest.approx(judge.input + judge.output)
    assert judge.dollars(1_000_000, 0, cached=1_000_000) == pytest.approx(judge.cached)
    assert prices.chip_hours("v6e", 10) == pytest.approx(10 * prices.chips["v6e"])
    assert prices.chip_hours("tpu99", 10) is None


def test_a_persons_own_file_wins_entry_by_entry(tmp_path, monkeypatch):
    own = tmp_path / "prices.toml"
    own.write_text('[chips]\nv5p = 2.1\ntpu7x = 9.5\n[models]\n"my-model" = { input = 1, output = 2 }\n')
    monkeypatch.setenv("POLARIS_PRICES", str(own))
    prices = read_prices()
    assert (prices.chips["v5p"], prices.chips["tpu7x"]) == (2.1, 9.5)
    assert prices.models["my-model"].cached == 1.0
    assert "gemini-3-flash-preview" in prices.models


@pytest.mark.parametrize(
    "text",
    [
        "[chips]\nv5p = -1",
        "[chips]\nv5p = 'much'",
        "[models]\nm = 3",
        "[cars]\nx = 1",
        "x = 1",
        "[chips",
        "[chips]\nv5p = inf",
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text):
    own = tmp_path / "prices.toml"
    own.write_text(text)
    with pytest.raises(InputError):
        read_prices(own)
