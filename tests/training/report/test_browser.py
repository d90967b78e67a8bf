"""The page in a browser: nothing goes wrong or out, and what people touch does what it says."""

import pytest
from support.browser import Browser, needed
from support.shown_run import HOSTILE, hostile_run, write_run

from sagan.training import report

pytestmark = needed
SHEET = "document.querySelector('#samples img').src"
MAP = "document.querySelector('.maps canvas').toDataURL()"
# Whether the map is coloured in its upper left square, and in its lower right one.
BRIGHT = """[36, 252].map(x => {
  const pen = new OffscreenCanvas(288, 288).getContext('2d', {willReadFrequently: true});
  pen.drawImage(document.querySelector('.maps canvas'), 0, 0);
  const [red, , blue] = pen.getImageData(x, x, 1, 1).data;
  return red > 2 * blue;
})"""
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Writes the report of a run that has scores, samples and attention maps; returns its path."""
    workdir = write_run(tmp_path_factory.mktemp("page") / "run", scores={"fid64": 9.5})
    return report.write([workdir])


@pytest.fixture
def opened(browser, page):
    """Opens the page; after the test, requires that no error and no request happened."""
    browser.open(page)
    yield browser
    assert browser.errors == [] and browser.requests == [page.as_uri()]


def settled(browser):
    """Waits until pictures are decoded and charts are drawn."""
    browser.run("new Promise(done => setTimeout(() => requestAnimationFrame(done), 100))")


def point(browser, place, x, y):
    """Moves the mouse to fractions of the width and height of an element."""
    browser.run(f"document.querySelector('{place}').scrollIntoView({{behavior: 'instant'}})")
    left, top, width, height = browser.run(
        f"(b => [b.left, b.top, b.width, b.height])"
        f"(document.querySelector('{place}').getBoundingClientRect())"
    )
    where = {"x": left + x * width, "y": top + y * height}
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **where)


def press(browser, key):
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


def test_the_slider_changes_the_sheet(opened):
    last = opened.run(SHEET)
    opened.run("document.getElementById('sheet').focus()")
    press(opened, "Home")
    opened.run("sheet.value = 0, sheet.dispatchEvent(new Event('input'))")
    assert opened.run(SHEET) != last
    assert opened.run("document.querySelector('.slider output').textContent") == "step 0"


def test_pointing_shows_a_map_of_that_place(opened):
    settled(opened)
    point(opened, "canvas.point", 0.1, 0.1)
    assert opened.run(BRIGHT) == [True, False]
    point(opened, "canvas.point", 0.9, 0.9)
    assert opened.run(BRIGHT) == [False, True]
    said = "document.querySelector('#attention figcaption').textContent"
    assert "row 4, column 4 of 4" in opened.run(said)
    opened.run("document.querySelector('canvas.point').focus()")
    press(opened, "ArrowUp")
    assert "row 3, column 4 of 4" in opened.run(said)
    assert "γ = 0.5" in opened.run("document.querySelector('.maps').textContent")
    assert "a <b>disc</b>" in opened.run(said)


def test_a_word_shows_where_it_was_looked_for(opened):
    opened.run("document.querySelectorAll('.thumbs button')[1].click()")
    settled(opened)
    first = opened.run(MAP)
    assert opened.run("document.querySelectorAll('.words button')[1].textContent") == "<i>words</i>"
    point(opened, ".words button:last-child", 0.5, 0.5)
    assert opened.run(MAP) != first


def test_curves_are_read_at_the_cursor_and_drawn_as_asked(opened):
    point(opened, ".chart .plot", 0.5, 0.5)
    settled(opened)
    read = "document.querySelector('.chart .read').textContent"
    at_end = opened.run(read)
    point(opened, ".chart .plot", 0.4, 0.5)
    assert "step 20" not in opened.run(read)
    line = "document.querySelector('.chart .plot path.s0').getAttribute('d')"
    before = opened.run(line)
    opened.run("document.querySelector('.tools button').click()")  # log scale
    assert opened.run(line) != before
    opened.run("(x => (x.value = 0.9, x.dispatchEvent(new Event('input'))))"
               "(document.querySelector('.tools input'))")  # fmt: skip
    assert opened.run("document.querySelectorAll('.chart .plot path.raw').length") >= 1
    opened.run("(x => (x.value = 'images', x.dispatchEvent(new Event('change'))))"
               "(document.querySelector('.tools select'))")  # fmt: skip
    assert "image" in opened.run(read) and at_end


def test_all_curves_are_printed(opened):
    undrawn = "charts.filter(one => !one.node.querySelector('.plot path')).length"
    assert opened.run(undrawn) > 0
    opened.run("dispatchEvent(new Event('beforeprint'))")
    assert opened.run(undrawn) == 0


def test_light_and_dark(browser, page):
    grounds = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        grounds.append(browser.run(GROUND))
    browser.run("document.getElementById('theme').click()")
    assert grounds[0] != grounds[1] and browser.run(GROUND) == grounds[0]
    browser.run("document.getElementById('theme').click(), sessionStorage.clear()")


def test_it_fits_on_a_phone(browser, page):
    browser.open(page, width=390, height=800)
    settled(browser)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.errors == []


def test_seeds_are_laid_over_one_another(browser, tmp_path):
    runs = [
        write_run(tmp_path / f"run{seed}", scores={"fid64": 9.0 + seed}, seed=seed)
        for seed in (0, 1)
    ]
    path = report.write(runs, tmp_path / "page.html")
    browser.open(path)
    browser.run("document.querySelector('.chart').scrollIntoView({behavior: 'instant'})")
    settled(browser)
    drawn = (
        "document.querySelectorAll('.chart .plot')[1].querySelectorAll('path.s0, path.s1').length"
    )
    assert browser.run(drawn) == 2
    browser.run("[...document.querySelectorAll('.tools button')].at(-1).click()")
    assert browser.run(drawn) == 1
    assert "±" in browser.run("document.getElementById('scores').textContent")
    assert browser.errors == [] and browser.requests == [path.as_uri()]


def test_a_smoothed_curve_of_equal_values_has_few_ticks(browser, tmp_path):
    workdir = write_run(tmp_path / "run", extra={"loss/rate": 0.3})
    browser.open(report.write([workdir]))
    ticks = browser.run(
        """(() => {
          view.smooth = 0.9;
          const one = chart("loss/rate");
          main.append(one.node);
          one.redraw();
          return one.node.querySelectorAll("svg text").length;
        })()""",
        seconds=5,
    )
    assert 2 <= ticks < 20


def test_each_of_ten_runs_has_a_look_of_its_own(browser, tmp_path):
    runs = [write_run(tmp_path / f"run{n}", lines=1, sheets=(), seed=n) for n in range(10)]
    browser.open(report.write(runs, tmp_path / "page.html"))
    looks = browser.run(
        "[...document.querySelectorAll('.runs .swatch line')]"
        ".map(line => line.getAttribute('class') + line.getAttribute('stroke-dasharray'))"
    )
    assert len(set(looks)) == len(looks) == 10


def test_linked_sheets_are_loaded(browser, tmp_path):
    workdir = write_run(tmp_path / "100% #1?")
    path = report.write([workdir], tmp_path / "page.html", link=True)
    browser.open(path)
    assert browser.run("document.querySelector('#samples img').naturalWidth") == 48
    assert browser.errors == []


def test_a_run_cannot_break_the_page_of_another(browser, tmp_path):
    names = dict.fromkeys(("constructor", "__proto__", "toString"), 1.0)
    runs = [
        write_run(tmp_path / "one", scores={"fid64": 9.0}),
        write_run(tmp_path / "two", scores=names, extra=names, seed=1),
    ]
    browser.open(report.write(runs, tmp_path / "page.html"))
    browser.run("for (const one of charts) { one.seen = true; one.redraw(); }")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('#details .card').length") == 4
    assert "measured differently" not in browser.run("main.textContent")


def test_hostile_names_are_shown_as_they_are(browser, tmp_path):
    workdir = hostile_run(tmp_path)
    path = report.write([workdir], tmp_path / "page.html")
    browser.open(path)
    settled(browser)
    assert browser.run("window.struck") is None and browser.errors == []
    assert browser.run("document.querySelector('h1').textContent") == workdir.name
    assert workdir.name in browser.run("document.title")
    assert browser.run("document.querySelector('.warn').textContent").endswith(HOSTILE)
