"""SQL functions that turn packed tokens into lists of numbers.

A table of tokens keeps each array as its bytes, least significant byte first. These macros read
them with plain SQL, so the same text works in any DuckDB:

    select clip_id, unpack_uint16(tokens)[1:4] from tokens_vq_0123456789ab

`clipmill schema` shows the type to ask for as the column's unit.
"""

from __future__ import annotations

__all__ = ["MACROS"]


def _words(digits: int, number: str) -> str:
    """A list of the blob's words of so many hex digits; `number` makes one of the text `x`."""
    return f"list_transform(regexp_extract_all(hex(b), '.{{{digits}}}'), lambda x: {number})"


def _float(word: str, fraction_bits: int, exponent_bits: int) -> str:
    """An IEEE number from the bits of `word`."""
    bias, top = 2 ** (exponent_bits - 1) - 1, 2**exponent_bits - 1
    scale = 2**fraction_bits
    sign = f"(case when {word} >> {fraction_bits + exponent_bits} = 1 then -1 else 1 end)"
    exponent = f"(({word} >> {fraction_bits}) & {top})"
    fraction = f"({word} & {scale - 1})"
    return (
        f"({sign} * case {exponent} "
        f"when 0 then {fraction} * pow(2.0, {1 - bias - fraction_bits}) "
        f"when {top} then case {fraction} when 0 then 'inf' else 'nan' end::double "
        f"else (1 + {fraction} / {scale}.0) * pow(2.0, {exponent} - {bias}) end)::float"
    )


_WORD16 = "('0x' || x[3:4] || x[1:2])"

MACROS: dict[str, str] = {
    "unpack_uint8": _words(2, "('0x' || x)::utinyint"),
    "unpack_uint16": _words(4, f"{_WORD16}::usmallint"),
    "unpack_uint32": _words(8, "('0x' || x[7:8] || x[5:6] || x[3:4] || x[1:2])::uinteger"),
    "unpack_float16": _words(4, _float(f"{_WORD16}::integer", 10, 5)),
    "unpack_bfloat16": _words(4, _float(f"{_WORD16}::integer", 7, 8)),
}
"""The body of each macro; its only argument is called `b`."""
