"""What must hold of any report, as a page that stands alone and that everybody can read."""

from html.parser import HTMLParser
from itertools import pairwise

LARGEST = 5_000_000  # bytes
VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """The elements of a page with their attributes, in order, and those that are open at its end."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def require_good_page(path):
    """Assert that a report needs nothing else, is well formed, and says in words what it shows; gives its outline."""
    text = path.read_text(encoding="utf-8")
    page = Outline(text)
    assert path.stat().st_size < LARGEST
    assert not page.wrong
    assert not page.open
    assert page.all("html")[0]["lang"] == "en"
    assert not page.all("script", "iframe", "object", "embed", "base")
    addresses = [
        each[name] for _, each in page.elements for name in ("src", "href", "srcset", "poster") if name in each
    ]
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in text
    assert "@import" not in text
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [each["id"] for _, each in page.elements if "id" in each]
    assert len(names) == len(set(names))
    assert all(each["aria-labelledby"] in names for each in page.all("section"))
    for each in page.all("img"):
        assert len(each["alt"]) > 10
        assert int(each["width"]) > 0
        assert int(each["height"]) > 0
    for each in page.all("div"):
        if each.get("class") == "scroll":
            assert each["tabindex"] == "0"
            assert each["role"] == "region"
            assert each["aria-label"]
    return page
