"""Numbers and names as a reader wants them; nothing here prints."""

from __future__ import annotations

import math


def clean(text: str) -> str:
    r"""Return ``text`` with everything that is not visible written as an escape.

    File names may hold line ends, terminal commands, characters that turn the writing
    direction, or bytes that are no text at all; none of them may reach a terminal or break a row.

    >>> clean("clip\n\x1b[2J.mp4")
    'clip\\n\\x1b[2J.mp4'
    >>> clean(b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    'caf\\xe9.mp4'
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python carries it in names
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def clock(seconds: float) -> str:
    """Return a position in a video as m:ss.s, with hours where there are any.

    >>> clock(72.34), clock(59.96), clock(3723.0)
    ('1:12.3', '1:00.0', '1:02:03.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def percent(share: float) -> str:
    """Return a share in [0, 1] with one decimal.

    >>> percent(0.93149)
    '93.1 %'
    """
    return f"{100 * share:.1f} %"


def gmacs(macs: float) -> str:
    """Return multiply-accumulates as billions, with three digits that mean something.

    >>> gmacs(6.2123e9), gmacs(386_000_000), gmacs(1.234e12), gmacs(44_579_392), gmacs(0)
    ('6.21', '0.386', '1,234', '0.0446', '0')
    """
    billions = macs / 1e9
    if billions == 0:
        return "0"
    if billions >= 100:
        return f"{billions:,.0f}"
    return f"{billions:.{max(2 - math.floor(math.log10(billions)), 1)}f}"


def exact_gmacs(macs: float) -> str:
    """Return multiply-accumulates as billions with four digits, however few there are.

    >>> exact_gmacs(6.21234e9), exact_gmacs(2304), exact_gmacs(0)
    ('6.212', '0.000002304', '0')
    """
    billions = macs / 1e9
    if billions == 0:
        return "0"
    digits = max(3 - math.floor(math.log10(billions)), 0)
    short = f"{billions:,.{digits}f}"
    return short.rstrip("0").rstrip(".") if "." in short else short


def milliseconds(ms: float) -> str:
    """Return a duration in ms, or in seconds from ten seconds on.

    >>> milliseconds(0.4), milliseconds(312.4), milliseconds(12_345.0)
    ('0.4 ms', '312 ms', '12.3 s')
    """
    if ms >= 10_000:
        return f"{ms / 1e3:,.1f} s"
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, which takes an s unless there is one of it.

    >>> count(1, "file"), count(9000, "frame"), count(2, "class", "classes")
    ('1 file', '9,000 frames', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"
