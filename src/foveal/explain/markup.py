"""Text that is safe in a page, and numbers as people read them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Controls (other than tab and newline) and marks that reverse or hide what follows them.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def text(value: object) -> str:
    """Return ``value`` as text of a page or of an attribute in double quotes.

    >>> text('<b>"x"')
    '&lt;b&gt;&quot;x&quot;'
    """
    return preformatted(str(value)).replace('"', "&quot;")


def preformatted(value: str) -> str:
    """Return ``value`` as text of a page, quotes as they are; not for attributes."""
    whole = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return html.escape(_UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", whole), quote=False)


def join(pieces: Iterable[str]) -> str:
    """Return ``pieces`` under each other, empty ones left out."""
    return "\n".join(piece for piece in pieces if piece)


def shortened(name: str, limit: int = 160) -> str:
    """Return ``name`` with its middle left out where it is longer than ``limit`` characters."""
    if len(name) <= limit:
        return name
    half = (limit - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def number(value: float, decimals: int = 2) -> str:
    """Return ``value`` with at most ``decimals`` and no trailing zeros.

    >>> number(12.50), number(3.0), number(-0.001)
    ('12.5', '3', '0')
    """
    short = f"{value:.{decimals}f}"
    short = short.rstrip("0").rstrip(".") if "." in short else short
    return "0" if short == "-0" else short


def count(amount: int, one: str, many: str | None = None) -> str:
    """Return an amount with its noun.

    >>> count(1, "frame"), count(1500, "frame")
    ('1 frame', '1,500 frames')
    """
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def clock(seconds: float, *, within: float, decimals: int = 0) -> str:
    """Return a time inside something ``within`` seconds long: hours and minutes only if it has any.

    >>> clock(7.244, within=10, decimals=2), clock(59.97, within=90, decimals=1)
    ('7.24 s', '1:00.0')
    >>> clock(3661, within=7200)
    '1:01:01'
    """
    if within < 60:
        return f"{seconds:.{decimals}f} s"
    units = 10**decimals
    whole, part = divmod(round(seconds * units), units)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    tail = f".{part:0{decimals}d}" if decimals else ""
    if within < 3600:
        return f"{minutes}:{rest:02d}{tail}"
    return f"{hours}:{minutes:02d}:{rest:02d}{tail}"


def span(start: float, end: float, *, within: float, decimals: int = 1) -> str:
    """Return a stretch of time.

    >>> span(0, 7.25, within=10), span(0, 7.25, within=90)
    ('0.0 – 7.2 s', '0:00.0 – 0:07.2')
    """
    first = clock(start, within=within, decimals=decimals)
    return f"{first.removesuffix(' s')} – {clock(end, within=within, decimals=decimals)}"


def percent(share: float) -> str:
    """Return a share in [0, 1]; small ones keep a decimal, and only all is 100 %.

    >>> percent(0.834), percent(0.006), percent(0.9996), percent(1.0), percent(0.0002)
    ('83 %', '0.6 %', '99.9 %', '100 %', '< 0.1 %')
    """
    if share <= 0 or share >= 1:
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    if share < 0.0995 or share > 0.995:
        return f"{min(100 * share, 99.9):.1f} %"
    return f"{100 * share:.0f} %"


def macs(amount: int) -> str:
    """Return multiply-accumulates in the unit that suits them.

    >>> macs(1_164_000_000), macs(30_000_000), macs(2_500_000), macs(320)
    ('1.16 GMACs', '0.03 GMACs', '2.5 MMACs', '320 MACs')
    """
    if amount >= 10**7:
        return f"{_three_digits(amount / 1e9)} GMACs"
    if amount >= 10**6:
        return f"{number(amount / 1e6, 1)} MMACs"
    return f"{amount:,} MACs"


def size(num_bytes: int) -> str:
    """Return a file size in decimal units.

    >>> size(812), size(34_000), size(5_120_000), size(2_000_000_000)
    ('812 B', '34 kB', '5.1 MB', '2 GB')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if num_bytes >= factor:
            return f"{number(num_bytes / factor, 1)} {unit}"
    return f"{round(num_bytes / 1000)} kB" if num_bytes >= 1000 else f"{num_bytes} B"


def duration_ms(ms: float) -> str:
    """Return milliseconds, or seconds where there are many.

    >>> duration_ms(0.42), duration_ms(212.3), duration_ms(12_345.0)
    ('0.4 ms', '212 ms', '12.3 s')
    """
    if ms >= 10_000:
        return f"{ms / 1000:,.1f} s"
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else number(value, 1 if value >= 10 else 2)
