"""Greys and text colours of the pages contrast with their background, in light and in dark."""

import re
from importlib.resources import files

import pytest

STYLE = (files("polaris_jax") / "report" / "templates" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = STYLE.split("@media screen and (prefers-color-scheme: dark)", 1)
DARK = DARK.split("*, *::before", 1)[0]


def colours(text):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text))


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("theme", [colours(LIGHT), colours(LIGHT) | colours(DARK)], ids=["light", "dark"])
def test_text_and_chart_colours_have_the_contrast_of_wcag_aa(theme):
    grounds = [theme[name] for name in ("paper", "card", "wash")]
    kinds = ("ink", "soft", "faint", "prompt", "header", "scaffold", "copy", "prose")
    roles = [name for name in theme if name.startswith("r-")]
    assert len(roles) == 10
    for name in (*kinds, *roles, "accent", "good", "bad", "wait"):
        assert min(contrast(theme[name], ground) for ground in grounds) >= 4.5, name


def test_the_measure_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
