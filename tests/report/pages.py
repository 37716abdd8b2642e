"""Reads a page the way a browser would, as far as the tests need it."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; fails on tags that do not match."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("class") or ""))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> closed by </{tag}>"

    def handle_data(self, data):
        self.texts.append((tuple(f"{tag}.{css}" for tag, css in self._open), data))

    @property
    def text(self) -> str:
        """All visible text, white space collapsed."""
        shown = (text for place, text in self.texts if not any(at.startswith(("style.", "title.")) for at in place))
        return " ".join(" ".join(shown).split())

    def inside(self, css: str) -> list[tuple[tuple[str, ...], str]]:
        """Texts in elements of this class, without the labels of folds."""
        return [
            (place, text)
            for place, text in self.texts
            if any(at.partition(".")[2] == css for at in place) and "summary." not in place
        ]

    def values(self, name: str) -> list[str]:
        """Values of an attribute, wherever it occurs."""
        return [value for _, attribute, value in self.attributes if attribute == name]
