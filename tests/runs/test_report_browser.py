"""runs/report in a real browser: hostile text runs nothing, the page works, nothing is loaded or sent.

Needs Chromium (Debian: `apt-get install chromium`); slow, about two seconds a page.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest
from test_report import HOSTILE, Tags, hostile  # noqa: F401

from ponder.runs import RunFolder
from ponder.runs.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium"),
]


def opened(path, profile) -> str:
    """The page's markup after its script has run."""
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
         "--virtual-time-budget=2000", "--enable-logging=stderr", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return done.stdout


def driven(page: str, script: str) -> str:
    """The page with a script of the test's behind its own, and without the policy that would forbid it."""
    free = re.sub(r"<meta http-equiv.*?>", "", page)
    tail = f"<script>{script}</script></html>"
    return free.replace("</html>", tail)


def test_hostile_text_is_shown_and_runs_nothing(hostile, tmp_path):  # noqa: F811
    dom = opened(write_report(hostile.path, tmp_path / "page.html"), tmp_path / "profile")
    assert "<title>&lt;b&gt;run&amp;lt;: a run of Ponder</title>" in dom
    assert dom.count("<script") == 2
    body = dom.split("<main", 1)[1].split("<script", 1)[0]
    assert not {"img", "script", "style", "title"} & set(Tags("<main" + body).found)
    assert body.count('aria-current="true"') == 1, "the viewer stands"
    for text in HOSTILE[:5]:
        assert html.escape(text, quote=False) in body, text


def test_the_policy_stops_a_script_that_got_in(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    path = write_report(run.path)
    page = path.read_text("utf-8")
    inside = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    path.write_text(page.replace("</html>", inside + "</html>"), "utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'p'}",
         "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>run: a run of Ponder</title>" in done.stdout


DRIVER = """
const seen = {};
const rows = () => document.querySelectorAll(".list button").length;
seen.all = rows();
const pick = (id, value) => {
  const box = document.getElementById(id);
  box.value = value;
  box.dispatchEvent(new Event(box.tagName === "INPUT" ? "input" : "change"));
};
pick("verdict", "wrong"); seen.wrong = rows();
seen.view = document.getElementById("sample").textContent;
pick("verdict", ""); pick("step", "20"); seen.step = rows();
pick("step", ""); pick("text", "needle"); seen.text = rows();
pick("text", "nowhere at all"); seen.none = document.getElementById("sample").textContent;
pick("text", "");
const list = document.querySelector(".list");
list.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
seen.second = document.querySelector('[aria-current="true"] .asked').textContent;
const token = document.querySelector('.tokens span[data-at="1"]');
token.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 5, clientY: 5 }));
seen.token = document.querySelector(".tip").textContent;
seen.colour = token.style.backgroundColor;
const svg = document.querySelector('svg[aria-label="Reward"]');
const box = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 11, clientY: box.top + 20 }));
seen.value = document.querySelector(".tip").textContent;
const paths = () => [...document.querySelectorAll(".curve")].map((each) => each.getAttribute("d")).join();
const before = paths();
const log = document.getElementById("log"); log.checked = true; log.dispatchEvent(new Event("change"));
seen.log = paths() !== before && !/NaN|Infinity/.test(paths());
pick("smoothing", "0"); seen.plain = document.querySelectorAll(".raw").length;
seen.charts = [...document.querySelectorAll(".chart h3")].map((each) => each.textContent);
document.title = JSON.stringify(seen);
"""


def test_the_viewer_filters_and_the_pointer_reads_values(tmp_path):
    run = RunFolder.create(tmp_path / "run", "seed = 1\n")
    for step in range(1, 31):
        rewards = {"reward": step / 30, "reward_graph": 0.5, "reward_tools": 0.25, "kl": 0.0}
        run.log({"step": step, **rewards, "entropy": 1 / step, "tokens_per_s": 3000 + step})
    for index in range(12):
        verdict = ("right", "wrong", "undecided")[index % 3]
        text = {"question": f"question {index}", "thinking": "a needle" if index == 7 else "hay"}
        more = {
            "verdict": verdict,
            "reason": f"because {index}",
            "tokens": [["a", -0.25], ["b", -3.5]],
        }
        run.add_sample({"step": 10 * (1 + index // 4), "family": "graph", **text, **more})
    page = driven(write_report(run.path).read_text("utf-8"), DRIVER)
    (tmp_path / "driven.html").write_text(page, "utf-8")
    dom = opened(tmp_path / "driven.html", tmp_path / "profile")
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]))
    assert (seen["all"], seen["wrong"], seen["step"], seen["text"]) == (12, 4, 4, 1)
    assert "because 10" in seen["view"] and seen["none"] == "No sample fits these filters."
    assert seen["second"] == "question 9", "newest step first, the arrow goes to its second sample"
    assert '"b"' in seen["token"] and "-3.5000" in seen["token"] and "3.02 %" in seen["token"]
    assert "0.7" in seen["colour"]
    assert seen["value"].startswith("step 30") and "1" in seen["value"]
    assert seen["log"] and seen["plain"] == 0
    assert seen["charts"] == [
        "Reward", "Reward by family", "Entropy", "KL", "Tokens per second",
    ]  # fmt: skip
