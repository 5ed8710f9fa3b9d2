"""`report.html` in a real browser: on a phone, on a desktop, in the dark and on paper."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.report.answers import Facts
from litelvlm.pipeline.report.records import Reasons, ScoreFacts
from litelvlm.pipeline.report.write import REPORT_NAME, render, write_report
from tests.fakes import FakeEngine
from tests.pipeline.planned_runs import summary
from tests.pipeline.report.report_runs import HOSTILE, DisagreeingEngine, make_output, shard_table
from tests.pipeline.samples import mixed_rows, row, run_config

pytestmark = pytest.mark.browser

PAGES = ("finished", "hostile", "nothing done", "large")
A4_PX = 680  # what is left of the paper's width between the margins, at 96 dpi


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind."""
    root = tmp_path_factory.mktemp("reports")

    def of_run(name: str, rows: list[Any], **settings: Any) -> Path:
        storage, config = make_output(root / name, rows, **settings)
        write_report(storage, config, uri_policy(config))
        return Path(storage.root, REPORT_NAME)

    hostile = [row(number, HOSTILE[number], image_id=HOSTILE[number]) for number in range(len(HOSTILE))]
    hostile += [row(20 + number, image=text.encode()) for number, text in enumerate(HOSTILE)]
    large = root / "large.html"
    large.write_text(
        render(
            large_facts(),
            {name: [] for name in ("worst", "best", "disagreeing", "whole", "empty", "failed")},
            title="s3://bucket/" + "x" * 200,
        )
    )
    return {
        "finished": of_run("f", mixed_rows(60), engine=DisagreeingEngine(), baseline_images=12, gpu_price=2.49),
        "hostile": of_run("h", hostile, engine=DisagreeingEngine(), baseline_images=7),
        "nothing done": of_run("n", mixed_rows(8), engine=FakeEngine(), shards=0, finish=False),
        "large": large,
    }


def large_facts() -> Facts:
    """A large run that was resumed, with stragglers, many actors and many reasons."""
    number = np.arange(10_000)
    took = np.where(number % 500 == 3, 60.0, 9.0)
    start = 1.8e9 + 10.0 * (number // 40) + np.where(number > 6_000, 50_000.0, 0.0)
    names = [f"gpu-node-{at % 40:02}.cluster.example:{10_000 + at % 40}" for at in number]
    table = shard_table(
        10_000, annotate_s=took, sam_s=took - 7, actor_from=start, actor_to=start + 10, finished_at=start + 10,
        actor=names, node=[name.split(":")[0] for name in names], baseline_s=0.3, mfu=0.31,
        tflop=900.0, unpruned_tflop=1500.0,
    )  # fmt: skip
    reasons = Reasons()
    for at in range(40):
        reasons.add(f"reason {chr(97 + at % 26) * (5 + at)}: words after it, and many more of them", 1 + at * at)
    scores = ScoreFacts(bins=np.arange(20) ** 3, total=50_000.0)
    config = run_config("s3://bucket/in/*.parquet", "s3://bucket/out", gpu_price=2.49)
    return Facts(
        run=summary(), config=config, table=table, planned_shards=10_000, planned_rows=640_000,
        reasons=reasons, scores=scores, baseline=None,
    )  # fmt: skip


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_its_width(visit: Any, pages: dict[str, Path], name: Any, width: int) -> None:
    page = visit(pages[name], width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = page.evaluate(
        """width => [...document.querySelectorAll('body *')]
            .filter(found => !found.closest('.scroll') && !found.closest('svg'))
            .filter(found => found.getBoundingClientRect().left < -1 || found.getBoundingClientRect().right > width + 1)
            .map(found => found.outerHTML.slice(0, 200))""",
        width,
    )
    assert outside == []


@pytest.mark.parametrize("width", [360, 1280])
def test_charts_fill_their_width_and_their_text_keeps_its_size(visit: Any, pages: dict[str, Path], width: int) -> None:
    page = visit(pages["large"], width=width)
    charts = page.evaluate(
        """[...document.querySelectorAll('svg.chart, svg.stacked')].map(chart => ({
            share: chart.getBoundingClientRect().width / chart.closest('figure').getBoundingClientRect().width,
            height: chart.getBoundingClientRect().height,
            texts: [...chart.querySelectorAll('text')].map(text => text.getBoundingClientRect().height),
            boxes: [...chart.querySelectorAll('text')].map(text => text.getBoundingClientRect().right),
        }))"""
    )
    assert len(charts) == 5
    for chart in charts:
        assert chart["share"] == pytest.approx(1, abs=0.01)
        assert chart["height"] >= 36
        assert all(10 <= height <= 20 for height in chart["texts"])
        assert all(right <= width for right in chart["boxes"])


@pytest.mark.parametrize("width", [360, 1280])
def test_labels_of_charts_do_not_lie_on_each_other(visit: Any, pages: dict[str, Path], width: int) -> None:
    page = visit(pages["large"], width=width)
    overlaps = page.evaluate(
        """[...document.querySelectorAll('svg.chart')].flatMap(chart => {
            const boxes = [...chart.querySelectorAll('text')].map(text => text.getBoundingClientRect());
            return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b =>
                a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom));
        }).length"""
    )
    assert overlaps == 0


def test_pictures_are_there_without_a_network(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["finished"], width=360)
    sizes = page.evaluate(
        "[...document.images].map(image => [image.naturalWidth, image.getBoundingClientRect().width])"
    )
    assert len(sizes) == 28
    assert {natural for natural, _ in sizes} == {240, 480}
    assert all(60 < shown < 360 for _, shown in sizes)


def test_nothing_that_a_run_holds_is_carried_out(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["hostile"], width=1280)
    assert page.title().startswith("Annotation run")
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.styleSheets.length") == 1
    assert page.locator("h1").is_visible()
    assert page.get_by_text(HOSTILE[0]).first.is_visible()


def test_the_policy_refuses_scripts_styles_and_requests_even_when_they_get_in(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    page_text = pages["finished"].read_text()
    smuggled = (
        "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
        "<style>h1{display:none}</style><p style='display:none' id='inline'>seen</p>"
    )
    path = tmp_path / "smuggled.html"
    path.write_text(page_text.replace("<main>", f"<main>{smuggled}", 1))
    page = browser.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    assert page.title() != "owned"
    assert page.locator("h1").is_visible()
    assert page.locator("#inline").is_visible()
    assert len([text for text in refused if "Content Security Policy" in text]) >= 4
    page.close()


CONTRAST = """() => {
  const channel = value => value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const solid = colour => colour !== 'transparent' && !/, 0\\)$/.test(colour);
  const behind = found => {
    for (; found; found = found.parentElement) {
      const colour = getComputedStyle(found).backgroundColor;
      if (solid(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const weak = {};
  for (const found of document.querySelectorAll('body *')) {
    const own = [...found.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || found.tagName === 'title') continue;
    const style = getComputedStyle(found);
    const ink = found.tagName === 'text' ? style.fill : style.color;
    const [a, b] = [luminance(ink), luminance(behind(found))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak[found.tagName + '.' + (found.getAttribute('class') || '')] = ratio;
  }
  return weak;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["finished", "nothing done", "large"])
def test_text_stands_out_from_its_ground(visit: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    page = visit(pages[name], width=1280, scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) > 380) == (scheme == "light")
    assert page.evaluate(CONTRAST) == {}


@pytest.mark.parametrize("name", PAGES)
def test_paper_is_white_and_wide_enough_even_where_the_screen_is_dark(
    visit: Any, pages: dict[str, Path], name: Any
) -> None:
    page = visit(pages[name], width=A4_PX, scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_PX
    assert page.evaluate(CONTRAST) == {}


def test_it_prints_on_a_few_pages(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["large"], width=1280)
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8


def test_tables_that_are_wider_than_a_phone_can_be_scrolled_by_keyboard(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["large"], width=360)
    wide = page.locator(".scroll").filter(has_text="Stragglers")
    assert wide.evaluate("found => found.scrollWidth > found.clientWidth")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("found => found.scrollLeft > 0", arg=wide.element_handle())


def test_pictures_are_jpegs_of_the_page_itself(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["finished"], width=1280)
    sources = page.evaluate("[...document.images].map(image => image.src)")
    for source in sources:
        assert base64.b64decode(source.removeprefix("data:image/jpeg;base64,")).startswith(b"\xff\xd8\xff")
