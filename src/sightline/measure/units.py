"""Numbers as a person reads them: with a unit, to three digits."""

from __future__ import annotations


def count_text(number: int) -> str:
    """A count in thousands, millions, ...

    >>> count_text(0), count_text(999), count_text(1_000), count_text(25_557_032), count_text(4_089_184_256)
    ('0', '999', '1.00 k', '25.6 M', '4.09 G')
    """
    return _scaled(number, 1000, ("", "k", "M", "G", "T", "P"))


def bytes_text(number: int) -> str:
    """A size in memory, by powers of 1024.

    >>> bytes_text(40), bytes_text(1024), bytes_text(3_211_264), bytes_text(5 * 2**30)
    ('40 B', '1.00 KiB', '3.06 MiB', '5.00 GiB')
    """
    return _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(number: int, step: int, units: tuple[str, ...]) -> str:
    scaled, unit = float(number), 0
    while round(scaled) >= step and unit < len(units) - 1:
        scaled, unit = scaled / step, unit + 1
    if unit == 0:
        return f"{number} {units[0]}".strip()
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{digits}f} {units[unit]}"
