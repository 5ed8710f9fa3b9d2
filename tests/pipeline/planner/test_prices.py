"""Price tables: what is read, what is refused by the entry that does not fit, which device is which."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.planner.prices import load_prices
from tests.conftest import ROOT
from tests.pipeline import planned_runs as made


def test_a_price_table_of_ones_own_may_cost_nothing_and_shout(tmp_path: Path) -> None:
    path = edited(tmp_path / "own.yaml", "[l40s]", "[L40S]")
    Path(path).write_text(Path(path).read_text().replace("on_demand: 1.9", "on_demand: 0"))
    offer = load_prices(path).of_device("NVIDIA L40S")
    assert offer is not None
    assert (offer.name, offer.on_demand) == ("l40s", 0.0)


def test_the_committed_prices_are_dated_and_complete() -> None:
    table = load_prices(str(ROOT / "pipeline/planner/prices.yaml"))
    for offer in table.gpus.values():
        assert all(table.sources[name].url.startswith("https://") for name in offer.sources)
    assert all(source.date.year >= 2025 for source in table.sources.values())
    assert table.of_device("NVIDIA A100-SXM4-80GB").name == "a100-80gb"
    assert table.of_device("NVIDIA L4").name == "l4"
    assert table.of_device("NVIDIA L40S").name == "l40s"
    assert table.of_device("NVIDIA H100 PCIe") is None
    assert not table.gpus["l4"].is_device("NVIDIA L40S")


def edited(path: Path, old: str, new: str) -> str:
    """The made-up table with another text in it."""
    assert old in made.PRICES
    path.write_text(made.PRICES.replace(old, new))
    return str(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("on_demand: 6.88", "on_demand: -1", r"gpus\.h100\.on_demand: "),
        ("vcpus: 16", "vcpus: 0", r"gpus\.h100\.vcpus: "),
        ("devices: [l40s]", "devices: []", r"gpus\.l40s\.devices: "),
        ("sources: [market]}", "sources: [hearsay]}", r"gpus\.h100\.sources: hearsay is not among the sources"),
        ("currency: USD", "", r"currency: Field required"),
        ("currency: USD", "currency: [", r"is not valid YAML"),
        ("currency: USD", "x: !!python/object/apply:os.getcwd []", r"is not valid YAML"),
        ("on_demand: 6.88", "on_demand: .inf", r"gpus\.h100\.on_demand: "),
    ],
)
def test_an_entry_that_does_not_fit_is_named_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"--prices .*{message}") as caught:
        load_prices(edited(tmp_path / "prices.yaml", old, new))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--prices .*gone\.yaml: No such file"):
        load_prices(str(tmp_path / "gone.yaml"))


def test_an_offer_is_found_by_name_in_any_letters(tmp_path: Path) -> None:
    table = load_prices(edited(tmp_path / "prices.yaml", "currency: USD", "currency: EUR"))
    assert (table.currency, table.offer("H100").instance) == ("EUR", table.gpus["h100"].instance)
    assert table.offer("h200").vcpus_per_gpu == 24.0
    with pytest.raises(ValueError, match="--gpu tpu: not in the price table; it has h100, h200, l40s, cpu-2"):
        table.offer("tpu")
