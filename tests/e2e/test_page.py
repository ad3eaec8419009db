#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The page of `tandem bench` in a browser: what is drawn is there, in its frame, and large enough to be read, on a desk and on a phone."""
import html
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
LIMIT_S = 120
CODE = "def handler(event, context):\n    return 1\n"
FILE = "name: shop\nfunctions:\n  iris: {code: code, runtime: python3.11, handler: app.handler}\n"
MEASURE = """<pre id="measured"></pre><script>
const box = e => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom].map(Math.round); };
const out = {wide: document.documentElement.scrollWidth, window: innerWidth, plots: [], small: 0};
for (const svg of document.querySelectorAll("svg")) {
	const texts = [...svg.querySelectorAll("text")], lines = [...svg.querySelectorAll("path, polyline")];
	out.plots.push({box: box(svg), texts: texts.map(t => [t.textContent, ...box(t)]), lines: lines.map(box)});
	for (const t of texts) {
		const scale = svg.getBoundingClientRect().width / (svg.viewBox.baseVal.width || svg.getBoundingClientRect().width);
		if (parseFloat(getComputedStyle(t).fontSize) * scale < 7) out.small++;
	}
}
document.getElementById("measured").textContent = JSON.stringify(out);
</script>"""


def inside(part, whole, slack=2):
    return part[0] >= whole[0] - slack and part[1] >= whole[1] - slack and part[2] <= whole[2] + slack and part[3] <= whole[3] + slack


@unittest.skipIf(BROWSER is None, "no chromium here: the page is checked as a text only (test_bench_verb.py)")
class Seen(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())
        cls.t.up({"code/app.py": CODE, "tandem.yaml": FILE})
        cls.page = os.path.join(cls.t.base, "page.html")
        cls.t.cli("bench", "iris", "--duration", "60ms", "--starts", "3", "--burst", "4", "--html", cls.page)

    def measured(self, width):
        """The page as it is drawn, by a script that is put into a copy of it."""
        copy = os.path.join(self.t.base, f"page{width}.html")
        with open(self.page, encoding="utf-8") as f:
            text = f.read()
        self.assertIn("</body>", text)
        with open(copy, "w", encoding="utf-8") as f:
            f.write(text.replace("</body>", MEASURE + "</body>"))
        done = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                               f"--user-data-dir={self.t.base}/browser{width}", f"--window-size={width},2000", "--dump-dom", "file://" + copy],
                              capture_output=True, text=True, timeout=LIMIT_S, check=True, stdin=subprocess.DEVNULL)
        return json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.S).group(1)))

    def test_drawn(self):
        for width in (1100, 500):
            with self.subTest(width=width):
                seen = self.measured(width)
                self.assertLessEqual(seen["wide"], seen["window"], "the page is to be pushed sideways")
                self.assertEqual((len(seen["plots"]), seen["small"]), (5, 0), seen)
                for plot in seen["plots"]:
                    left, top, right, bottom = plot["box"]
                    self.assertTrue(right - left >= 300 and bottom - top >= 120, plot["box"])
                    self.assertLessEqual({"function", "container"}, {t[0] for t in plot["texts"]})
                    for text, *box in plot["texts"]:
                        self.assertTrue(inside(box, plot["box"]), (text, box, plot["box"]))
                    self.assertTrue(plot["lines"] and all(inside(line, plot["box"]) for line in plot["lines"]), plot)


if __name__ == "__main__":
    unittest.main()
